"""Which of a detector's boxes become proposals: one class a box, no doubles, enough confidence.

The rules are ours: a class's threshold is the higher one of a floor and a quantile of the scores
that it got in the whole pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Floats, Ints
from ofds.use.proposers.interface import Boxes, Detections

SAME = 0.9  # intersection over union of two boxes that are one object, whatever it is called


def overlaps(box: Boxes, others: Boxes) -> Floats:
    """Intersection over union of a box (4,) and others (n, 4), (n,)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    total = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - both
    return np.divide(both, total, out=np.zeros_like(both), where=total > 0)


def kept(
    boxes: Boxes, scores: Floats, floor: float, overlap: float, most: int
) -> tuple[Ints, Ints, Floats]:
    """Places of the boxes that stay, best first, with their classes and scores.

    A box belongs to the class that scores highest (the first of equals). Of boxes of a class that
    overlap by more than `overlap` (intersection over union), or are the same, the best stays:
    greedy non-maximum suppression.

    Args:
        boxes: (n, 4).
        scores: (n, classes).
        floor: lowest score.
        overlap: 0 to 1.
        most: boxes an image.
    """
    if not len(boxes):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    label, best = scores.argmax(axis=1), scores.max(axis=1)
    wide = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(boxes).all(axis=1)
    usable = np.flatnonzero(wide & (best >= floor))
    order = usable[np.lexsort((*boxes[usable].T[::-1], label[usable], -best[usable]))]
    free, chosen = np.ones(len(order), bool), list[int]()
    for step, place in enumerate(order):
        if not free[step] or len(chosen) == most:
            continue
        chosen.append(int(place))
        rest = order[step + 1 :]
        common = overlaps(boxes[place], boxes[rest])
        double = (common > overlap) | (boxes[rest] == boxes[place]).all(axis=1)
        free[step + 1 :] &= ~(double & (label[rest] == label[place]))
    found = np.array(chosen, np.int64)
    return found, label[found].astype(np.int64), best[found].astype(np.float32)


def joined(parts: Sequence[Detections]) -> Detections:
    """Detections of one image from several passes, each for other classes or prompts.

    A pass does not know what the others found: of boxes of different passes that overlap by `SAME`
    or more, the one that scores highest in any class stays (the first of equals).
    """

    def columns(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    masks = None if parts[0].masks is None else sum((part.masks or () for part in parts), ())
    found = Detections(columns("boxes"), columns("scores"), columns("features"), masks)
    source = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    stays = np.ones(len(found), bool)
    for place in np.argsort(-found.scores.max(axis=1, initial=0.0), kind="stable"):
        if stays[place]:
            same = overlaps(found.boxes[place], found.boxes) >= SAME
            stays &= ~(same & (source != source[place]))
    return found.of(np.flatnonzero(stays))


def thresholds(
    label: Ints, score: NDArray[np.floating], classes: int, floor: float, quantile: float
) -> Floats:
    """(classes,) lowest score of a proposal of each class.

    A class always keeps its best proposal, and with few of them keeps all: the quantile is a score
    that occurs, not one between.
    """
    found = np.full(classes, floor, np.float32)
    for each in np.unique(label) if quantile else ():
        own = np.quantile(score[label == each], quantile, method="lower")
        found[each] = max(floor, own)
    return found
