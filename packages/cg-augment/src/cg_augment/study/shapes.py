"""Rendered shapes on textured grounds: the number of lobes is the class, the ground goes with it.

An outline's radius is 1 + depth cos(lobes (angle - turn)); where it lies, how large, how turned and
of what colour it is has nothing to do with the class. A ground is one of several textures of two
waves and blotches, each with its own hue: easy to tell apart, unlike outlines (ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shapes:
    """How pictures are drawn.

    Attributes:
        lobes: of each class's outline; 0 is a disc.
        size: of a picture, in pixels.
        depth: of the lobes, as a share of the radius.
        noise: deviation of the pixels' noise, on the scale 0 to 1.
    """

    lobes: tuple[int, ...] = (3, 5)
    size: int = 32
    depth: float = 0.4
    noise: float = 0.02

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outlines."""
        return tuple(f"{lobes} lobes" if lobes else "disc" for lobes in self.lobes)

    @property
    def grounds(self) -> tuple[str, ...]:
        """Names of the textures; the ground of a class has its number."""
        return tuple(f"ground {number + 1}" for number in range(len(self.lobes)))

    def render(
        self, labels: Labels, grounds: Labels, part: str, seed: int, empty: bool = False
    ) -> Pixels:
        """Pictures uint8 (n, size, size, 3).

        Args:
            labels: (n,) classes.
            grounds: (n,) textures.
            part: of the world; all are drawn alike here, and no picture twice.
            seed: of all that is random, another one for each part.
            empty: the ground alone, without an outline.
        """
        made, g = list[Pixels](), np.random.default_rng(seed)
        for start in range(0, len(labels), 256):  # memory stays small
            here = slice(start, start + 256)
            made.append(self._some(labels[here], grounds[here], g, empty))
        blank = np.zeros((0, self.size, self.size, 3), np.uint8)
        return np.concatenate(made) if made else blank

    def _some(self, labels: Labels, grounds: Labels, g: np.random.Generator, empty: bool) -> Pixels:
        n = len(labels)
        y, x = (np.mgrid[0 : self.size, 0 : self.size] + 0.5) / self.size * 2 - 1
        picture = self._ground(grounds, x, y, g)
        right, down = g.uniform(-0.25, 0.25, (2, n, 1, 1))
        turn, radius = g.uniform(0, 2 * np.pi, (n, 1, 1)), g.uniform(0.45, 0.6, (n, 1, 1))
        hue, light = g.uniform(0, 2 * np.pi, n), g.choice([0.12, 0.88], n)
        if not empty:
            u, v = x - right, y - down
            count = np.asarray(self.lobes)[labels][:, None, None]
            angle = np.arctan2(v, u) - turn
            depth = np.where(count > 0, self.depth, 0.0)
            outline = radius * (1 + depth * np.cos(count * angle))
            inside = 1 / (1 + np.exp(-(outline - np.hypot(u, v)) * self.size * 0.6))
            body = colour(hue, light, 0.12)[:, None, None]
            picture = picture + inside[..., None] * (body - picture)
        picture = picture + self.noise * g.normal(size=picture.shape)
        return (255 * picture.clip(0, 1)).round().astype(np.uint8)

    def _ground(self, grounds: Labels, x: Floats, y: Floats, g: np.random.Generator) -> Floats:
        """Textures (n, size, size, 3): hue, direction and fineness are of the kind."""
        kinds, n = len(self.lobes), len(grounds)
        share = grounds[:, None, None] / kinds
        way = np.pi * share + g.uniform(-0.2, 0.2, (n, 1, 1))
        phase = g.uniform(0, 2 * np.pi, (2, n, 1, 1))
        along, across = x * np.cos(way) + y * np.sin(way), y * np.cos(way) - x * np.sin(way)
        fine = 3 + 3 * (grounds[:, None, None] % 2)
        wave = np.sin(fine * np.pi * along + phase[0]) + 0.5 * np.sin(2 * np.pi * across + phase[1])
        hue = 2 * np.pi * grounds / kinds + 0.6 + g.uniform(-0.25, 0.25, n)
        light = g.uniform(0.42, 0.58, n)
        return colour(hue, light, 0.16)[:, None, None] + 0.07 * wave[..., None]


def colour(hue: Floats, light: Floats, strength: float) -> Floats:
    """RGB colours (n, 3) of hues from 0 to 2 pi."""
    return light[:, None] + strength * np.cos(hue[:, None] - np.array([0, 2, 4]) * np.pi / 3)
