"""CVAT's COCO 1.0."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ofds.use.coco import dataset_of
from ofds.use.formats import cvat
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

MASK = {"size": [100, 200], "counts": [5, 3, 19992]}
POLYGONS = [[10, 10, 20, 10, 20, 20], [30, 10, 40, 10, 40, 20]]


def written(out: Path, dataset: Any) -> tuple[dict[str, Any], Repairs]:
    repairs = Repairs()
    cvat.write(out, dataset, repairs)
    return json.loads((out / cvat.FILE).read_text(encoding="utf-8")), repairs


def test_what_cvat_reads(made: Any, out: Path) -> None:
    mark = {"ofds_id": "ab-1"}
    notes = [
        {"segmentation": MASK, "attributes": {**mark, "other": 1}, "score": 0.5, "id": "x"},
        {"segmentation": POLYGONS, "iscrowd": 0, "category_id": 90},
        {"image_id": 2},
    ]
    images = [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "b\\1.jpg"}]
    found, repairs = written(out, made(notes, images))
    assert [image["file_name"] for image in found["images"]] == ["a/1.jpg", "b/1.jpg"]
    assert [c["id"] for c in found["categories"]] == [1, 3, 90]  # all, though one has none
    first, second, third = found["annotations"]
    assert (first["segmentation"], first["iscrowd"], first["attributes"]) == (MASK, 1, mark)
    assert (second["segmentation"], second["iscrowd"]) == (POLYGONS, 0)
    assert (third["segmentation"], third["attributes"]) == ([], {})
    assert [note["id"] for note in found["annotations"]] == [1, 2, 3]
    labels = json.loads((out / cvat.LABELS).read_text(encoding="utf-8"))
    assert [each["name"] for each in labels] == ["cat", "dog", "St. Bernard"]
    assert labels[0]["attributes"][0]["name"] == "ofds_id"
    assert not repairs.rows()


@pytest.mark.parametrize("ids", [(0, 1, 3), ("1", "3", "90")])
def test_ids_that_cvat_takes_for_no_class(made: Any, out: Path, ids: Any) -> None:
    classes = [{"id": id_, "name": f"class {id_}"} for id_ in ids]
    found, repairs = written(out, made([{"category_id": ids[2]}], categories=classes))
    assert [(c["id"], c["name"]) for c in found["categories"]] == [
        (place, f"class {id_}") for place, id_ in enumerate(ids, start=1)
    ]
    assert found["annotations"][0]["category_id"] == 3
    assert repairs.count("class ids that CVAT cannot read: numbered from 1") == 1


def test_names_that_cvat_takes_for_one(made: Any, out: Path) -> None:
    images = [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "a/1.png"}]
    with pytest.raises(UserError, match=r"CVAT cannot tell 'a/1.jpg' and 'a/1.png' apart"):
        written(out, made(images=images))
    assert not list(out.iterdir())


def test_masks_that_cvat_marks_as_crowds_are_objects(made: Any, tmp_path: Path) -> None:
    path, repairs = tmp_path / "x.json", Repairs()
    notes = [{"segmentation": MASK, "iscrowd": 1}, {"segmentation": POLYGONS, "iscrowd": 0}]
    images = [{"id": 1, "file_name": "1.jpg", "width": 200, "height": 100}]
    usual = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    content = {"images": images, "categories": [{"id": 1, "name": "cat"}]}
    path.write_text(json.dumps({**content, "annotations": [{**usual, **n} for n in notes]}))
    found = dataset_of(cvat.read(path, repairs), path, repairs).objects
    assert found.crowd.tolist() == [False, False]
    reason = "mask that CVAT marks as a crowd: taken as an object"
    assert repairs.found[reason] == (1, "'1.jpg'")


def test_archive_and_folder(made: Any, out: Path, tmp_path: Path) -> None:
    written(out, made([{}]))
    archive = tmp_path / "task.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(out / cvat.FILE, "annotations/instances_default.json")
    (out / "annotations").mkdir()
    (out / cvat.FILE).rename(out / "annotations" / cvat.FILE)
    for path in (archive, out, out / "annotations" / cvat.FILE):
        assert len(cvat.read(path, Repairs())["annotations"]) == 1


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], "one file instances_.*there is: none"),
        (["instances_a.json", "instances_b.json"], "there is: instances_a.json, instances_b.json"),
    ],
)
def test_other_archives(tmp_path: Path, names: list[str], line: str) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(f"annotations/{name}", "{}")
        file.writestr("readme", "")
    with pytest.raises(UserError, match=line):
        cvat.read(path, Repairs())


@pytest.mark.parametrize("content", [b"[]", b"{}", b"PK\x03\x04 torn", b""])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x.json: (no |a damaged)"):
        cvat.read(path, Repairs())
