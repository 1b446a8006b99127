"""Captions for detectors that read text, and class scores from the scores of their tokens.

A grounding detector (Grounding DINO, arXiv 2303.05499) scores every box against every token of a
caption. Its libraries turn tokens back into phrases, which come back empty, cut, or with two
classes in one. Here the caption is ours, `first class. second class.`, so that it is known from
the start which characters, and therefore which tokens, belong to which class: no name is searched
in a text, and "shirt" is not found inside "undershirt". A class's score is the mean over its
tokens, as in Grounding DINO's evaluation; the highest where a class has several prompts. (Ours:
everything else.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofds.use.proposers.interface import Floats
from repro_shared.runtime.errors import UserError

# Full stop and question mark end a phrase, brackets may spell a token such as [SEP], and words are
# not joined by underscores in what the text encoders have read.
_SPLITTING = str.maketrans(dict.fromkeys(".?[]_", " "))


@dataclass(frozen=True)
class Prompt:
    """What stands for a class in a caption.

    Attributes:
        label: the class, by place in the list.
        text: lower case, without what would split it.
        tokens: ids of its tokens.
    """

    label: int
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Caption:
    """A text with the classes of one chunk.

    Attributes:
        text: as the model gets it.
        prompts: in their order.
        places: of each prompt, the places of its tokens among those of the text.
    """

    text: str
    prompts: tuple[Prompt, ...]
    places: tuple[tuple[int, ...], ...]


def prompt_text(name: str) -> str:
    """How a class is called in a caption: "St. Bernard" is "st bernard"."""
    return " ".join(name.translate(_SPLITTING).lower().split())


def captions(tokenizer: Any, said: Mapping[str, Sequence[str]], longest: int) -> list[Caption]:
    """Captions with all classes, no more than fit in one each.

    Scores depend on which classes share a caption, so the chunks are filled in alphabetical order:
    the order of the list does not matter.

    Args:
        tokenizer: a fast one of the library `tokenizers`, as transformers has it.
        said: of each class its prompts, in the order of the classes.
        longest: tokens that the model reads, with those around the text.

    Raises:
        UserError: a class that the tokenizer cannot read, that is too long, or two that read the
            same.
    """
    prompts = sorted(_prompts(tokenizer, said), key=lambda prompt: (prompt.text, prompt.label))
    around = len(tokenizer("").input_ids)
    found, chunk, used = list[Caption](), list[Prompt](), around
    for prompt in prompts:
        length = len(prompt.tokens) + 1  # and the full stop
        if around + length > longest:
            raise UserError(f"class {prompt.text!r} is longer than the {longest} tokens of a text")
        if used + length > longest:
            found.append(_caption(tokenizer, chunk))
            chunk, used = [], around
        chunk.append(prompt)
        used += length
    return [*found, _caption(tokenizer, chunk)]


def class_scores(tokens: Floats, caption: Caption, classes: int) -> Floats:
    """(n, classes) scores from those of the tokens of a caption (n, length), 0 to 1."""
    found = np.zeros((len(tokens), classes), np.float32)
    for prompt, places in zip(caption.prompts, caption.places, strict=True):
        own = tokens[:, list(places)].mean(axis=1)
        found[:, prompt.label] = np.maximum(found[:, prompt.label], own)
    return found


def _prompts(tokenizer: Any, said: Mapping[str, Sequence[str]]) -> list[Prompt]:
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("the detector's tokenizer does not tell where its tokens lie in a text")
    found, known = list[Prompt](), dict[tuple[int, ...], str]()
    for label, (name, texts) in enumerate(said.items()):
        for text in dict.fromkeys(map(prompt_text, texts)):
            tokens = tuple(tokenizer(text, add_special_tokens=False).input_ids) if text else ()
            if not tokens or set(tokens) == {tokenizer.unk_token_id}:
                raise UserError(
                    f"class {name!r}: the detector can read nothing of {text!r}; give a prompt "
                    "after a tab in the list of classes"
                )
            if (other := known.setdefault(tokens, name)) != name:
                raise UserError(
                    f"classes {other!r} and {name!r} read the same to the detector; give one of "
                    "them another prompt after a tab in the list of classes"
                )
            found.append(Prompt(label, text, tokens))
    return found


def _caption(tokenizer: Any, prompts: Sequence[Prompt]) -> Caption:
    text, starts = "", list[int]()
    for prompt in prompts:
        starts.append(len(text))
        text += f"{prompt.text}. "
    text = text.rstrip()
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    places = []
    for prompt, start in zip(prompts, starts, strict=True):
        stop = start + len(prompt.text)
        own = [n for n, (first, last) in enumerate(offsets) if start <= first < last <= stop]
        assert own, f"no token of {prompt.text!r} in {text!r}"
        places.append(tuple(own))
    return Caption(text, tuple(prompts), tuple(places))
