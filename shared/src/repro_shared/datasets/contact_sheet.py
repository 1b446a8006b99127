"""Scenes side by side with their labels, to look at."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.scenes import CLASSES, IGNORE, Scene


def contact_sheet(scenes: Sequence[Scene], n: int, columns: int = 6) -> NDArray[np.uint8]:
    """Tile the first n scenes, each above its colour-coded label map with its boxes.

    Args:
        scenes: Scenes of one size.
        n: How many to show; at most all of them.
        columns: Scenes in a row.

    Returns:
        RGB, uint8: black is background, white is ignored, each digit has its hue.
    """
    palette = np.zeros((256, 3), np.uint8)
    for label in range(1, len(CLASSES)):
        colour = colorsys.hsv_to_rgb((label - 1) / (len(CLASSES) - 1), 0.8, 1.0)
        palette[label] = np.array(colour) * 255
    palette[IGNORE] = 255
    cells = []
    for scene in scenes[: min(n, len(scenes))]:
        labels = palette[scene.label_map]
        for left, top, right, bottom in scene.boxes.astype(int) - (0, 0, 1, 1):
            labels[[top, bottom], left : right + 1] = 128
            labels[top : bottom + 1, [left, right]] = 128
        cells.append(np.pad(np.vstack([scene.image, labels]), ((1, 1), (1, 1), (0, 0))))
    blank = np.zeros_like(cells[0])
    cells += [blank] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.vstack(rows)
