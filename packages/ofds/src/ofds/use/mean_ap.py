"""COCO's mean average precision, computed by pycocotools on columns in memory."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Floats = NDArray[np.float64]
MOST = 100  # detections an image that count


@dataclass(frozen=True)
class MeanAP:
    """Average precision of every class, in percent; NaN for a class without a true object.

    Attributes:
        ap: (classes,) mean over IoU thresholds of 0.50 to 0.95.
        ap50: (classes,) at an IoU of 0.50.
    """

    ap: Floats
    ap50: Floats

    def metrics(self, rare: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Means over classes, and over those that are rare."""
        found = {"ap": float(np.nanmean(self.ap)), "ap50": float(np.nanmean(self.ap50))}
        if rare is not None and len(rare):
            found["rare_ap50"] = float(np.nanmean(self.ap50[rare]))
        return found


def mean_ap(truth: Any, found: Any, images: int, classes: int) -> MeanAP:
    """COCO's AP by class.

    Args:
        truth: columns `image`, `label` and `box` (x, y, width, height), and `area`, of objects;
            `crowd` where there are regions of many.
        found: columns `image`, `label`, `score` and `box` of detections.
        images, classes: how many; images without objects count, too.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it reports each of its steps
        gt = COCO()
        gt.dataset = _dataset(truth, images, classes)
        gt.createIndex()
        dt = COCO()
        dt.dataset = _dataset(found, images, classes)
        dt.createIndex()
        scorer = COCOeval(gt, dt, "bbox")
        scorer.params.areaRng, scorer.params.areaRngLbl = scorer.params.areaRng[:1], ["all"]
        scorer.params.maxDets = [MOST]
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][:, :, :, 0, 0]  # IoU, recall, class; -1 where undefined
    by_class = 100 * np.where(precision < 0, np.nan, precision).mean(axis=1)
    return MeanAP(by_class.mean(axis=0), by_class[0])


def _dataset(objects: Any, images: int, classes: int) -> dict[str, Any]:
    boxes = np.asarray(objects.box, np.float64)
    area = getattr(objects, "area", None)
    areas = boxes[:, 2] * boxes[:, 3] if area is None else np.asarray(area, np.float64)
    score = getattr(objects, "score", None)
    scores = np.ones(len(boxes)) if score is None else np.asarray(score, np.float64)
    crowd = getattr(objects, "crowd", None)
    crowds = np.zeros(len(boxes), np.int64) if crowd is None else np.asarray(crowd, np.int64)
    columns = zip(
        np.asarray(objects.image).tolist(), np.asarray(objects.label).tolist(), boxes.tolist(),
        areas.tolist(), scores.tolist(), crowds.tolist(), strict=True,
    )  # fmt: skip
    return {
        "images": [{"id": place} for place in range(images)],
        "categories": [{"id": place} for place in range(classes)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": area_,
             "score": score_, "iscrowd": crowd_}
            for number, (image, label, box, area_, score_, crowd_) in enumerate(columns, start=1)
        ],
    }  # fmt: skip
