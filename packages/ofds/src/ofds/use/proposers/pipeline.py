"""From images to proposals: detect, keep, outline, describe; and rows that show a changed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_masks

from ofds.method.objects import Ints
from ofds.use.proposers.build import Models
from ofds.use.proposers.given import Given
from ofds.use.proposers.interface import Boxes, Detections, Floats, Picture
from ofds.use.proposers.keep import kept
from repro_shared.runtime.errors import UserError

ALIKE = 0.999  # cosine that canary rows must reach
LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class Keeping:
    """Which boxes become proposals.

    Attributes:
        floor: lowest score.
        overlap: intersection over union above which the lesser of two boxes of a class goes.
        most: proposals an image.
    """

    floor: float
    overlap: float = 0.7
    most: int = 300


@dataclass(frozen=True)
class Proposals:
    """What is proposed on one image, best first.

    Attributes:
        label: (n,) place of the class.
        score: (n,).
        box: (n, 4) x, y, width, height in pixels.
        area: (n,) pixels of the mask, or of the box where there is none.
        masks: n compressed run lengths, or None.
        features: (n, d) float16, or None.
    """

    label: Ints
    score: Floats
    box: Floats
    area: Floats
    masks: tuple[bytes, ...] | None
    features: NDArray[np.float16] | None

    def __len__(self) -> int:
        return len(self.label)


def propose_on(
    models: Models, names: Sequence[str], images: Sequence[Picture], keeping: Keeping
) -> list[Proposals]:
    """Proposals on a batch of images."""
    chosen, named = list[Detections](), list[tuple[Ints, Floats]]()
    if isinstance(models.detector, Given):
        found = models.detector.of(names, images)
    else:
        found = models.detector.detect(images, keeping.floor)
    for seen in found:
        place, label, score = kept(
            seen.boxes, seen.scores, keeping.floor, keeping.overlap, keeping.most
        )
        chosen.append(seen.of(place))
        named.append((label, score))
    boxes = [seen.boxes for seen in chosen]
    masks = [seen.masks for seen in chosen]
    outlined = list[Floats | None]([None] * len(images))
    if models.masker is not None:
        drawn = models.masker.outline(images, boxes)
        masks, outlined = [each.masks for each in drawn], [each.features for each in drawn]
    features = _features(models, images, boxes, chosen, outlined)
    result = []
    for image, (label, score), box, own, row in zip(
        images, named, boxes, masks, features, strict=True
    ):
        sides = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1)
        area = sides[:, 2] * sides[:, 3]
        if own is not None:
            drawn_area = areas(own, image)
            area = np.where(drawn_area > 0, drawn_area, area)
        half = None if row is None else np.clip(row, -LARGEST, LARGEST).astype(np.float16)
        result.append(Proposals(label, score, sides, area.astype(np.float32), own, half))
    return result


def areas(masks: Sequence[bytes], image: Picture) -> Floats:
    """Pixels of each mask on an image; 0 for none."""
    size, found = list(image.shape[:2]), np.zeros(len(masks), np.float32)
    for place, counts in enumerate(masks):
        if counts:
            found[place] = coco_masks.area({"size": size, "counts": counts})
    return found


def _features(
    models: Models,
    images: Sequence[Picture],
    boxes: Sequence[Boxes],
    seen: Sequence[Detections],
    outlined: Sequence[Floats | None],
) -> Sequence[Floats | None]:
    if models.features is None:
        return [None] * len(images)
    if models.features == "masker":
        return outlined
    if models.features == "detector":
        if any(each.features is None for each in seen):
            raise UserError("--features detector: this detector has none; give another")
        return [each.features for each in seen]
    assert not isinstance(models.features, str)
    return models.features.features(images, boxes)


def canary(models: Models) -> list[list[float]]:
    """Rows that are the same for the same models, for fixed images and boxes.

    One row an image of the detector's scores (the highest and the mean of each class), one of its
    mean feature where it has any, and a row a box of the masker's and of the featurizer's features.
    """
    images, boxes = canary_pictures()
    rows = list[Floats]()
    for seen in models.detector.detect(images, 0.0):
        some = seen.scores if len(seen) else np.zeros((1, seen.scores.shape[1]), np.float32)
        rows.append(np.concatenate([some.max(axis=0), some.mean(axis=0)]))
        if seen.features is not None and len(seen):
            rows.append(seen.features.mean(axis=0))
    if models.masker is not None:
        rows += [row for each in models.masker.outline(images, boxes) for row in each.features]
    if models.features is not None and not isinstance(models.features, str):
        rows += [row for each in models.features.features(images, boxes) for row in each]
    return [[float(f"{value:.6g}") for value in row] for row in rows]


def canary_pictures() -> tuple[list[Picture], list[Boxes]]:
    """Two images of 96 x 128 pixels, from whole numbers alone, and three boxes on each."""
    y, x = np.mgrid[:96, :128]
    board = (x // 8 + y // 8) % 2 * 255
    first = np.stack([x * 2, y * 2, board], axis=2).astype(np.uint8)
    second = np.stack([board, 255 - x, x * y % 251], axis=2).astype(np.uint8)
    second[30:70, 40:90] = (200, 40, 30)
    boxes = np.array([[0, 0, 128, 96], [40, 30, 90, 70], [5, 50, 37, 90]], np.float32)
    return [first, second], [boxes, boxes]


def check_canary(known: Sequence[Sequence[float]], now: Sequence[Sequence[float]]) -> None:
    """UserError unless the rows are the same, up to rounding."""
    worst = 1.0 if len(known) == len(now) else -1.0
    for a, b in zip(known, now, strict=False):
        worst = min(worst, _cosine(np.array(a), np.array(b)))
    if not worst > ALIKE:
        raise UserError(
            f"the models do not see what they saw when this pool was begun: a canary row agrees "
            f"to {worst:.4f} only (cosine; {ALIKE} is needed). Use the same library versions and "
            "dtype (propose.json names them), or another --out"
        )


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if a.shape != b.shape:
        return -1.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float((a == b).all())
