"""Common corruptions of photographs, in five severities, with the parameters of ImageNet-C.

Kinds and parameters are those of Hendrycks and Dietterich (arXiv 1903.12261) and of their public
script for images of 224 pixels; the code is ours. What differs: `frost` is left out, since it
pastes photographs of frost; images are not saved as JPEG in between; motion is blurred without
ImageMagick; lengths in pixels grow with the image where it is not of 224 pixels (ours).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from clip_distill.use.distortions import (
    Floats,
    as_image,
    blurred,
    convolved,
    plasma,
    sampled,
    trail,
    zoomed,
)
from clip_distill.use.preprocessing import Pixels
from repro_shared.runtime.rng import derive_seed

PUBLISHED_SIZE = 224  # pixels, that the parameters were chosen for
SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[NDArray[Any], Any, np.random.Generator, float], NDArray[Any]]
"""From values 0 to 1 (s, s, 3), a severity's parameters, a generator and s / 224."""


def corrupt(pixels: Pixels, kind: str, severity: int, sample: str) -> Pixels:
    """One picture with a corruption.

    Args:
        pixels: uint8 (s, s, 3), as evaluation sees it.
        kind: one of `KINDS`.
        severity: 1 to 5.
        sample: id of the picture: noise is its own, and the same in every run.
    """
    change, parameters = KINDS[kind]
    rng = np.random.default_rng(derive_seed("corruption", kind, severity, sample))
    values = pixels.astype(np.float32) / np.float32(255)
    made = change(values, parameters[severity - 1], rng, len(pixels) / PUBLISHED_SIZE)
    return (255 * made.clip(0, 1)).round().astype(np.uint8)


def gaussian_noise(x: Floats, c: float, rng: np.random.Generator, scale: float) -> Any:
    """Noise of deviation c."""
    return x + c * rng.standard_normal(x.shape)


def shot_noise(x: Floats, c: float, rng: np.random.Generator, scale: float) -> Any:
    """As a sensor that counts at most c photons has it."""
    return rng.poisson(x * c) / c


def impulse_noise(x: Floats, c: float, rng: np.random.Generator, scale: float) -> Any:
    """A share c of all values becomes 0 or 1."""
    hit = rng.random(x.shape) < c
    return np.where(hit, rng.random(x.shape) < 0.5, x)


def defocus_blur(x: Floats, c: tuple[int, float], rng: np.random.Generator, scale: float) -> Any:
    """A disk of radius c[0], whose edge is softened with deviation c[1]."""
    radius = c[0] * scale
    # Published: whole pixels on a grid of at least 17 x 17, softened over 3 or 5 of them. A disk of
    # another size has shares of pixels, and room for its softened edge.
    reach, fine = max(8, c[0]), 1
    if scale != 1:
        reach, fine = int(np.ceil(radius)) + 2, 9
    grid = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    inside = grid[:, None] ** 2 + grid**2 <= radius**2
    side = 2 * reach + 1
    disk = inside.reshape(side, fine, side, fine).mean(axis=(1, 3), dtype=np.float64)
    soft = 1 if c[0] <= 8 else 2
    disk = gaussian_filter(disk / disk.sum(), c[1], mode="mirror", radius=soft)
    return convolved(x, disk)


def glass_blur(x: Floats, c: tuple[float, int, int], rng: np.random.Generator, scale: float) -> Any:
    """Blur of deviation c[0], c[2] rounds of taking neighbours within c[1] pixels, blur.

    The published script writes a swap of two pixels, in which both sides are views of one array:
    what it does, and what its public images show, is that a pixel becomes a copy of its neighbour.
    """
    sigma, reach, size = c[0] * scale, max(1, round(c[1] * scale)), len(x)
    order = list(range(size * size))
    for _ in range(c[2]):
        # Rows, columns and offsets in [-reach, reach) as there.
        moves = rng.integers(-reach, reach, (size, size, 2)).tolist()
        for row in range(size - reach, reach, -1):
            for column in range(size - reach, reach, -1):
                down, right = moves[row][column]
                order[row * size + column] = order[(row + down) * size + column + right]
    soft = np.floor(255 * blurred(x, sigma).clip(0, 1)) / np.float32(255)  # whole numbers, as there
    return blurred(soft.reshape(-1, 3)[order].reshape(x.shape), sigma)


def motion_blur(x: Floats, c: tuple[float, float], rng: np.random.Generator, scale: float) -> Any:
    """A trail of 2 c[0] + 1 pixels that fades with deviation c[1], at most 45 degrees steep."""
    return trail(x, c[0] * scale, c[1] * scale, rng.uniform(-45, 45))


