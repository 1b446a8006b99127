"""Views: which part of a picture is seen, mirrored or not, as a function of names alone.

A cached feature belongs to one view, so student and teacher must see the same one in every process,
on every machine and after every interruption. The crop is that of torchvision's RandomResizedCrop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from clip_distill.use.preprocessing import Pixels, Preprocessing
from repro_shared.runtime.rng import derive_seed

Kind = Literal["random-crop", "centre"]
_TRIES = 10


class Part(NamedTuple):
    """A part of a picture, in whole pixels."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool


@dataclass(frozen=True)
class Views:
    """Which views there are.

    Attributes:
        count: views of each picture.
        kind: random crops, or the centre as evaluation sees it, of which there is one.
        scale: share of the picture's area, from and to.
        ratio: of width to height, from and to.
        mirror: chance of a mirror image.
    """

    count: int = 1
    kind: Kind = "centre"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 1 or (self.kind == "centre" and self.count > 1):
            raise ValueError(f"{self.count} views of kind {self.kind!r}: the centre is one view")
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"impossible crops: scale {self.scale}, ratio {self.ratio}")

    def form(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def read(cls, form: Mapping[str, Any]) -> Views:
        """From `form`; ValueError, TypeError or KeyError for other values."""
        (low, high), (narrow, wide) = form["scale"], form["ratio"]
        return cls(
            int(form["count"]), form["kind"], (low, high), (narrow, wide), float(form["mirror"])
        )

    def part(self, picture: Pixels, data: str, sample: str, view: int) -> Part | None:
        """The part that a view shows; None for the centre.

        Args:
            picture: (h, w, 3); only its size counts.
            data: fingerprint of the data set.
            sample: id of the sample.
            view: 0 to count - 1.
        """
        if self.kind == "centre":
            return None
        height, width = picture.shape[:2]
        # RandomState's streams are frozen for good (NEP 19).
        rng = np.random.RandomState(derive_seed("view", data, sample, view))
        mirrored = bool(rng.uniform() < self.mirror)
        low, high = (math.log(end) for end in self.ratio)
        for _ in range(_TRIES):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.randint(0, height - h + 1), rng.randint(0, width - w + 1)
                return Part(int(left), int(top), w, h, mirrored)
        # As large as the ratios allow, in the middle.
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        return Part((width - w) // 2, (height - h) // 2, w, h, mirrored)


def shown(picture: Pixels, part: Part | None, preprocessing: Preprocessing) -> Pixels:
    """A part of a picture, resized to what a network takes, uint8 (size, size, 3)."""
    if part is None:
        return preprocessing.centre(picture)
    image = Image.fromarray(
        picture[part.top : part.top + part.height, part.left : part.left + part.width]
    )
    side = (preprocessing.size, preprocessing.size)
    made = np.asarray(image.resize(side, preprocessing.filter))
    return made[:, ::-1] if part.mirrored else made
