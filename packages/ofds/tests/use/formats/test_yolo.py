"""YOLO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from ofds.use.coco import dataset_of
from ofds.use.formats import yolo
from ofds.use.masks import extent
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError


def text(out: Path, name: str = "a/1") -> list[str]:
    return (out / "labels" / "train" / f"{name}.txt").read_text().splitlines()


def folder(path: Path, **files: str) -> Path:
    """A folder of Label Studio's form, an image of 200 x 100 beside each text file."""
    (path / "classes.txt").write_text("cat\nSt. Bernard\n")
    for name, content in files.items():
        for kind, suffix in (("labels", ".txt"), ("images", ".png")):
            target = path / kind / f"{name}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if kind == "labels":
                target.write_text(content)
            else:
                Image.new("RGB", (200, 100)).save(target)
    return path


def test_boxes_are_centre_and_size_as_shares(made: Any, out: Path) -> None:
    yolo.write(out, made([{"bbox": [10, 20, 30, 40], "category_id": 90}]), Repairs(), "train")
    assert text(out) == ["2 0.125 0.4 0.15 0.4"]
    assert text(out, "b/1") == []
    data = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert data["names"] == {0: "cat", 1: "dog", 2: "St. Bernard"}
    assert data["train"] == data["val"] == "images/train"
    assert "path" not in data  # Ultralytics then takes the folder of data.yaml


def test_names_that_yaml_would_read_otherwise(made: Any, out: Path) -> None:
    names = ["no", "1.5", "null", 'a "b"', "c: d", "# e", "猫"]
    classes = [{"id": n, "name": name} for n, name in enumerate(names)]
    yolo.write(out, made([{}], categories=classes), Repairs(), "train")
    assert yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))["names"] == dict(
        enumerate(names)
    )
    unquoted = "names: [no, 1.5, null, 'c: d']\ntrain: [images/train, images/more]\nval:\n"
    (out / "data.yaml").write_text(unquoted)
    read = yolo.read(out, Repairs(), made().images)
    assert [c["name"] for c in read["categories"]] == ["no", "1.5", "null", "c: d"]


def test_beside_a_polygon_a_box_is_written_as_its_corners(made: Any, out: Path) -> None:
    notes = [{"segmentation": [[20, 10, 40, 10, 40, 30]]}, {"bbox": [0, 0, 100, 50]}]
    yolo.write(out, made(notes), Repairs(), "train")
    assert text(out) == ["0 0.1 0.1 0.2 0.1 0.2 0.3", "0 0 0 0.5 0 0.5 0.5 0 0.5"]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_several_polygons_become_one_of_the_same_area(made: Any, out: Path, count: int) -> None:
    squares = [
        [20 * n, 10, 20 * n + 10, 10, 20 * n + 10, 20, 20 * n, 20]
        if n % 2
        else [20 * n, 10, 20 * n, 20, 20 * n + 10, 20, 20 * n + 10, 10]  # the other way round
        for n in range(count)
    ]
    repairs = Repairs()
    yolo.write(out, made([{"segmentation": squares}]), repairs, "train")
    assert repairs.count("several polygons of an object joined to one") == 1
    read = yolo.read(out, Repairs(), made().images)
    found = extent(read["annotations"][0]["segmentation"])
    assert found == (100 * count, (0, 10, 20 * count - 10, 10))


def test_what_is_lost_is_counted(made: Any, out: Path) -> None:
    repairs = Repairs()
    mask = {"size": [100, 200], "counts": [5, 3, 19992]}
    yolo.write(out, made([{"segmentation": mask}, {"iscrowd": 1}]), repairs, "train")
    assert repairs.count("mask left out: YOLO holds no run lengths, only polygons") == 1
    assert repairs.count("left out: a crowd, which YOLO would learn as an object") == 1
    assert text(out) == ["0 0.125 0.4 0.15 0.4"]


def test_names_that_only_their_suffix_tells_apart(made: Any, out: Path) -> None:
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "1.jpg"}]
    dataset = made(images=images)
    with pytest.raises(UserError, match=r"YOLO cannot tell '1.png' and '1.jpg' apart"):
        yolo.write(out, dataset, Repairs(), "train")
    with pytest.raises(UserError, match=r"YOLO cannot tell '1.png' and '1.jpg' apart"):
        yolo.read(folder(out, **{"1": "0 .5 .5 .1 .1"}), Repairs(), dataset.images)