def zoom_blur(x: Floats, c: tuple[float, float], rng: np.random.Generator, scale: float) -> Any:
    """The mean of the picture and of zoomed ones, from 1 to below c[0] in steps of c[1]."""
    zooms = np.arange(1, c[0], c[1])
    return (x + sum(zoomed(x, zoom) for zoom in zooms)) / (len(zooms) + 1)


def snow(x: Floats, c: tuple[float, ...], rng: np.random.Generator, scale: float) -> Any:
    """Flakes: noise (mean, deviation), zoomed, above a threshold, with a trail, twice; paler."""
    mean, deviation, zoom, threshold, radius, sigma, kept = c
    layer = rng.normal(mean, deviation, x.shape[:2])
    flakes = zoomed(layer[..., None].astype(np.float32), zoom)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    flakes = trail(flakes, radius * scale, sigma * scale, rng.uniform(-135, -45))
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
    pale = np.maximum(x, 1.5 * grey[..., None] + 0.5)
    return kept * x + (1 - kept) * pale + flakes + np.rot90(flakes, 2)


def fog(x: Floats, c: tuple[float, float], rng: np.random.Generator, scale: float) -> Any:
    """Clouds of thickness c[0], smoother for larger c[1]."""
    highest = x.max()
    clouds = plasma(len(x), c[1], rng)[: len(x), : len(x), None]
    return (x + c[0] * clouds) * highest / (highest + c[0])


def brightness(x: Floats, c: float, rng: np.random.Generator, scale: float) -> Any:
    """The value of hue, saturation and value, raised by c."""
    value = x.max(axis=2, keepdims=True)
    # Hue and saturation stay where all three channels grow alike; black has neither.
    hue = np.divide(x, value, out=np.ones_like(x), where=value > 0)
    return hue * (value + c).clip(0, 1)


def contrast(x: Floats, c: float, rng: np.random.Generator, scale: float) -> Any:
    """Distances from each channel's mean, times c."""
    mean = x.mean(axis=(0, 1), keepdims=True)
    return mean + c * (x - mean)


def elastic(
    x: Floats, c: tuple[float, float, float], rng: np.random.Generator, scale: float
) -> Any:
    """A random affine map, corners moved by up to c[2], then shifts c[0] of smoothness c[1]."""
    size = len(x)
    alpha, sigma, corners = (244 * scale * each for each in c)  # 244 as published
    middle, arm = size // 2, size // 3
    ends = np.array([[1, 1], [1, -1], [-1, -1]]) * arm + middle  # x, y
    moved = ends + rng.uniform(-corners, corners, ends.shape)
    # Rows (x, y, 1) of where a pixel goes to, solved for where it comes from.
    back = np.linalg.solve(np.c_[moved, np.ones(3)], ends)
    down, right = np.mgrid[:size, :size].astype(np.float64)
    source = np.stack([right, down, np.ones_like(down)], axis=-1) @ back
    x = sampled(x, source[..., 1], source[..., 0], "mirror")
    shifts = [
        alpha * gaussian_filter(rng.uniform(-1, 1, (size, size)), sigma, truncate=3)
        for _ in range(2)
    ]
    return sampled(x, down + shifts[1], right + shifts[0], "reflect")


def pixelate(x: Floats, c: float, rng: np.random.Generator, scale: float) -> Any:
    """Squares: resized to a share c and back."""
    image, size = as_image(x), len(x)
    small = max(1, int(size * c))
    box = Image.Resampling.BOX
    return np.asarray(image.resize((small, small), box).resize((size, size), box)) / 255


def jpeg(x: Floats, c: int, rng: np.random.Generator, scale: float) -> Any:
    """JPEG of quality c."""
    made = io.BytesIO()
    as_image(x).save(made, "JPEG", quality=c)
    return np.asarray(Image.open(made)) / 255


KINDS: dict[str, tuple[Corruption, Sequence[Any]]] = {
    "gaussian-noise": (gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot-noise": (shot_noise, (60, 25, 12, 5, 3)),
    "impulse-noise": (impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus-blur": (defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "glass-blur": (glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    "motion-blur": (motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom-blur": (zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02),
                              (1.31, 0.03))),
    "snow": (snow, ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                    (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55))),
    "fog": (fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "brightness": (brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic": (elastic, ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                          (0.12, 0.01, 0.02))),
    "pixelate": (pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": (jpeg, (25, 18, 15, 10, 7)),
}  # fmt: skip
"""Each kind with its parameters by severity."""
