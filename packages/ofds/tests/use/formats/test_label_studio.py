"""Label Studio: tasks out, its export in."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use.coco import dataset_of
from ofds.use.formats import brush, label_studio
from ofds.use.formats.label_studio_export import read
from ofds.use.masks import run_lengths
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError


def tasks(out: Path, dataset: Any, **more: Any) -> list[dict[str, Any]]:
    label_studio.write(out, dataset, **more)
    return json.loads((out / label_studio.TASKS).read_text(encoding="utf-8"))


def region(kind: str = "rectanglelabels", label: str = "cat", **value: Any) -> dict[str, Any]:
    usual = {"x": 5, "y": 20, "width": 15, "height": 40, "rotation": 0}
    shape = value or usual
    return {
        "type": kind, "original_width": 200, "original_height": 100,
        "value": {**shape, kind: [label]},
    }  # fmt: skip


def export(folder: Path, *made: Any, data: Any = None) -> Path:
    """An export of tasks, each given by its annotations."""
    listed = [
        {"id": n, "data": data or {"image": f"/data/upload/4/cb0618f6-IMG_{n}.png"},
         "annotations": own}
        for n, own in enumerate(made, 1)
    ]  # fmt: skip
    path = folder / "export.json"
    path.write_text(json.dumps(listed), encoding="utf-8")
    return path


def test_per_cents(made: Any, out: Path) -> None:
    note = {"score": 0.5, "source": "auto", "attributes": {"ofds_id": "ab-1"}}
    first, second = tasks(out, made([note]), model="mine")
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("mine", 0.5)
    assert prediction["result"] == [{
        "id": "ab-1", "type": "rectanglelabels", "from_name": "rectangle", "to_name": "image",
        "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": {"x": 5, "y": 20, "width": 15, "height": 40, "rotation": 0,
                  "rectanglelabels": ["cat"]},
        "score": 0.5, "meta": {"ofds_id": "ab-1", "source": "auto"},
    }]  # fmt: skip
    assert "predictions" not in second


def test_addresses_are_quoted_and_names_are_kept(made: Any, out: Path) -> None:
    images = [{"id": 1, "file_name": "a ö\\1 & 2.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    first, _ = tasks(out, made(images=images))
    assert first["data"] == {
        "image": "/data/local-files/?d=a%20%C3%B6/1%20%26%202.jpg",
        "ofds_image": "a ö\\1 & 2.jpg", "ofds_rank": 1,
    }  # fmt: skip
    _, second = tasks(out, made(images=images), prefix="http://host/x/")
    assert second["data"]["image"] == "http://host/x/b.jpg"


def test_names_that_a_backslash_tells_apart(made: Any, out: Path, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "x/1.jpg"}, {"id": 2, "file_name": "x\\1.jpg"}]
    line = r"Label Studio cannot tell 'x/1.jpg' and 'x\\\\1.jpg' apart: a backslash is written as a"
    with pytest.raises(UserError, match=line):
        label_studio.write(out, made(images=images))
    (tmp_path / "x\\1.jpg").write_bytes(b"x")  # a name like any other, but on Windows
    first, second = tasks(out, made(images=images), images=tmp_path)
    assert first["data"]["image"].endswith("?d=x/1.jpg")
    assert second["data"]["image"].endswith("?d=x%5C1.jpg")


def test_the_config_has_the_controls_and_all_classes(made: Any, out: Path) -> None:
    mask = {"size": [100, 200], "counts": [5, 3, 19992]}
    notes = [{"segmentation": [[1, 1, 9, 1, 9, 9]]}, {"segmentation": mask}]
    names = ['a "b" & <c>', "d, e", "猫"]
    classes = [{"id": n, "name": name} for n, name in enumerate(names)]
    first, _ = tasks(out, made([{**n, "category_id": 0} for n in notes], categories=classes))
    view = ET.fromstring((out / label_studio.CONFIG).read_bytes())
    controls = {control.tag: control for control in view}
    assert [*controls] == ["Image", "PolygonLabels", "BrushLabels"]
    for result in first["predictions"][0]["result"]:
        control = next(c for c in view if c.get("name") == result["from_name"])
        assert control.tag.lower() == result["type"]
        assert control.get("toName") == result["to_name"] == controls["Image"].get("name")
        assert [label.get("value") for label in control] == names
    assert controls["Image"].get("value") == "$image"
    tasks(out, made())
    assert b"RectangleLabels" in (out / label_studio.CONFIG).read_bytes()


def test_masks(made: Any, out: Path) -> None:
    drawn = np.zeros((100, 200), np.uint8)
    drawn[10:20, 30:50] = 1
    rle = run_lengths(drawn)
    forms = [rle, {**rle, "counts": rle["counts"].encode()},
             {"size": [100, 200], "counts": [3010, *[10, 90] * 19, 10, 15080]}]  # fmt: skip
    first, _ = tasks(out, made([{"segmentation": form} for form in forms]))
    for result in first["predictions"][0]["result"]:
        assert result["type"] == "brushlabels"
        assert (brush.decode(result["value"]["rle"], 100, 200) == drawn).all()


def test_several_polygons_are_regions_that_belong_together(made: Any, out: Path) -> None:
    parts = [[20, 10, 40, 10, 40, 30], [60, 10, 80, 10, 80, 30]]
    note = {"segmentation": parts, "attributes": {"ofds_id": "ab-1"}}
    first, _ = tasks(out, made([note, {"segmentation": parts}]))
    regions = first["predictions"][0]["result"]
    assert [r["id"] for r in regions] == ["ab-1", "ab-1.1", "annotation-2", "annotation-2.1"]
    assert regions[0]["value"]["points"] == [[10, 10], [20, 10], [20, 30]]
    content = read(export(out, [{"result": regions}]), Repairs())
    assert [n["segmentation"] for n in content["annotations"]] == [parts, parts]
    assert content["annotations"][0]["bbox"] == [20, 10, 60, 20]
    assert [n.get("attributes") for n in content["annotations"]] == [{"ofds_id": "ab-1"}, None]


def test_labelled_and_empty_is_not_unlabelled(tmp_path: Path) -> None:
    skipped = {"result": [region()], "was_cancelled": True}
    repairs = Repairs()
    path = export(tmp_path, [{"result": [region()]}], [{"result": []}], [], [skipped])
    content = read(path, repairs, classes=["cat", "dog"])
    assert [image["labelled"] for image in content["images"]] == [True, True, False, False]
    assert [c["name"] for c in content["categories"]] == ["cat", "dog"]
    assert content["annotations"][0]["bbox"] == [10, 20, 30, 40]
    assert content["images"][0]["width"] == 200
    assert repairs.count("annotation that was skipped in Label Studio: not counted") == 1


def test_the_annotation_that_counts(tmp_path: Path) -> None:
    old = {"result": [region(label="old")], "updated_at": "2026-01-01"}
    new = {"result": [region(label="new")], "updated_at": "2026-01-02", "lead_time": 12.5}
    repairs = Repairs()
    content = read(export(tmp_path, [new, old], [{**old, "ground_truth": True}, new]), repairs)
    assert [c["name"] for c in content["categories"]] == ["new", "old"]
    assert [n["category_id"] for n in content["annotations"]] == [1, 2]
    assert content["images"][0]["seconds"] == 12.5
    assert repairs.count("image with several annotations: the last one counts") == 2


def test_a_turned_rectangle_is_a_polygon(tmp_path: Path) -> None:
    turned = region(x=50, y=10, width=10, height=40, rotation=90)
    repairs = Repairs()
    content = read(export(tmp_path, [{"result": [turned]}]), repairs)
    # By 90 degrees about its upper left corner (100, 10), clockwise: it then lies to the left.
    assert content["annotations"][0]["segmentation"] == [[100, 10, 100, 30, 60, 30, 60, 10]]
    assert content["annotations"][0]["bbox"] == [60, 10, 40, 20]
    assert repairs.count("turned rectangle: taken as a polygon") == 1


@pytest.mark.parametrize(
    ("id_", "mark"),
    [("0a1b2c3d-12", "0a1b2c3d-12"), ("0a1b2c3d-12.1", "0a1b2c3d-12"), ("aB3dE6gH9k", None)],
)
def test_the_id_of_a_region_is_the_mark_if_the_meta_is_lost(
    tmp_path: Path, id_: str, mark: str | None
) -> None:
    content = read(export(tmp_path, [{"result": [{**region(), "id": id_}]}]), Repairs())
    assert content["annotations"][0].get("attributes") == ({"ofds_id": mark} if mark else None)


def test_regions_of_other_kinds(tmp_path: Path) -> None:
    repairs = Repairs()
    others = [
        {"type": "choices", "value": {"choices": ["good"]}},
        region("ellipselabels", x=1, y=1, radiusX=2, radiusY=2),
        region("brushlabels", format="rle", rle=[1, 2]),
        {**region(), "type": "rectangle", "value": {"x": 1, "y": 1, "width": 2, "height": 2}},
        region("labels"),
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    content = read(export(tmp_path, [{"result": others}]), repairs)
    found = dataset_of(content, "x", repairs).objects
    assert found.box.tolist() == [[10, 20, 30, 40]]  # separate labels repeat the rectangle
    assert {row["reason"] for row in repairs.rows()} == {
        "left out: region of the type choices",
        "left out: region of the type ellipselabels",
        "mask left out: damaged brush",
        "dropped: no box and no mask",
    }


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"image": "/data/local-files/?d=a%20%C3%B6/1%20%26%202.jpg"}, "a ö/1 & 2.jpg"),
        ({"image": "https://host/bucket/a/1.jpg?token=x"}, "bucket/a/1.jpg"),
        ({"image": "s3://bucket/a/1.JPG"}, "a/1.JPG"),
        ({"text": "x", "photo": "/data/upload/4/cb0618f6-IMG_1.png"},
         "data/upload/4/cb0618f6-IMG_1.png"),
        ({"image": "x.jpg", "ofds_image": "a\\ö 1.jpg"}, "a\\ö 1.jpg"),
    ],
)  # fmt: skip
def test_names(tmp_path: Path, data: Any, name: str) -> None:
    content = read(export(tmp_path, [{"result": [region()]}], data=data), Repairs())
    assert content["images"][0]["file_name"] == name


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([], "no tasks of Label Studio"),
        ([{"image": "1.jpg", "label": []}], "export them as JSON, not as JSON-MIN"),
        ([{"data": {"image": "1.jpg"}, "predictions": [{"result": []}]}],
         "no task has an annotation: these are tasks to import; export the project as JSON"),
        ([{"data": {"image": "1.jpg"}, "predictions": [{"result": []}], "annotations": []}],
         "no task has an annotation"),
        ([{"data": {"image": "1.jpg"}}], "no task has an annotation"),
        ([{"data": {"text": "x"}, "annotations": []}], r"task 1 \(from 1\) names no image"),
        ([{"data": {"image": "1.jpg"},
           "annotations": [{"result": [{"type": "rectanglelabels",
                                        "value": {"rectanglelabels": ["cat"]}}]}]}],
         "no original_width and _height"),
        ([{"data": {"image": "1.jpg"},
           "annotations": [{"result": [region(), {**region(), "original_width": 9}]}]}],
         "of images of different sizes"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: Any, line: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=line):
        read(path, Repairs())
