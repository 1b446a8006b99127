"""Pictures of nothing: what a judge has to refuse, though a classifier would name a class.

Grounds alone, blobs that are no outline of any class, and two pictures of different classes laid
over each other. A judge that has never seen them takes whatever a generator fails to draw for one
of its groups (ours).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cg_augment.study.shapes import Labels, Pixels
from cg_augment.study.worlds import Scene
from repro_shared.runtime.rng import derive_seed

KINDS = ("grounds alone", "blobs", "mixtures of two")
NONE = "none of these"
COARSE = 7  # places of a blob's noise along a side


def nothing(scene: Scene, count: int, part: str, seed: int) -> tuple[Pixels, Labels]:
    """Pictures uint8 (count, size, size, 3), and the kind of each by its place in `KINDS`.

    Args:
        scene: whose grounds and outlines they are made of.
        count: pictures, the kinds in turn.
        part: of the world; its pictures come from streams of their own.
        seed: of all that is random.
    """
    kinds = np.arange(count) % len(KINDS)
    own = derive_seed(seed, "nothing", part)
    g = np.random.default_rng(own)
    classes = len(scene.classes)
    labels = g.integers(classes, size=count)
    grounds = g.integers(len(scene.grounds), size=count)
    made = scene.render(labels, grounds, part, derive_seed(own, "grounds"), empty=True)
    blobs = kinds == KINDS.index("blobs")
    made[blobs] = blobbed(made[blobs], g)
    mixed = kinds == KINDS.index("mixtures of two")
    others = (labels + g.integers(1, classes, count)) % classes
    pair = [
        scene.render(chosen[mixed], grounds[mixed], part, derive_seed(own, name)).astype(np.float32)
        for name, chosen in (("one", labels), ("other", others))
    ]
    weight = g.uniform(0.35, 0.65, (int(mixed.sum()), 1, 1, 1)).astype(np.float32)
    made[mixed] = np.rint(weight * pair[0] + (1 - weight) * pair[1]).astype(np.uint8)
    return made, kinds


def blobbed(grounds: Pixels, g: np.random.Generator) -> Pixels:
    """Patches of one colour with a smooth random edge, on pictures uint8 (n, s, s, 3)."""
    n, side = grounds.shape[:2]
    noise = torch.from_numpy(g.normal(size=(n, 1, COARSE, COARSE)).astype(np.float32))
    smooth = F.interpolate(noise, (side, side), mode="bicubic", align_corners=False).numpy()[:, 0]
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side * 2 - 1
    down, right = g.uniform(-0.25, 0.25, (2, n, 1, 1))
    # Patches gather about a place, as outlines do, and are about as large.
    level: NDArray[Any] = 1.2 * smooth + 3.0 * (0.5 - np.hypot(x - right, y - down))
    alpha = (1 / (1 + np.exp(-level * g.uniform(2, 8, (n, 1, 1)))))[..., None]
    colour = g.uniform(0, 255, (n, 1, 1, 3))
    return np.rint(grounds + alpha * (colour - grounds)).clip(0, 255).astype(np.uint8)
