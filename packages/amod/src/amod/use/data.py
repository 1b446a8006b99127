"""Cluttered canvases of one digit each, and which of their patches decide the class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.scenes import DigitScenes, SceneConfig
from repro_shared.datasets.views import Arrays
from repro_shared.datasets.wheels import Split


def canvases(config: SceneConfig, split: Split, length: int, seed: int) -> Arrays:
    """Cluttered canvases: one digit among pieces of others, and where it is.

    Args:
        config: scenes of exactly one digit.
        split: whose digits and photographs.
        length: how many.
        seed: of the scenes.
    """
    scenes = DigitScenes(config, split, length, seed)
    kept = [s for s in (scenes[i] for i in range(length)) if len(s.classes) == 1]
    return Arrays(
        np.stack([s.image for s in kept]),
        np.array([int(s.classes[0]) - 1 for s in kept]),
        config.classes[1:],
        scenes.fingerprint(),
        np.stack([s.instance_masks[0] for s in kept]),
    )


def patch_relevance(masks: NDArray[np.bool_], patch: int) -> NDArray[np.bool_]:
    """Which patches hold pixels of the digit: (n, H, W) to (n, patches), rows first."""
    n, height, width = masks.shape
    tiles = masks.reshape(n, height // patch, patch, width // patch, patch)
    return tiles.any(axis=(2, 4)).reshape(n, -1)
