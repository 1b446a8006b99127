"""The canvas of a composed digit scene, its strokes, colours and random numbers (ours).

All are rounded, so that the last bit of a processor's sine or sum does not change a scene.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.ink import (
    OPAQUE,
    Float,
    Photograph,
    digit_pools,
    photograph_scales,
    warp_digit,
)
from repro_shared.datasets.scene_config import SceneConfig
from repro_shared.datasets.wheels import Split

Bool = NDArray[np.bool_]

# From the most to the least frequent digit when classes are imbalanced, in every split and seed.
CLASS_ORDER = (7, 2, 5, 0, 9, 3, 1, 8, 6, 4)


def paint(region: Float, alpha: Float, shift: tuple[float, float, float], pattern: Float) -> None:
    """Blend ink of opacity `alpha` (h, w) into a region, float32 (h, w, 3), 0 to 255, in place.

    Its mean colour is that of what it covers, moved by `shift` (RGB; back where it would leave the
    range), so that the contrast is known. `pattern` is its zero-mean texture, (h, w, 3).
    """
    covered = region[alpha > OPAQUE]
    base = (covered.sum(axis=0, dtype=np.float64) / len(covered)).tolist()
    moved = [b + s if 0 <= b + s <= 255 else b - s for b, s in zip(base, shift, strict=True)]
    colour = np.array([round(min(max(m, 0.0), 255.0)) for m in moved], np.float32)
    ink: Float = np.minimum(np.maximum(pattern + colour, 0), 255)
    region += alpha[:, :, None] * (ink - region)


def gaussian_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Normal deviates, at most 3.7; twice as fast as numpy's, and the same on every processor."""
    bits = np.frombuffer(rng.bytes(2 * math.prod(shape)), "<u2").reshape(shape)
    noise: Float = _normal_quantiles()[bits >> 4]
    return noise


@lru_cache(maxsize=1)
def _normal_quantiles() -> Float:
    quantiles = [NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)]
    rounded: Float = (np.rint(np.array(quantiles) * 1024) / 1024).astype(np.float32)
    return rounded


def grow(mask: Bool, pixels: int) -> Bool:
    """Dilate a mask by a square of `pixels` to each side; (H, W) to (H, W)."""
    grown = mask.copy()
    for _ in range(pixels):
        for lines in (grown, grown.T):
            before = lines.copy()
            lines[1:] |= before[:-1]
            lines[:-1] |= before[1:]
    return grown


class Stroke(NamedTuple):
    """One digit, or the digit that a piece is cut out of, before it has a place."""

    digit: int
    alpha: Float  # opacity, (h, w), cut to its box
    shift: tuple[float, float, float]  # colour difference to what it covers, see `paint`
    where: float  # 0 to 1: where a piece is cut out, see `cut_fragment`


class Painter:
    """Canvas and random numbers of one scene."""

    def __init__(self, config: SceneConfig, split: Split, rng: np.random.Generator) -> None:
        self.config = config
        self.rng = rng
        self.pools = digit_pools(split)
        self.photographs = photograph_scales(split, config.size)
        # A tint, in multiples of 1/256, so that few photographs go further.
        tint: Float = (np.rint(rng.uniform(0.7, 1.0, 3) * 256) / 256).astype(np.float32)
        photograph, window = self.crop(config.size, config.size)
        mirror = slice(None, None, -1 if rng.random() < 0.5 else 1)
        tint *= np.float32(config.backdrop)
        self.canvas = photograph.colours[window][:, mirror].astype(np.float32) * tint

    def draw_strokes(self, count: int) -> list[Stroke]:
        """Draw digits with class, shape and colour; all random numbers at once, for speed."""
        config = self.config
        digits = [digit for digit in CLASS_ORDER if digit in config.digits]
        last = len(digits) - 1
        weights = np.cumsum(np.arange(1, last + 2, dtype=np.float64) ** -config.class_imbalance)
        draws = self.rng.random((count, 10))
        ranks = np.searchsorted(weights / weights[-1], draws[:, 0], side="right").clip(0, last)
        lowest = np.array([config.min_scale, -config.rotation, -config.shear, config.min_contrast])
        highest = np.array([config.max_scale, config.rotation, config.shear, config.max_contrast])
        shapes = lowest + draws[:, 1:5] * (highest - lowest)
        directions = 2 * draws[:, 7:10] - 1
        gray = directions[:, :1]
        directions = gray + config.colour * (directions - gray)
        shifts = directions / np.abs(directions).max(axis=1, keepdims=True) * shapes[:, 3:] * 255
        if config.brighter:
            shifts = np.abs(shifts)
        strokes = []
        for i, (scale, rotation, shear, _) in enumerate(shapes.tolist()):
            digit = digits[ranks[i]]
            pool = self.pools[digit]
            alpha = warp_digit(pool[int(draws[i, 5] * len(pool))], scale, rotation, shear)
            # Only a digit of nearly full size, warped to the limit, could exceed the scene.
            alpha = alpha[: config.size, : config.size]
            red, green, blue = shifts[i].tolist()
            strokes.append(Stroke(digit, alpha, (red, green, blue), float(draws[i, 6])))
        return strokes

    def random_place(self, alpha: Float) -> tuple[int, int]:
        """Top and left of a place within the scene."""
        size, (height, width) = self.config.size, alpha.shape
        down, right = self.rng.random(2).tolist()
        return int(down * (size - height + 1)), int(right * (size - width + 1))

    def crop(self, height: int, width: int) -> tuple[Photograph, tuple[slice, slice]]:
        """A random photograph at a random scale, and where to crop it."""
        which, scale, down, right = self.rng.random(4).tolist()
        scales = self.photographs[int(which * len(self.photographs))]
        photograph = scales[int(scale * len(scales))]
        top = int(down * (photograph.colours.shape[0] - height + 1))
        left = int(right * (photograph.colours.shape[1] - width + 1))
        return photograph, (slice(top, top + height), slice(left, left + width))

    def ink(self, alpha: Float, stroke: Stroke, top: int, left: int) -> None:
        """Paint a stroke with its colour and a photograph's pattern."""
        height, width = alpha.shape
        pattern: Float = np.zeros((1, 1, 3), np.float32)
        if self.config.texture:
            photograph, window = self.crop(height, width)
            pattern = photograph.pattern[window] * np.float32(255 * self.config.texture)
        paint(self.canvas[top : top + height, left : left + width], alpha, stroke.shift, pattern)

    def finish(self) -> NDArray[np.uint8]:
        """The canvas with noise, as an 8-bit image."""
        if self.config.noise:
            noise = gaussian_noise(self.canvas.shape, self.rng)
            self.canvas += noise * np.float32(255 * self.config.noise)
        image: NDArray[np.uint8] = np.rint(self.canvas).clip(0, 255).astype(np.uint8)
        return image
