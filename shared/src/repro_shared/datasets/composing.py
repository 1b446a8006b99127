"""The canvas of a composed digit scene, its strokes, colours and random numbers (ours).

All are rounded, so that the last bit of a processor's sine or sum does not change a scene.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from repro_shared.datasets.wheels import NUM_DIGITS, SPLITS, Split, mnist5k, photographs

if TYPE_CHECKING:
    from repro_shared.datasets.scenes import SceneConfig

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

# From the most to the least frequent digit when classes are imbalanced, in every split and seed.
CLASS_ORDER = (7, 2, 5, 0, 9, 3, 1, 8, 6, 4)

# Shorter sides of the stored photographs, in sides of the scene.
PHOTOGRAPH_SIDES = (1.25, 2.0, 3.0)

_SIDE = 28
_INK_SIDE = 20  # MNIST scales each digit's longer side to 20 pixels before centring it
OPAQUE = 0.5  # opacity above which a pixel belongs to the digit


class Digit(NamedTuple):
    """One MNIST digit at three resolutions, so that bilinear sampling neither aliases nor blurs."""

    double: Image.Image
    original: Image.Image
    half: Image.Image


class Photograph(NamedTuple):
    """One photograph at one scale: its colours, and its fine pattern with zero mean."""

    colours: NDArray[np.uint8]  # RGB, (H, W, 3)
    pattern: Float  # what a blur takes away, in standard deviations, -3 to 3, (H, W, 3)


@lru_cache(maxsize=len(SPLITS))
def digit_images(split: Split) -> tuple[NDArray[np.uint8], ...]:
    """The MNIST digits of one split, uint8 (n, 28, 28) for each class: 300, 100 or 100 of 500."""
    images, labels = mnist5k()
    shuffled = np.random.default_rng(0)
    parts = []
    for digit in range(NUM_DIGITS):
        members = shuffled.permutation(np.flatnonzero(labels == digit))
        parts.append(images[np.sort(np.split(members, [300, 400])[SPLITS.index(split)])])
    return tuple(parts)


@lru_cache(maxsize=len(SPLITS))
def digit_pools(split: Split) -> tuple[tuple[Digit, ...], ...]:
    """The digits of one split, ready to be warped, for each of the ten classes."""
    return tuple(tuple(map(_prepare_digit, images)) for images in digit_images(split))


def _prepare_digit(pixels: NDArray[np.uint8]) -> Digit:
    # MNIST centres the mass; warping needs the box centred, or it would cut digits off.
    ink = Image.fromarray(pixels)
    ink = ink.crop(ink.getbbox())
    original = Image.new("L", (_SIDE, _SIDE))
    original.paste(ink, ((_SIDE - ink.width) // 2, (_SIDE - ink.height) // 2))
    double = original.resize((2 * _SIDE, 2 * _SIDE), Image.Resampling.BICUBIC)
    return Digit(double, original, original.reduce(2))


@lru_cache(maxsize=16)
def photograph_scales(split: Split, size: int) -> tuple[tuple[Photograph, ...], ...]:
    """Each photograph of one split, scaled down so that a crop shows edges and objects."""
    return tuple(
        tuple(_prepare_photograph(picture, sides, size) for sides in PHOTOGRAPH_SIDES)
        for picture in photographs(split).values()
    )


def _prepare_photograph(picture: NDArray[np.uint8], sides: float, size: int) -> Photograph:
    height, width = picture.shape[:2]
    short = min(height, width)
    factor = max(min(1.0, sides * size / short), size / short)
    shape = (max(size, round(width * factor)), max(size, round(height * factor)))
    image = Image.fromarray(picture).resize(shape, Image.Resampling.LANCZOS)
    colours = np.asarray(image)
    pattern = colours.astype(np.float32) - np.asarray(image.filter(ImageFilter.BoxBlur(3)))
    pattern = np.clip(pattern / pattern.std(dtype=np.float64), -3, 3)
    # Multiples of 1/16, so that patterns are the same on every processor.
    return Photograph(colours, (np.rint(pattern * 16) / 16).astype(np.float32))


def warp_digit(digit: Digit, scale: float, rotation: float, shear: float) -> Float:
    """Opacity, float32 (h, w), 0 to 1 with maximum 1, of a digit, cut to the box of its ink.

    `scale` is the longer side of the upright ink in pixels; it is sheared by `shear` to the right
    per unit of height, then rotated clockwise by `rotation` degrees.
    """
    factor = scale / _INK_SIDE
    source = digit.double if factor > 1.4 else digit.original if factor > 0.7 else digit.half
    step = source.width / _SIDE / factor  # pixels of the source per pixel of the output
    cos, sin = math.cos(math.radians(rotation)) * step, math.sin(math.radians(rotation)) * step
    # Upright ink fits into scale x scale; rotated and sheared, into the sum of its projections.
    side = math.ceil(scale * ((abs(cos) + abs(sin)) / step + abs(shear))) + 4
    a, b, c, d = cos, sin + shear * cos, -sin, cos - shear * sin
    middle, centre = side / 2, source.width / 2
    affine = (a, b, centre - (a + b) * middle, c, d, centre - (c + d) * middle)
    warped = source.transform(
        (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    left, top, right, bottom = warped.getbbox() or (0, 0, side, side)
    ink = np.frombuffer(warped.tobytes(), np.uint8).reshape(side, side)[top:bottom, left:right]
    # Thin strokes fade when scaled down: full opacity at the darkest point keeps contrast known.
    opacities = np.rint(np.arange(256) * (255 / max(int(ink.max()), 1))).astype(np.float32)
    alpha: Float = (opacities / np.float32(255))[ink]
    return alpha


def cut_fragment(alpha: Float, diameter: float, where: float) -> Float:
    """Cut a round piece of `diameter` pixels around the ink at `where`, 0 to 1, out of (h, w)."""
    ink = np.flatnonzero(alpha > OPAQUE)
    row, column = divmod(int(ink[int(where * len(ink))]), alpha.shape[1])
    reach = math.ceil(diameter / 2)
    top, left = max(0, row - reach), max(0, column - reach)
    piece = alpha[top : row + reach + 1, left : column + reach + 1]
    down = np.arange(top, top + piece.shape[0], dtype=np.float64) - row
    right = np.arange(left, left + piece.shape[1], dtype=np.float64) - column
    distance = np.sqrt(down[:, None] ** 2 + right**2)
    disc: Float = (diameter / 2 + 0.5 - distance).clip(0, 1).astype(np.float32)
    return piece * disc


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

    def __init__(self, config: "SceneConfig", split: Split, rng: np.random.Generator) -> None:
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
