"""The strokes, colours and backgrounds that composed digit scenes are painted with (ours).

Opacities and colours are rounded to 8 bits, so that the last bit of a processor's sine or sum does
not change a scene.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from repro_shared.datasets.digits import NUM_DIGITS, mnist5k, split_indices
from repro_shared.datasets.photographs import SPLITS, Split, photographs

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

# Shares of MNIST-5k, per class: 300 digits for train, 100 for val, 100 for test.
DIGIT_FRACTIONS = (0.6, 0.2, 0.2)

# Shorter sides of the stored photographs, in sides of the scene.
PHOTOGRAPH_SIDES = (1.25, 2.0, 3.0)

_SIDE = 28
_INK_SIDE = 20  # MNIST scales each digit's longer side to 20 pixels before centring it
OPAQUE = 0.5  # opacity above which a pixel belongs to the digit


@dataclass(frozen=True)
class Digit:
    """One MNIST digit at three resolutions, so that bilinear sampling neither aliases nor blurs."""

    double: Image.Image
    original: Image.Image
    half: Image.Image


@dataclass(frozen=True)
class Photograph:
    """One photograph at one scale: its colours, and its fine pattern with zero mean."""

    colours: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    pattern: Float
    """What a blur takes away, in standard deviations over the photograph, -3 to 3, (H, W, 3)."""


@lru_cache(maxsize=len(SPLITS))
def digit_images(split: Split) -> tuple[NDArray[np.uint8], ...]:
    """The MNIST digits of one split, uint8 (n, 28, 28) for each of the ten classes."""
    images, labels = mnist5k()
    chosen = split_indices(labels, DIGIT_FRACTIONS, seed=0)[SPLITS.index(split)]
    images, labels = images[chosen], labels[chosen]
    return tuple(images[labels == digit] for digit in range(NUM_DIGITS))


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
    """Each photograph of one split, scaled down once to shorter sides of `PHOTOGRAPH_SIDES` * size.

    A crop of a large photograph would show a blurred patch; scaled down first, it shows edges and
    objects. Photographs are enlarged only where they would not cover a scene of `size` pixels.
    """
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
    blurred = np.asarray(image.filter(ImageFilter.BoxBlur(3)))
    pattern = colours.astype(np.float32) - blurred
    pattern = np.clip(pattern / pattern.std(dtype=np.float64), -3, 3)
    # Multiples of 1/16, so that patterns are the same on every processor.
    return Photograph(colours, (np.rint(pattern * 16) / 16).astype(np.float32))


def warp_digit(digit: Digit, scale: float, rotation: float, shear: float) -> Float:
    """Rotate, shear and rescale a digit, with anti-aliasing.

    Args:
        digit: As `digit_pools` gives it.
        scale: Longer side of the upright digit's ink, in pixels of the scene.
        rotation: Degrees, clockwise.
        shear: Shift to the right per unit of height, before rotation.

    Returns:
        Opacity of the ink, float32 (h, w), 0 to 1 with maximum 1, cut to the box of the ink.
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
    alpha: Float = _opacities(int(ink.max()))[ink]
    return alpha


@lru_cache(maxsize=256)
def _opacities(darkest: int) -> Float:
    opacities: Float = np.rint(np.arange(256) * (255 / max(darkest, 1))).astype(np.float32)
    return opacities / np.float32(255)


def cut_fragment(alpha: Float, diameter: float, where: float) -> Float:
    """Cut a round piece, centred on a pixel of ink, out of a warped digit.

    Args:
        alpha: As `warp_digit` returns, (h, w).
        diameter: Of the piece, in pixels.
        where: 0 to 1: which pixel of ink is the centre.

    Returns:
        Opacity of the piece, float32 (h', w'), soft rim of one pixel.
    """
    ink = np.flatnonzero(alpha > OPAQUE)
    row, column = divmod(int(ink[int(where * len(ink))]), alpha.shape[1])
    reach = math.ceil(diameter / 2)
    top, left = max(0, row - reach), max(0, column - reach)
    piece = alpha[top : row + reach + 1, left : column + reach + 1]
    down, right = top - row + reach, left - column + reach
    window: Float = _disc(diameter)[down : down + piece.shape[0], right : right + piece.shape[1]]
    return piece * window


@lru_cache(maxsize=64)
def _disc(diameter: float) -> Float:
    reach = math.ceil(diameter / 2)
    squares = np.arange(-reach, reach + 1, dtype=np.float64) ** 2
    distance = np.sqrt(squares[:, None] + squares[None, :])
    disc: Float = (diameter / 2 + 0.5 - distance).clip(0, 1).astype(np.float32)
    return disc


def paint(region: Float, alpha: Float, shift: tuple[float, float, float], pattern: Float) -> None:
    """Blend ink into a region of the canvas, in place.

    The ink's mean colour is the mean of what it covers, moved by `shift`; in channels where that
    would leave the range, by -shift. So the contrast is known, whatever the photograph.

    Args:
        region: View of the canvas, float32 (h, w, 3), 0 to 255.
        alpha: Opacity, (h, w), 0 to 1, above `OPAQUE` somewhere.
        shift: Change of red, green and blue, in units of the canvas.
        pattern: Zero-mean texture of the ink, (h, w, 3) or (1, 1, 3), in units of the canvas.
    """
    covered = region[alpha > OPAQUE]
    base = (covered.sum(axis=0, dtype=np.float64) / len(covered)).tolist()
    moved = [b + s if 0 <= b + s <= 255 else b - s for b, s in zip(base, shift, strict=True)]
    colour = np.array([round(min(max(m, 0.0), 255.0)) for m in moved], np.float32)
    ink: Float = np.minimum(np.maximum(pattern + colour, 0), 255)
    region += alpha[:, :, None] * (ink - region)


def gaussian_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Normal deviates from a table of 4,096 quantiles: standard deviation 1, at most 3.7.

    Twice as fast as the generator's own, and the same on every processor.
    """
    bits = np.frombuffer(rng.bytes(2 * math.prod(shape)), "<u2").reshape(shape)
    noise: Float = _normal_quantiles()[bits >> 4]
    return noise


@lru_cache(maxsize=1)
def _normal_quantiles() -> Float:
    normal = NormalDist()
    quantiles = [normal.inv_cdf((i + 0.5) / 4096) for i in range(4096)]
    rounded: Float = (np.rint(np.array(quantiles) * 1024) / 1024).astype(np.float32)
    return rounded


def grow(mask: Bool, pixels: int) -> Bool:
    """Dilate a mask by a square of `pixels` to each side; (H, W) to (H, W)."""
    grown = mask.copy()
    for _ in range(pixels):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        grown = wider.copy()
        grown[:, 1:] |= wider[:, :-1]
        grown[:, :-1] |= wider[:, 1:]
    return grown
