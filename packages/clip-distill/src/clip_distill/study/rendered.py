"""Data sources of rendered objects and of digits, drawn anew for every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_distill.study import caption_teacher
from clip_distill.study.captions import DIGITS, NAMES, captions
from clip_distill.study.digits import own_cues, picture, write
from clip_distill.study.objects import World, draw, render, swapped
from clip_distill.study.worlds import Part, Shown
from clip_distill.use.prompts import ClassTexts, class_texts
from clip_distill.use.teachers import Teacher
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.datasets.wheels import NUM_DIGITS
from repro_shared.runtime.rng import derive_seed

TEMPLATE = ("a photo of a {}",)
KEPT = 12  # parts that are remembered: those of one seed
DRAWN_ANEW = (
    "first weights, order, and all pictures, test pictures too; prototypes of the classes and the "
    "teacher are the same for every seed"
)


@dataclass(frozen=True)
class Objects:
    """Rendered objects of similar kinds.

    Attributes:
        world: how they are drawn, and how many.
        name: in records.
        weights: sha256 of the teacher's weights.
    """

    world: World
    name: str
    weights: str = caption_teacher.OBJECTS

    @property
    def sentence(self) -> str:
        """What the data are."""
        own = self.world
        return (
            f"rendered objects of {own.classes} classes, {own.size} x {own.size}, {own.held_out} "
            "of them without synthetic images; teacher: a small CLIP trained on rendered objects "
            "with captions; scored on the rendered real domain"
        )

    covers = DRAWN_ANEW

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> Opened:
        """Its generator."""
        own = self.world
        return Opened(
            lambda part, seed: objects(own, part, seed), NAMES[: own.classes],
            own.classes - own.held_out, own, self.weights,
            lambda part: objects(replace(own, confounding=0.5, generic=6, synthetic=6, test=6,
                                         labelled=6), part, 100),
        )  # fmt: skip


def objects(world: World, part: Part, seed: int) -> Shown:
    """A part of a world of objects; synthetic ones have captions."""
    classes, said = NAMES[: world.classes], None
    if part == "generic":
        return Shown("generic objects", render(world, draw(world, "generic", world.generic, seed)))
    if part == "synthetic":
        scenes = draw(world, "synthetic", world.synthetic, seed, seen_only=True)
        scenes = scenes.first(world.amount)  # so that few images are among many
        said = captions(scenes, world.classes, derive_seed(seed, "captions"))
    else:  # of a seed that training has nothing of
        own = derive_seed(seed, part if part == "labelled" else "test")
        if part in ("real", "labelled"):
            count = world.test if part == "real" else world.labelled
            scenes = draw(world, "real", count, own)
        else:
            scenes = draw(world, "synthetic", world.test, own, seen_only=True)
        if part == "swapped":
            scenes = swapped(world, scenes)
    return Shown(f"{part} objects", render(world, scenes), scenes.label, classes, said)


@dataclass(frozen=True)
class Digits:
    """Digits of fonts, opposite handwriting: the coarse classes of the negative control.

    Attributes:
        confounding: probability that a cue of a glyph is its digit's own.
        name: in records.
        generic, synthetic, test, labelled: pictures of each part.
        size: in pixels.
        weights: sha256 of the teacher's weights.
    """

    confounding: float
    name: str
    generic: int = 6000
    synthetic: int = 2400
    test: int = 900
    labelled: int = 900
    size: int = 48
    weights: str = caption_teacher.OBJECTS

    @property
    def sentence(self) -> str:
        """What the data are."""
        return (
            "digits of fonts, scored on digits that people wrote (scikit-learn's scans), on "
            f"rendered grounds, {self.size} x {self.size}; teacher as of the objects"
        )

    covers = DRAWN_ANEW

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> Opened:
        """Its generator."""
        few = replace(self, confounding=0.5, generic=10, synthetic=10, test=10, labelled=10)
        return Opened(
            lambda part, seed: digits(self, part, seed),
            tuple(f"digit {name}" for name in DIGITS), NUM_DIGITS, self, self.weights,
            lambda part: digits(few, part, 100),
        )  # fmt: skip


def digits(source: Digits, part: Part, seed: int) -> Shown:
    """A part of the world of digits; generic pictures are objects that are no digits."""
    classes = tuple(f"digit {name}" for name in DIGITS)
    if part == "generic":
        return objects(World(generic=source.generic, size=source.size), "generic", seed)
    if part == "synthetic":
        written = write(source.synthetic, False, source.confounding, seed)
    elif part in ("real", "labelled"):
        test, own = part == "real", derive_seed(seed, part)
        count = source.test if test else source.labelled
        written = write(count, True, 0.0, own, test=test)
    else:
        written = write(source.test, False, source.confounding, derive_seed(seed, "test"))
        if part == "swapped":
            written = replace(written, cues=own_cues((written.label + 1) % NUM_DIGITS))
    pixels = np.stack([picture(written, index, source.size) for index in range(len(written))])
    return Shown(f"{part} digits", pixels, written.label, classes)


@dataclass
class Opened:
    """A world that is drawn by a function; its fingerprint is that of a few pictures of each part,
    of its settings and of the teacher's weights, so that a changed generator shows."""

    draw: Callable[[Part, int], Shown]
    classes: tuple[str, ...]
    seen: int
    settings: object
    weights: str
    few: Callable[[Part], Shown]
    given: Path | None = None
    _kept: dict[tuple[Part, int], Shown] = field(default_factory=dict)

    @cached_property
    def teacher(self) -> Teacher:
        """The committed one, unless another is given."""
        if self.given is not None:
            return caption_teacher.load(self.given, caption_teacher.TwoTowers())
        return caption_teacher.committed()

    def teach_with(self, weights: Path) -> None:
        """Take the teacher of this file instead."""
        if self.given != weights:
            self.given = weights
            for name in ("teacher", "texts"):
                self.__dict__.pop(name, None)
            for shown in self._kept.values():
                shown.taught = None

    @cached_property
    def texts(self) -> ClassTexts:
        """Of the classes."""
        return class_texts(self.teacher, self.classes, TEMPLATE, "the grammar of the captions")

    @cached_property
    def fingerprint(self) -> str:
        """As said above."""
        parts: tuple[Part, ...] = ("generic", "synthetic", "real", "labelled")
        few = {part: self.few(part) for part in parts}
        arrays: dict[str, NDArray[Any]] = {part: shown.pixels for part, shown in few.items()}
        said = f"{self.settings} {self.weights} {few['synthetic'].captions}".encode()
        return fingerprint_arrays({**arrays, "settings": np.frombuffer(said, np.uint8)})

    def pictures(self, part: Part, seed: int) -> Shown:
        """A part; the last ones are kept in memory."""
        if (part, seed) not in self._kept:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[part, seed] = self.draw(part, seed)
        return self._kept[part, seed]
