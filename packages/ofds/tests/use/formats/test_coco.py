"""COCO, written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ofds.use.coco import dataset_of
from ofds.use.formats.coco import content
from ofds.use.repairs import Repairs

RUNS = [505, 5, 95, 5, 19390]


def test_all_images_all_classes_and_whether_somebody_looked(made: Any) -> None:
    images = [
        {"id": "x", "file_name": "a\\ö 1.jpg", "labelled": True, "licence": 3},
        {"id": 0, "file_name": "b.jpg", "labelled": False},
        {"id": 7, "file_name": "c.jpg", "width": None, "labelled": True},
    ]
    classes = [{"id": 90, "name": "St. Bernard", "supercategory": "dog"}, {"id": 0, "name": "t"}]
    found = content(made([{"image_id": "x", "category_id": 0}], images, classes))
    assert [i["labelled"] for i in found["images"]] == [True, False, True]
    assert [i["id"] for i in found["images"]] == ["x", 0, 7]
    assert found["images"][0]["licence"] == 3
    assert "width" not in found["images"][2] or found["images"][2]["width"] is None
    assert found["categories"] == [{"id": 0, "name": "t"}, classes[0]]
    assert len(found["annotations"]) == 1


@pytest.mark.parametrize("form", ["bytes", "text", "list"])
def test_run_lengths_in_three_forms(made: Any, form: str) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    packed = mask.frPyObjects({"size": [100, 200], "counts": RUNS}, 100, 200)["counts"]
    counts = {"bytes": packed, "text": packed.decode(), "list": RUNS}[form]
    first = made([{"segmentation": {"size": [100, 200], "counts": counts}, "bbox": None}])
    text = json.dumps(content(first))
    second = dataset_of(json.loads(text), "x", Repairs()).objects
    kept = second.entries[0]["segmentation"]["counts"]
    assert kept == (RUNS if form == "list" else packed.decode())
    assert first.objects.area.tolist() == second.area.tolist() == [10]
    assert second.box.tolist() == [[5, 5, 2, 5]]


def test_polygons_scores_and_sources_as_they_came(made: Any) -> None:
    parts = [[1.25, 1, 9, 1, 9, 9.5], [20, 1, 29, 1, 29, 9]]
    note = {"segmentation": parts, "score": 0.25, "source": "auto", "attributes": {"ofds_id": "a"}}
    (found,) = content(made([{**note, "id": "own", "iscrowd": False}]))["annotations"]
    assert {key: found[key] for key in note} == note
    assert (found["id"], found["iscrowd"], found["bbox"]) == ("own", 0, [10, 20, 30, 40])


def test_numbers_that_json_has_not(made: Any) -> None:
    nan, inf = float("nan"), float("inf")
    images = [{"id": 1, "file_name": "a.jpg", "height": inf, "gps": [1.5, nan]}]
    parts = [[1, 1, 9, 1, 9, 9], [nan]]  # the second is too short to count
    found = content(made([{"depth": {"z": -inf, "y": 2}, "segmentation": parts}], images))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["images"][0]["height"], found["images"][0]["gps"]) == (None, [1.5, None])
    assert found["annotations"][0]["segmentation"] == parts[:1]
    assert found["annotations"][0]["depth"] == {"z": None, "y": 2}
