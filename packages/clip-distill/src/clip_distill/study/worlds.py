"""The worlds that students are taught in and scored on: pictures by part, classes, and a teacher.

A world hands out pictures in memory. The stages of `study.stages` know nothing else of it, so that
rendered objects, digits and photographs pass through the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from clip_distill.use.preprocessing import Pixels
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.teachers import Teacher
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.runtime.errors import UserError

Part = Literal["generic", "synthetic", "held-out", "swapped", "real", "labelled"]
"""What a student learns from in stage 1 and stage 2; then what it is scored on: synthetic pictures
that it has not seen, the same with the cues of another class, real ones; and real pictures with
labels, which a linear probe alone reads."""


class World(Protocol):
    """What stages read.

    Attributes:
        classes: names of the target classes; those without synthetic pictures come last.
        seen: how many have synthetic pictures.
        teacher: frozen.
        texts: one text vector a class.
        fingerprint: of all that the pictures are made from.
    """

    classes: tuple[str, ...]
    seen: int
    teacher: Teacher
    texts: ClassTexts
    fingerprint: str

    def pictures(self, part: Part, seed: int) -> Shown:
        """A part of it, for a run's seed."""
        ...

    def teach_with(self, weights: Path) -> None:
        """Take the teacher of this file instead."""
        ...


class Shown:
    """Pictures in memory, in the form that caches and training take.

    Args:
        where: for messages.
        pixels: uint8 (n, h, w, 3).
        targets: (n,) classes; None for pictures without.
        classes: their names.
        captions: of each picture.
    """

    def __init__(
        self,
        where: str,
        pixels: NDArray[np.uint8],
        targets: Any = None,
        classes: tuple[str, ...] = (),
        captions: Sequence[str] | None = None,
    ) -> None:
        self.where, self.pixels = where, pixels
        self.ids: Sequence[str] = tuple(f"{where} {number}" for number in range(len(pixels)))
        self.classes = classes if targets is not None else ()
        self.targets: Sequence[int] = () if targets is None else tuple(map(int, targets))
        self.captions = captions
        self.taught: NDArray[np.float32] | None = None  # features of a teacher, where it was asked
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Pixels:
        """One picture."""
        return self.pixels[index]

    def caption(self, index: int) -> str:
        """Its caption; UserError where it has none."""
        if self.captions is None:
            raise UserError(f"{self.where}: no captions")
        return self.captions[index]

    def fingerprint(self) -> str:
        """Of the pictures."""
        if not self._fingerprint:
            self._fingerprint = fingerprint_arrays({"pixels": self.pixels})
        return self._fingerprint
