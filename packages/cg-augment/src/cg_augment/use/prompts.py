"""Prompts that a pipeline really understands: no unknown token, nothing cut away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from repro_shared.runtime.errors import UserError

_TOKEN = re.compile(r"<[^<>\s]+>")  # how learned tokens are written (textual inversion)
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_LONGEST = 256  # of the T5 encoder, as Stable Diffusion 3's pipeline has it


def check_prompts(pipeline: Any, prompts: Sequence[str]) -> None:
    """UserError for a prompt with a token that the pipeline's tokenizers do not know, or too long.

    A learned token such as `<my-dog>` whose embedding was not loaded is split into plain letters
    without a word, and a long prompt loses its end: the class perhaps.
    """
    tokenizers = [found for name in _TOKENIZERS if (found := getattr(pipeline, name, None))]
    for prompt in dict.fromkeys(prompts):
        for tokenizer in tokenizers:
            known = tokenizer.get_vocab()
            if lacking := [word for word in _TOKEN.findall(prompt) if word not in known]:
                raise UserError(
                    f"prompt {prompt!r}: the pipeline does not know the token {lacking[0]}; load "
                    "its embedding first (pipe.load_textual_inversion)"
                )
            tokens = tokenizer(prompt, add_special_tokens=False, truncation=False)["input_ids"]
            if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokens:
                raise UserError(f"prompt {prompt!r}: has a character that the tokenizer lacks")
            special = tokenizer.num_special_tokens_to_add()
            longest = min(int(tokenizer.model_max_length), _LONGEST) - special
            if len(tokens) > longest:
                lost = tokenizer.decode(tokens[longest:]).strip()
                raise UserError(f"prompt {prompt!r} is too long: {lost!r} would be cut away")
