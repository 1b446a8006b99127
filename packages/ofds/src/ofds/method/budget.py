"""What annotating an image costs, and how much may be spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Pool

Unit = Literal["images", "objects", "pixels", "seconds", "column"]
UNITS: tuple[Unit, ...] = get_args(Unit)

SECONDS_AN_OBJECT = {
    "extreme-clicks": 7.0,
    "boxes": 35.0,
    "masks": 80.0,
}
"""Presets of what an object takes to annotate, in seconds: a box by four extreme clicks and a box
drawn and corrected (Papadopoulos et al. 2017, arXiv 1708.02750), and a COCO mask (second-hand)."""


@dataclass(frozen=True)
class Budget:
    """How much may be spent on annotation.

    Attributes:
        amount: in the unit; never exceeded by predicted cost, or by true cost where it is given.
        unit: what is counted: images, objects, pixels inside objects, seconds, or a column of the
            user's with one cost an image.
        preset: seconds for an object, a name of `SECONDS_AN_OBJECT`.
        looking: seconds that each image takes besides its objects.
    """

    amount: float
    unit: Unit = "objects"
    preset: str = "boxes"
    looking: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise ValueError(f"the budget must be above 0, got {self.amount:g}")
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}: choose one of {', '.join(UNITS)}")
        if self.preset not in SECONDS_AN_OBJECT:
            known = ", ".join(SECONDS_AN_OBJECT)
            raise ValueError(f"unknown cost preset {self.preset!r}: choose one of {known}")
        if not (math.isfinite(self.looking) and self.looking >= 0):
            raise ValueError(f"seconds an image must be 0 or more, got {self.looking:g}")

    def costs(self, pool: Pool, column: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Cost of annotating each image completely, (images,).

        Args:
            pool: with the predicted objects.
            column: true or estimated costs, one an image in the pool's order; needed for the unit
                `column`, and taken instead of predictions for any other.

        Raises:
            ValueError: no column where one is needed, another length, or a cost that is negative or
                not finite.
        """
        if column is not None:
            if len(column) != len(pool.images):
                raise ValueError(f"{len(column)} costs for {len(pool.images)} images")
            wrong = np.flatnonzero(~(np.isfinite(column) & (column >= 0)))
            if len(wrong):
                name = pool.images[wrong[0]]
                raise ValueError(f"the cost of {name!r} is {column[wrong[0]]:g}")
            return np.asarray(column, np.float64)
        size = len(pool.images)
        objects = np.bincount(pool.image, minlength=size).astype(np.float64)
        match self.unit:
            case "images":
                return np.ones(size)
            case "objects":
                return objects
            case "pixels":
                pixels = np.bincount(pool.image, pool.area.astype(np.float64), size)
                return np.asarray(pixels, np.float64)
            case "seconds":
                return self.looking + SECONDS_AN_OBJECT[self.preset] * objects
        raise ValueError("the unit `column` needs a column with a cost for each image")
