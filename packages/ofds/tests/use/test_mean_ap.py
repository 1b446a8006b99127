"""COCO's mAP on columns: the same as pycocotools on files, and right by hand."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ofds.use.mean_ap import mean_ap
from ofds.use.nets.detector import Detections

BOX = np.array([[10, 10, 20, 20], [50, 50, 10, 10], [5, 5, 30, 30]], np.float32)


def columns(image: list[int], label: list[int], score: list[float], box: np.ndarray) -> Detections:
    return Detections(np.array(image), np.array(label), np.array(score, np.float32), box)


def test_right_boxes_score_100_and_missed_ones_count() -> None:
    truth = columns([0, 0, 1], [0, 1, 0], [1, 1, 1], BOX)
    assert mean_ap(truth, truth, 2, 2).metrics() == pytest.approx({"ap": 100, "ap50": 100})
    half = truth.where(np.array([True, True, False]))
    found = mean_ap(truth, half, 2, 2)
    assert found.ap50[0] == pytest.approx(51 / 101 * 100)  # COCO's 101 recalls, 0 to 0.5
    assert found.ap50[1] == pytest.approx(100)


def test_a_class_without_an_object_is_left_out_and_one_never_found_is_0() -> None:
    truth = columns([0, 0], [0, 2], [1, 1], BOX[:2])
    found = mean_ap(truth, truth.where(truth.label == 0), 1, 3)
    assert np.isnan(found.ap50[1])
    assert found.metrics(np.array([2]))["rare_ap50"] == 0
    assert found.metrics()["ap50"] == pytest.approx(50)


def test_nothing_found_at_all() -> None:
    truth = columns([0], [0], [1], BOX[:1])
    none = truth.where(np.zeros(1, bool))
    assert mean_ap(truth, none, 1, 1).metrics()["ap"] == 0


def test_as_pycocotools_on_files(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    n = 120
    box = np.concatenate([g.uniform(0, 60, (n, 2)), g.uniform(8, 30, (n, 2))], 1).astype(np.float32)
    truth = columns(list(g.integers(12, size=n)), list(g.integers(4, size=n)), [1.0] * n, box)
    moved = box + g.normal(0, 2, box.shape).astype(np.float32)
    label = np.where(g.random(n) < 0.2, g.integers(4, size=n), truth.label)
    found = Detections(truth.image, label, g.random(n).astype(np.float32), moved)
    ours = mean_ap(truth, found, 12, 4)

    def rows(of: Detections) -> list[dict[str, object]]:
        return [
            {"id": i + 1, "image_id": int(of.image[i]), "category_id": int(of.label[i]),
             "bbox": [float(v) for v in of.box[i]], "score": float(of.score[i]), "iscrowd": 0,
             "area": float(of.box[i, 2] * of.box[i, 3])}
            for i in range(n)
        ]  # fmt: skip

    file = tmp_path / "truth.json"
    file.write_text(json.dumps({
        "images": [{"id": i} for i in range(12)], "categories": [{"id": i} for i in range(4)],
        "annotations": rows(truth),
    }))  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(file))
        theirs = COCOeval(gt, gt.loadRes(rows(found)), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    assert ours.metrics()["ap"] == pytest.approx(100 * theirs.stats[0])
    assert ours.metrics()["ap50"] == pytest.approx(100 * theirs.stats[1])
    assert 5 < ours.metrics()["ap"] < ours.metrics()["ap50"] < 90
