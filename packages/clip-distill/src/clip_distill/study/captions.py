"""Captions of rendered objects and of digits, by a small grammar, and the words as tokens (ours).

A caption says what an object is called or how it looks, and sometimes its colours and its ground,
as captions of the web do: never all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from clip_distill.study.objects import KINDS, Scenes, angles
from repro_shared.runtime.errors import UserError

NAMES = tuple(
    first + last
    for first in ("ba", "de", "fi", "go", "ku", "la", "mi", "no")
    for last in ("ren", "tal", "vix", "dor", "zum", "lep")
)
"""Of the kinds of objects: words without a meaning, as the names of species are to most people."""

TRAITS = (
    ("waisted", "bulging"), ("cornered", "rounded"), ("lobed", "squarish"), ("starry", "smooth"),
    ("wide", "tall"), ("broad-striped", "fine-striped"), ("dark-headed", "light-headed"),
    ("tailless", "tailed"),
)  # fmt: skip
"""For each number of a content vector: where it is low, where it is high."""

COLOURS = ("red", "orange", "yellow", "green", "mint", "cyan", "blue", "violet", "pink")
FINISHES = ("brushed", "grained", "ridged", "combed", "ribbed", "scored")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OPENINGS = ("a photo of a", "a drawing of a", "an image of a", "a")
GROUNDS = ("brick", "amber", "sand", "moss", "sage", "lagoon", "sky", "plum", "rose")
OTHERS = ("thing", "digit", "with", "and", "on", "ground")
CONTEXT = 20  # tokens, special ones included
CLEAR = 0.35  # from here on a trait is worth a word
START, END, FILLED = "<start>", "<end>", 0

WORDS = (
    "", START, *dict.fromkeys(word for text in OPENINGS for word in text.split()), *OTHERS,
    *NAMES, *(word for pair in TRAITS for word in pair), *COLOURS, *GROUNDS,
    *FINISHES, *DIGITS, END,
)  # fmt: skip
NUMBERS = {word: number for number, word in enumerate(WORDS)}
"""The token of each word; that of the end is the largest, which is how CLIP finds it."""


class WordTokenizer:
    """Texts to tokens, a word each; called as open_clip's tokenizers are."""

    context_length = CONTEXT

    def __call__(self, texts: str | Sequence[str], context_length: int = CONTEXT) -> Tensor:
        """Tokens (n, context_length), filled up with 0.

        Raises:
            UserError: a word that is not in the grammar, or more words than fit.
        """
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.full((len(texts), context_length), FILLED, dtype=torch.long)
        for row, text in enumerate(texts):
            words = [START, *text.lower().replace(".", "").replace(",", "").split(), END]
            unknown = [word for word in words if word not in NUMBERS]
            if unknown:
                raise UserError(
                    f"{text!r}: the word {unknown[0]!r} is none that this teacher knows"
                )
            if len(words) > context_length:
                raise UserError(f"{text!r}: {len(words)} tokens, of {context_length} that fit")
            tokens[row, : len(words)] = torch.tensor([NUMBERS[word] for word in words])
        return tokens


def captions(scenes: Scenes, kinds: int, seed: int) -> list[str]:
    """A caption of each scene.

    Args:
        scenes: with labels up to `KINDS`, -1 for an object without a name.
        kinds: of cues.
        seed: of what is said and what is left out.
    """
    g = np.random.default_rng([seed, 3])
    found = []
    for label, content, cues, real in zip(
        scenes.label.tolist(), scenes.content, scenes.cues, scenes.real, strict=True
    ):
        named = label >= 0 and g.random() < 0.85
        what = NAMES[label] if named else "thing"
        traits = _traits(content, g, most=2 if named else 4)
        said = " and ".join(traits) if not named or g.random() < 0.5 else ""
        found.append(caption(what, angles(cues, kinds), bool(real), g, said))
    return found


def caption(
    what: str, hues: Sequence[float], real: bool, g: np.random.Generator, traits: str = ""
) -> str:
    """One caption; colours, finish and ground are mostly left out.

    Args:
        what: a name, thing, or digit and its name.
        hues: angles of background, palette and finish.
        real: a photo, if it is said, or else a drawing.
        g: of what is said.
        traits: in words.
    """
    background, palette, finish = hues
    opening = 1 - int(real) if g.random() < 0.5 else int(g.integers(2, len(OPENINGS)))
    said = [OPENINGS[opening]]
    if g.random() < 0.15:
        said.append(FINISHES[int(finish / (2 * np.pi) * len(FINISHES))])
    if g.random() < 0.25:
        said.append(word_of(palette))
    said.append(what)
    said += ["with", traits] if traits else []
    if g.random() < 0.2:
        said += ["on", word_of(background, GROUNDS), "ground"]
    return " ".join(said)


def _traits(content: np.ndarray, g: np.random.Generator, most: int) -> list[str]:
    """Some of the words for what is clearly low or high."""
    shown = np.tanh(content)
    clear = g.permutation(np.flatnonzero(np.abs(shown) > CLEAR))[:most]
    return [TRAITS[place][int(shown[place] > 0)] for place in clear]


def word_of(hue: float, words: Sequence[str] = COLOURS) -> str:
    """The colour's word, for a hue from 0 to 2 pi."""
    return words[round(hue / (2 * np.pi) * len(words)) % len(words)]


assert len(NAMES) == KINDS
