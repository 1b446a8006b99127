"""A teacher without weights: its features are computed from what was rendered (ours).

It sees mostly the content, through a fixed random network, and a little of every cue, in both
domains alike. So a student's faults are its own; what it cannot show is a teacher that errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_distill.study.objects import CONTENT, Domain, Scenes, World, draw, render
from clip_distill.use.preprocessing import Pixels
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.runtime.errors import UserError

HIDDEN = 64
OF_CUES = (0.3, 0.2, 0.15)  # how much of background, palette and finish the teacher sees
COMMON = 0.7  # length of what all features share, as CLIP's do
DRAWS = 200  # scenes whose mean is a class's text vector


def teach(world: World, scenes: Scenes) -> NDArray[np.float32]:
    """Unit features (n, width)."""
    g = np.random.default_rng([world.seed, 2])
    first = g.normal(size=(CONTENT, HIDDEN)) / np.sqrt(CONTENT)
    second = g.normal(size=(HIDDEN, world.width)) / np.sqrt(HIDDEN * world.width)
    common = g.normal(size=world.width) / np.sqrt(world.width)
    rows = np.tanh(1.5 * scenes.content @ first) @ second * 2 + COMMON * common
    for place, share in enumerate(OF_CUES):
        kinds = g.normal(size=(world.classes, world.width)) / np.sqrt(world.width)
        rows += share * kinds[scenes.cues[:, place]]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)


def class_vectors(world: World) -> NDArray[np.float32]:
    """Text vectors (classes, width): the mean feature of a class with cues of all kinds."""
    scenes = draw(world, "real", DRAWS * world.classes, 2**20 + world.seed)
    rows = teach(world, scenes)
    means = np.stack([rows[scenes.label == label].mean(0) for label in range(world.classes)])
    unit: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit


class Drawn:
    """Rendered scenes as pictures to learn from.

    Args:
        world, domain, count, seed, seen_only: as `draw` has them.
    """

    def __init__(
        self, world: World, domain: Domain, count: int, seed: int, seen_only: bool = False
    ) -> None:
        self.scenes = draw(world, domain, count, seed, seen_only)
        self.pixels = render(world, self.scenes)
        self.where = f"{domain} objects"
        self.ids: Sequence[str] = tuple(f"{domain} {seed} {n}" for n in range(count))
        targeted = domain != "generic"
        self.classes = tuple(f"class {n}" for n in range(world.classes)) if targeted else ()
        self.targets: Sequence[int] = tuple(map(int, self.scenes.label)) if targeted else ()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Pixels:
        """One image."""
        return self.pixels[index]

    def caption(self, index: int) -> str:
        """None of them has one."""
        raise UserError(f"{self.where}: no captions")

    def fingerprint(self) -> str:
        """Of the images."""
        return fingerprint_arrays({"pixels": self.pixels})


@dataclass(frozen=True)
class Worlds:
    """The data source: a world, drawn anew for every seed."""

    world: World
    name: str
    title = "rendered objects"

    @property
    def sentence(self) -> str:
        """What the data are."""
        own = self.world
        return (
            f"rendered objects of {own.classes} classes, {own.size} x {own.size}, "
            f"{own.held_out} classes without synthetic images; the teacher is computed from the "
            "scene; scored on the rendered real domain"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> Opened:
        """Its generator."""
        return Opened(self.world)


class Opened:
    """The fingerprint is that of a few images and features, so that a changed generator shows."""

    def __init__(self, world: World) -> None:
        self.world = world
        arrays: dict[str, NDArray[Any]] = {}
        domains: tuple[Domain, ...] = ("generic", "synthetic", "real")
        for domain in domains:
            few = draw(replace(world, confounding=0.5), domain, 6, 100)
            arrays |= {f"{domain} pixels": render(world, few),
                       f"{domain} features": teach(world, few).round(4)}  # fmt: skip
        self.fingerprint = fingerprint_arrays(arrays)
