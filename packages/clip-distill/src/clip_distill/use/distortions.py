"""What corruptions of pictures are made of: blurs, trails, zooms, clouds. Values 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

Floats = NDArray[np.float32]


def as_image(x: Floats) -> Image.Image:
    """Pillow's image of (s, s, 3)."""
    return Image.fromarray((255 * x).round().astype(np.uint8))


def blurred(x: Floats, sigma: float) -> Any:
    """With a Gaussian of this deviation in pixels."""
    return gaussian_filter(x, (sigma, sigma, 0), mode="nearest")


def convolved(x: Floats, kernel: NDArray[np.float64]) -> Any:
    """With a square kernel of odd size; the picture is mirrored at its edges."""
    from scipy.signal import fftconvolve

    reach = len(kernel) // 2
    wide = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return fftconvolve(wide, kernel[..., None], mode="valid", axes=(0, 1))


def trail(x: Any, radius: float, sigma: float, degrees: float) -> Any:
    """Each pixel smeared to one side, as ImageMagick's motion blur does; the edge goes on."""
    size, steps = len(x), np.arange(2 * max(1, round(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle, places, made = np.deg2rad(degrees), np.arange(size), np.zeros_like(x)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        rows = (places + round(step * np.sin(angle))).clip(0, size - 1)
        columns = (places + round(step * np.cos(angle))).clip(0, size - 1)
        made += weight * x[rows][:, columns]
    return made


def zoomed(x: Floats, zoom: float) -> Floats:
    """The middle (s, s, channels), enlarged to the whole."""
    size = len(x)
    edge = (size - size / zoom) / 2
    box = (edge, edge, size - edge, size - edge)
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(x[..., channel]))
                   .resize((size, size), Image.Resampling.BILINEAR, box=box))
        for channel in range(x.shape[2])
    ]  # fmt: skip
    return np.stack(channels, axis=2)


def plasma(size: int, decay: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Heights 0 to 1 by the diamond-square algorithm, on a torus of a power of two."""
    grid, height = np.zeros((1, 1)), 1.0
    while len(grid) < size:
        n = len(grid)
        finer = np.zeros((2 * n, 2 * n))
        finer[::2, ::2] = grid

        def around(a: Any, b: Any, n: int = n, height: float = height) -> Any:
            return (a + b) / 4 + height * rng.uniform(-1, 1, (n, n))

        right, below = np.roll(grid, -1, 1), np.roll(grid, -1, 0)
        finer[1::2, 1::2] = centre = around(grid + right, below + np.roll(right, -1, 0))
        finer[::2, 1::2] = around(grid + right, centre + np.roll(centre, 1, 0))
        finer[1::2, ::2] = around(grid + below, centre + np.roll(centre, 1, 1))
        # The published script draws from an interval that it also multiplies with: twice the decay.
        grid, height = finer, height / decay**2
    grid -= grid.min()
    return grid / grid.max()


def sampled(x: Floats, rows: Any, columns: Any, mode: str) -> Any:
    """Values at places between pixels; the mode of edges is SciPy's."""
    return np.stack(
        [map_coordinates(x[..., k], (rows, columns), order=1, mode=mode) for k in range(3)], axis=2
    )
