"""Digits and photographs that scenes are composed of: prepared, warped, cut to pieces (ours).

All is rounded, so that the last bit of a processor's sine or sum does not change a scene.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from repro_shared.datasets.wheels import NUM_DIGITS, SPLITS, Split, mnist5k, photographs

Float = NDArray[np.float32]

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
