"""Pascal VOC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ofds.use.coco import dataset_of
from ofds.use.formats import voc
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

OBJECT = """<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{0}</xmin>
<ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""
FILE = """<annotation><folder>JPEGImages</folder><filename>{name}</filename>
<path>/home/somebody/{name}</path><size><width>640</width><height>480</height><depth>3</depth></size>
{objects}</annotation>"""


def xml(folder: Path, name: str, *boxes: Any, label: str = "RBC") -> None:
    objects = "".join(OBJECT.format(*box, name=label) for box in boxes)
    path = folder / "Annotations" / Path(name).with_suffix(".xml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE.format(name=Path(name).name, objects=objects), encoding="utf-8")


def test_ends_of_a_box_are_counted_from_one_and_lie_within(made: Any, out: Path) -> None:
    note = {"bbox": [0, 0, 10, 5], "score": 0.5, "source": "auto", "attributes": {"ofds_id": "a-1"}}
    voc.write(out, made([note]), Repairs(), "train")
    text = (out / "Annotations" / "a" / "1.xml").read_text(encoding="utf-8")
    for end, value in {"xmin": 1, "ymin": 1, "xmax": 10, "ymax": 5}.items():
        assert f"<{end}>{value}</{end}>" in text
    for line in ("<score>0.5</score>", "<source>auto</source>", "<ofds_id>a-1</ofds_id>",
                 "<difficult>0</difficult>", "<filename>a/1.jpg</filename>"):  # fmt: skip
        assert line in text
    assert (out / "ImageSets" / "Main" / "train.txt").read_text() == "a/1\nb/1\n"
    assert "cat:::\ndog:::\nSt. Bernard:::\n" in (out / voc.CLASSES).read_text()


def test_what_is_lost_is_counted(made: Any, out: Path) -> None:
    repairs = Repairs()
    notes = [{"bbox": [1.5, 2, 3, 4]}, {"segmentation": [[1, 1, 5, 1, 5, 5]]}, {"iscrowd": 1}]
    voc.write(out, made(notes), repairs, "train")
    assert repairs.count("box rounded to whole pixels") == 1
    assert repairs.count("mask left out: VOC's XML holds boxes alone") == 1
    assert (out / "Annotations" / "a" / "1.xml").read_text().count("<difficult>1<") == 1


def test_a_difficult_object_stays_one(made: Any, out: Path) -> None:
    voc.write(out, made([{"difficult": 1}, {"bbox": [1, 1, 5, 5]}]), Repairs(), "train")
    found = dataset_of(voc.read(out, Repairs()), out, Repairs()).objects
    assert not found.crowd.any()
    assert [each.get("difficult") for each in found.entries] == [1, None]


def test_a_crowd_comes_back_as_one(made: Any, out: Path) -> None:
    voc.write(out, made([{"iscrowd": 1}, {"bbox": [1, 1, 5, 5]}]), Repairs(), "train")
    found = dataset_of(voc.read(out, Repairs()), out, Repairs()).objects
    assert found.crowd.tolist() == [True, False]


def test_names_that_only_their_suffix_tells_apart(made: Any, out: Path) -> None:
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "1.jpg"}]
    with pytest.raises(UserError, match=r"VOC cannot tell '1.png' and '1.jpg' apart"):
        voc.write(out, made(images=images), Repairs(), "train")


def test_a_click_is_no_box(tmp_path: Path) -> None:
    # BloodImage_00338 of BCCD has such a box.
    xml(tmp_path, "a.jpg", (504, 337, 504, 337), (1, 1, 10, 5), (7, 3, 7, 9))
    repairs = Repairs()
    found = dataset_of(voc.read(tmp_path, repairs), tmp_path, repairs).objects
    assert found.box.tolist() == [[0, 0, 10, 5], [6, 2, 1, 7]]
    assert repairs.count("dropped: box of zero size and no mask") == 1


def test_ends_from_zero_and_beyond_the_image(tmp_path: Path) -> None:
    xml(tmp_path, "a.jpg", (0, 0, 10, 10), (600, 400, 700, 500), (9, 9, 3, 3))
    repairs = Repairs()
    found = dataset_of(voc.read(tmp_path, repairs), tmp_path, repairs).objects
    assert found.box.tolist() == [[0, 0, 10, 10], [599, 399, 41, 81]]
    assert repairs.count("box that reaches outside its image: clipped") == 2
    assert repairs.count("dropped: box of zero size and no mask") == 1


def test_images_without_objects_and_their_suffix(tmp_path: Path, made: Any) -> None:
    xml(tmp_path, "a/1.png")
    xml(tmp_path, "b/1.tif", (1, 1, 5, 5))
    (tmp_path / "JPEGImages" / "a").mkdir(parents=True)
    (tmp_path / "JPEGImages" / "a" / "1.webp").write_bytes(b"")
    content = voc.read(tmp_path, Repairs())
    assert [image["file_name"] for image in content["images"]] == ["a/1.webp", "b/1.tif"]
    assert not any("labelled" in image for image in content["images"])  # nobody knows
    known = made(images=[{"id": 1, "file_name": "b/1.jpg"}]).images
    assert voc.read(tmp_path, Repairs(), known)["images"][1]["file_name"] == "b/1.jpg"


def test_classes_are_of_the_label_map_if_there_is_one(tmp_path: Path) -> None:
    xml(tmp_path, "a.jpg", (1, 1, 5, 5), label="t-shirt")
    xml(tmp_path, "b.jpg", (1, 1, 5, 5), label="St. Bernard")
    repairs = Repairs()
    found = voc.read(tmp_path, repairs)
    assert [c["name"] for c in found["categories"]] == ["St. Bernard", "t-shirt"]
    assert repairs.count("no labelmap.txt: the classes are those that occur") == 1
    (tmp_path / voc.CLASSES).write_text(f"{voc.HEADER}t-shirt:::\nSt. Bernard:1,2,3::\nempty:::\n")
    found = voc.read(tmp_path, Repairs())
    assert [c["name"] for c in found["categories"]] == ["t-shirt", "St. Bernard", "empty"]
    assert [n["category_id"] for n in found["annotations"]] == [1, 2]
    (tmp_path / voc.CLASSES).write_text(f"{voc.HEADER}t-shirt:::\n")
    with pytest.raises(UserError, match=r"class 'St. Bernard' is not in labelmap.txt"):
        voc.read(tmp_path, Repairs())


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder with Annotations"):
        voc.read(tmp_path, Repairs())
    (tmp_path / "x.xml").write_text("<annotation><object>")
    with pytest.raises(UserError, match=r"x.xml: no XML that can be read"):
        voc.read(tmp_path, Repairs())