def test_a_folder_with_images_needs_nothing_else(tmp_path: Path) -> None:
    path = folder(tmp_path, one="1 .5 .5 .1 .2\n0 0.5 0.5 0.1 0.2 0.75\n", two="")
    found = dataset_of(yolo.read(path, Repairs()), path, Repairs())
    assert [(i.name, i.width, i.height) for i in found.images] == [
        ("one.png", 200, 100), ("two.png", 200, 100),
    ]  # fmt: skip
    assert found.objects.box.tolist() == [[90, 40, 20, 20]] * 2
    assert found.objects.label.tolist() == [1, 0]
    assert found.objects.entries[1]["score"] == 0.75
    assert not any("labelled" in i.entry for i in found.images)  # nobody knows


def test_label_studios_prefix(tmp_path: Path, made: Any) -> None:
    path = folder(tmp_path, **{"cb0618f6-IMG_1": "0 .5 .5 .1 .1"})
    (tmp_path / "images" / "cb0618f6-IMG_1.png").unlink()
    known = made(images=[{"id": 1, "file_name": "a/IMG 1.jpg"}]).images
    assert yolo.read(path, Repairs(), known)["images"][0]["file_name"] == "a/IMG 1.jpg"


@pytest.mark.parametrize("split", ["train", "val", "mine"])
def test_folders_of_splits_and_folders_of_the_same_name(made: Any, out: Path, split: str) -> None:
    names = ["1.jpg", "train/1.jpg", "val/1.jpg"]
    images = [{"id": n, "file_name": name} for n, name in enumerate(names, start=1)]
    notes = [{"image_id": n, "bbox": [10 * n, 10, 20, 20]} for n in (1, 2, 3)]
    dataset = made(notes, images)
    yolo.write(out, dataset, Repairs(), split)
    content = yolo.read(out, Repairs(), dataset.images)
    found = {image["file_name"]: image["id"] for image in content["images"]}
    boxes = {note["image_id"]: note["bbox"][0] for note in content["annotations"]}
    assert [boxes[found[name]] for name in names] == [10, 20, 30]


def test_what_cvat_exports_as_yolo(tmp_path: Path, made: Any) -> None:
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "obj_train_data" / "b").mkdir(parents=True)
    (tmp_path / "obj_train_data" / "b" / "1.txt").write_text("1 .5 .5 .1 .2")
    (tmp_path / "train.txt").write_text("data/obj_train_data/b/1.jpg\n")
    read = yolo.read(tmp_path, Repairs(), made().images)
    assert [image["file_name"] for image in read["images"]] == ["b/1.jpg"]
    assert read["annotations"][0]["bbox"] == [90, 40, 20, 20]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 .5 .5 .1 .1", r"one.txt, line 1: class 2; the classes are 0 to 1"),
        ("0.5 .5 .5 .1 .1", "class 0.5; the classes are"),
        ("0 .5 .5 .1", "no class and box or polygon"),
        ("0 .5 .5 nan .1", "no class and box or polygon"),
        ("cat .5 .5 .1 .1", "no class and box or polygon"),
        ("0 .1 .1 .2 .2 .3 .3 .4", "a polygon of 7 numbers"),
    ],
)
def test_lines_that_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        yolo.read(folder(tmp_path, one=line), Repairs())


def test_other_folders(tmp_path: Path, made: Any) -> None:
    with pytest.raises(UserError, match=r"no data.yaml, classes.txt or obj.names"):
        yolo.read(tmp_path, Repairs())
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match="no text files"):
        yolo.read(tmp_path, Repairs())
    for content in ("names: 3", "nothing: 1", "names: {1: cat}", "[", ": ["):
        (tmp_path / "data.yaml").write_text(content)
        with pytest.raises(UserError, match="no `names`"):
            yolo.read(tmp_path, Repairs())


def test_a_text_file_of_no_image_is_counted(tmp_path: Path) -> None:
    path, repairs = folder(tmp_path, one="", two="0 .5 .5 .1 .1"), Repairs()
    (tmp_path / "images" / "two.png").unlink()
    assert len(yolo.read(path, repairs)["images"]) == 1
    assert repairs.count("dropped: text file of an image that is not there") == 1
