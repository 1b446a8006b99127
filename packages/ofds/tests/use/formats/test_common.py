"""What the formats share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ofds.use.formats.common import (
    by_image,
    check_xml,
    ofds_id,
    put_images,
    relative,
    sized,
    stems,
)
from repro_shared.runtime.errors import UserError


def test_entries_are_as_they_came_but_for_what_was_put_right(made: Any) -> None:
    mask = {"size": [100, 200], "counts": b"PPo01o3"}
    note = {"bbox": [190, 90, 30, 40], "iscrowd": False, "note": "x", "image_id": "2"}
    first, second = by_image(made([{**note, "category_id": "90"}, {"segmentation": mask}]))
    assert [label for label, _ in second] == [2]
    assert second[0][1] == {
        "id": 1, "image_id": 2, "category_id": 90, "bbox": [190, 90, 10, 10], "area": 100,
        "iscrowd": 0, "note": "x",
    }  # fmt: skip
    assert "segmentation" not in first[0][1]  # damaged, and counted when it was read


@pytest.mark.parametrize(
    ("entry", "mark"),
    [
        ({"attributes": {"ofds_id": " ab-1 "}}, "ab-1"),
        ({"ofds_id": "ab-1"}, "ab-1"),
        ({"attributes": {"ofds_id": ""}}, ""),
        ({"attributes": None}, ""),
        ({"attributes": {"ofds_id": 7}}, ""),
        ({}, ""),
    ],
)
def test_marks(entry: Any, mark: str) -> None:
    assert ofds_id(entry) == mark


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a/../../x.jpg", "C:\\x.jpg", "..", ""])
def test_names_that_lead_out(name: str) -> None:
    with pytest.raises(UserError, match="must be a path below the folder"):
        relative(name)


def test_backslashes_are_folders() -> None:
    assert relative("a\\b 1.jpg").as_posix() == "a/b 1.jpg"


def test_stems(made: Any) -> None:
    names = ["a/1.jpg", "b/1.jpg", "1.v2.jpg", "1.v3.jpg", "1"]
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    found = stems(made(images=images).images, "YOLO")
    assert [each.as_posix() for each in found] == ["a/1", "b/1", "1.v2", "1.v3", "1"]
    images = [{"id": 1, "file_name": "a/1.png"}, {"id": 2, "file_name": "a\\1.jpg"}]
    with pytest.raises(UserError, match=r"YOLO cannot tell 'a/1.png' and 'a\\\\1.jpg' apart"):
        stems(made(images=images).images, "YOLO")
    images = [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "a\\1.jpg"}]
    with pytest.raises(UserError, match=r"'a\\\\1.jpg' apart: a backslash is written as a slash"):
        stems(made(images=images).images, "YOLO")


def test_files_of_images_that_a_backslash_tells_apart(made: Any, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "a\\1.jpg"}]
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg", "a\\1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    line = r"--image-files copy cannot tell 'a/1.jpg' and 'a\\\\1.jpg' apart: a backslash"
    with pytest.raises(UserError, match=line):
        put_images(made(images=images), tmp_path, tmp_path / "out", "copy")


def test_sizes_from_files(made: Any, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a\\1.png", "width": None}, {"id": 2, "file_name": "2.png"}]
    dataset = made(images=images)
    with pytest.raises(UserError, match=r"the size of 'a\\\\1.png' is not known: give --folder"):
        sized(dataset, None)
    (tmp_path / "a").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "a" / "1.png")
    found = sized(dataset, tmp_path).images
    assert [(i.width, i.height) for i in found] == [(30, 20), (200, 100)]


def test_files_of_images(made: Any, tmp_path: Path) -> None:
    dataset = made(images=[{"id": 1, "file_name": "a\\ä 1.jpg"}])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "ä 1.jpg").write_bytes(b"x")
    for how in ("link", "copy"):
        put_images(dataset, tmp_path, tmp_path / how, how)  # type: ignore[arg-type]
        assert (tmp_path / how / "a" / "ä 1.jpg").read_bytes() == b"x"
        assert (tmp_path / how / "a" / "ä 1.jpg").is_symlink() == (how == "link")
    put_images(dataset, None, tmp_path / "none", "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="--image-files copy needs --folder"):
        put_images(dataset, None, tmp_path, "copy")
    (tmp_path / "a" / "ä 1.jpg").unlink()
    with pytest.raises(UserError, match=r"a/ä 1.jpg: no such file"):
        put_images(dataset, tmp_path, tmp_path / "x", "copy")


def test_characters_that_no_xml_holds() -> None:
    check_xml(["猫 & <dog>", "emoji 🐱"])
    for name in ("\x07", "a\nb", "\ud800"):
        with pytest.raises(UserError, match="that XML cannot"):
            check_xml([name])
