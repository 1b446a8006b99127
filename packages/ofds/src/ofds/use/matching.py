"""Which objects of one list are which of another: one to one, by overlap and by class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from ofds.method.objects import Ints
from ofds.use.dataset import Objects

IOU = 0.5
Boxes = NDArray[np.float64]


def overlaps(first: Boxes, second: Boxes, crowd: NDArray[np.bool_] | None = None) -> Boxes:
    """Intersection over union of boxes, (n, 4) and (m, 4) as x, y, width, height, to (n, m).

    Of a crowd in `second`, (m,), intersection over the area of the first box, as COCO has it.
    """
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    flags = np.zeros(len(second), np.uint8) if crowd is None else crowd.astype(np.uint8)
    one, two = (np.ascontiguousarray(each, np.float64) for each in (first, second))
    found: Boxes = np.asarray(coco_mask.iou(one, two, flags), np.float64)
    return found


def pairs(overlap: Boxes, least: float = IOU) -> tuple[Ints, Ints]:
    """The most one-to-one pairs of an overlap of `least` or more, and of these the closest.

    Args:
        overlap: (n, m), 0 to 1.
        least: that a pair needs.

    Returns:
        Places of rows, ascending, and of their columns.
    """
    fits = overlap >= least
    # A pair more counts more than all that overlap could add.
    worth = np.where(fits, 1 + overlap / (min(overlap.shape) + 1), 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    kept = fits[rows, columns]
    return rows[kept], columns[kept]


def match(
    first: Objects, second: Objects, least: float = IOU, by_class: bool = True
) -> tuple[Ints, Boxes]:
    """The partner of each object of `first` in `second`, on the same image.

    Args:
        first, second: of the same images, and with the same classes; no object of a crowd has a
            partner.
        least: intersection over union that a pair needs.
        by_class: partners are of one class.

    Returns:
        (n,) place in `second`, -1 for none; and (n,) the overlap of the pair, 0 for none.
    """
    partner, overlap = np.full(len(first), -1, np.int64), np.zeros(len(first))
    for mine, theirs in _together(first, second, by_class):
        between = overlaps(first.box[mine], second.box[theirs])
        rows, columns = pairs(between, least)
        partner[mine[rows]] = theirs[columns]
        overlap[mine[rows]] = between[rows, columns]
    return partner, overlap


def on_crowd(first: Objects, second: Objects, least: float = IOU) -> NDArray[np.bool_]:
    """Whether each object of `first` lies on a crowd of its class in `second`, (n,).

    COCO counts such a proposal neither right nor wrong.
    """
    found = np.zeros(len(first), bool)
    for mine, theirs in _together(first, second, by_class=True, crowd=True):
        flags = np.ones(len(theirs), bool)
        between = overlaps(first.box[mine], second.box[theirs], flags)
        found[mine] = (between >= least).any(axis=1)
    return found


def _together(
    first: Objects, second: Objects, by_class: bool, crowd: bool = False
) -> Iterator[tuple[Ints, Ints]]:
    """Places in both lists that share an image (and a class), group by group.

    Of `second` the crowds, or the others.
    """
    groups = dict[tuple[int, int], tuple[list[int], list[int]]]()
    for side, objects in enumerate((first, second)):
        label = objects.label if by_class else np.zeros(len(objects), np.int64)
        wanted = objects.crowd == (crowd and side == 1)
        for place in np.flatnonzero(wanted):
            key = int(objects.image[place]), int(label[place])
            groups.setdefault(key, ([], []))[side].append(int(place))
    for mine, theirs in groups.values():
        if mine and theirs:
            yield np.array(mine, np.int64), np.array(theirs, np.int64)
