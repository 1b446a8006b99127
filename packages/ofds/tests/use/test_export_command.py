"""The command `ofds export`, from files to files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ofds.use.coco import read_dataset
from ofds.use.export_command import export
from ofds.use.formats import reading
from ofds.use.repairs import Repairs
from ofds.use.result_names import ResultNames
from repro_shared.runtime.cli import run
from repro_shared.runtime.images import read_rgb

FORMATS = ("coco", "voc", "yolo", "list", "label-studio", "cvat", "mmseg")


def exported(files: Any, *more: str, out: str = "made") -> int:
    folder = files.folder
    given = [
        "--images", str(folder / "images.json"), "--proposals", str(folder / "results.json"),
        "--selection", str(folder / "out"), "--out", str(folder / out),
    ]  # fmt: skip
    return run("ofds", "", {"export": export}, ["export", *given, *more], version="0")


def chosen(files: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = files.made()["images"]
    return made


@pytest.fixture(name="selected")
def _selected(files: Any) -> Any:
    mask = {"size": [100, 100], "counts": [505, 5, 95, 5, 9390]}
    files.results[0]["segmentation"] = mask
    files.write()
    assert files.select("--budget", "20") == 0
    return files


def test_coco(selected: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (selected.folder / "manifest.json").write_text(
        json.dumps({"models": {"detector": {"model": "owlv2", "sha256": "ab" * 32}}})
    )
    assert exported(selected) == 0
    assert "20 proposals, 3 classes" in capsys.readouterr().out
    made = json.loads((selected.folder / "made" / "annotations.json").read_text(encoding="utf-8"))
    assert [i["file_name"] for i in made["images"]] == [i["name"] for i in chosen(selected)]
    assert [i["id"] for i in made["images"]] == [i["id"] for i in chosen(selected)]
    assert [c["id"] for c in made["categories"]] == [1, 3, 90]
    proposals = (selected.folder / "results.json").read_bytes()
    mark = hashlib.sha256(proposals).hexdigest()[:8]
    for note in made["annotations"]:
        start, _, row = note["attributes"]["ofds_id"].partition("-")
        result = selected.results[int(row)]
        assert start == mark
        assert (note["image_id"], note["category_id"]) == (
            result["image_id"], result["category_id"],
        )  # fmt: skip
        assert note["score"] == result["score"] >= 0.3
        assert (note["source"], note["model"]) == ("auto", "owlv2@abababab")
        assert note["bbox"] == pytest.approx(result["bbox"])
    # Nobody looked at it: it is not taken for labels.
    path = selected.folder / "made" / "annotations.json"
    assert read_dataset(path, Repairs()).labelled == frozenset()
    names = (selected.folder / "made" / "images.txt").read_text().splitlines()
    assert names == [i["name"] for i in chosen(selected)]


@pytest.mark.parametrize(
    ("format_", "lost"), [("coco", ""), ("voc", ""), ("label-studio", "Label Studio"),
                          ("cvat", "CVAT"), ("yolo", "YOLO")],
)  # fmt: skip
def test_crowds_are_kept_or_counted(
    selected: Any, format_: Any, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = chosen(selected)[0]["id"]
    crowd = {"image_id": image, "category_id": 3, "bbox": [2, 2, 60, 50], "score": 0.9}
    selected.results.append({**crowd, "iscrowd": 1})
    selected.features = np.concatenate([selected.features, selected.features[:1]])
    selected.write()
    assert selected.select("--budget", "20", out="again") == 0
    assert [i["name"] for i in selected.made("again")["images"]] == [
        i["name"] for i in chosen(selected)
    ]
    given = ("--selection", str(selected.folder / "again"), "--format", format_)
    capsys.readouterr()
    assert exported(selected, *given) == 0
    printed, folder = capsys.readouterr().out, selected.folder / "made"
    assert "with 20 proposals and 1 crowds" in printed
    assert (f"1 x left out: a crowd, which {lost} would" in printed) == bool(lost)
    if format_ in ("label-studio", "cvat"):
        file = {"cvat": "instances_default.json", "label-studio": "tasks.json"}[format_]
        made = json.loads((folder / file).read_text(encoding="utf-8"))
        listed = [r for t in made for p in t.get("predictions", ()) for r in p["result"]] if (
            isinstance(made, list)
        ) else made["annotations"]  # fmt: skip
        assert len(listed) == 20
        return
    if format_ != "yolo":
        path = folder / "annotations.json" if format_ == "coco" else folder
        found = reading.read_results(path, format_, Repairs()).objects
        assert (len(found), int(found.crowd.sum())) == (21, 1)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_every_format(selected: Any, format_: str, wanted: str) -> None:
    given = ("--format", format_, "--predictions", wanted)
    assert exported(selected, *given) == 0
    folder: Path = selected.folder / "made"
    names = [i["name"] for i in chosen(selected)]
    assert (folder / "images.txt").read_text().splitlines() == names
    objects = 20 if wanted == "yes" else 0
    if format_ == "label-studio":
        tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
        assert [task["data"]["ofds_image"] for task in tasks] == names
        found = [r for task in tasks for p in task.get("predictions", []) for r in p["result"]]
        assert len(found) == objects
    elif format_ == "mmseg":
        assert (folder / "splits" / "train.txt").read_text().splitlines() == [
            name.removesuffix(".jpg") for name in names
        ]
    elif format_ != "list":
        path = folder / "annotations.json" if format_ == "coco" else folder
        pool = read_dataset(selected.folder / "images.json", Repairs())
        content = reading.read_content(path, format_, Repairs(), pool)  # type: ignore[arg-type]
        assert len(content["annotations"]) == objects
        assert {image["file_name"] for image in content["images"]} == set(names)
        assert [c["name"] for c in content["categories"]] == ["cat", "dog", "St. Bernard"]


def test_a_class_of_which_nothing_is_chosen_is_listed(selected: Any) -> None:
    (selected.folder / "only.txt").write_text(f"{chosen(selected)[0]['name']}\n")
    only = ("--only", str(selected.folder / "only.txt"), "--threshold", "0.95")
    assert exported(selected, *only) == 0
    made = json.loads((selected.folder / "made" / "annotations.json").read_text())
    assert len(made["images"]) == 1
    assert len({note["category_id"] for note in made["annotations"]}) < 3
    assert [c["name"] for c in made["categories"]] == ["cat", "dog", "St. Bernard"]


def test_files_of_images_and_their_sizes(selected: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for image in selected.images:
        (photos / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 100)).save(photos / image["file_name"])
        del image["width"], image["height"]
    selected.json("images.json", {"images": selected.images, "categories": selected.categories})
    assert exported(selected, "--format", "yolo") == 2
    given = ("--folder", str(photos), "--image-files", "link")
    assert exported(selected, "--format", "yolo", *given) == 0
    for image in chosen(selected):
        path = selected.folder / "made" / "images" / "train" / image["name"]
        assert path.is_symlink()
        assert read_rgb(path).shape == (100, 100, 3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--selection ''", "--selection is missing"),
        ("--selection none", "none: cannot be read"),
        ("--format pascal", "format"),
        ("--threshold 2", "--threshold must be 0 to 1, got 2"),
        ("--split ../up", "--split must be a word, got '../up'"),
        ("--only none.txt", "none.txt: cannot be read"),
        ("--image-files copy", "--image-files copy needs --folder of the images"),
        ("--proposals images.json", "was not made from the proposals"),
        ("--pool none", "--pool none: no such folder"),
        ("--folder none", "--folder none: no such folder"),
    ],
)
def test_what_is_refused(
    selected: Any, options: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [each.strip("'") for each in options.split()]
    if given[1] == "images.json":
        given[1] = str(selected.folder / given[1])
    capsys.readouterr()
    assert exported(selected, *given) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]
    assert not (selected.folder / "made").exists()


def test_another_pool_and_a_folder_that_is_there(
    selected: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(selected) == 0
    before = (selected.folder / "made" / "annotations.json").read_bytes()
    assert exported(selected, "--format", "list") == 2
    assert "made is not empty" in capsys.readouterr().err
    assert (selected.folder / "made" / "annotations.json").read_bytes() == before
    before_score, selected.results[0]["score"] = selected.results[0]["score"], 0.31
    selected.write()
    assert exported(selected, out="other") == 2
    assert "out was not made from the proposals" in capsys.readouterr().err
    selected.results[0]["score"] = before_score
    selected.categories[0]["name"] = "Katze"
    selected.write()
    assert exported(selected, out="other") == 2
    assert "out was made with other classes than those of" in capsys.readouterr().err


@pytest.mark.parametrize("format_", ["voc", "yolo", "cvat", "mmseg"])
def test_stems_that_collide(files: Any, format_: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("1.png", "1.jpg")):
        files.images[number]["file_name"] = name
    files.write()
    assert files.select("--budget", "1000") == 0
    assert {"1.png", "1.jpg"} <= {image["name"] for image in chosen(files)}
    capsys.readouterr()
    assert exported(files, "--format", format_) == 2
    assert "'1.png' and '1.jpg' apart" in capsys.readouterr().err.replace(
        "'1.jpg' and '1.png'", "'1.png' and '1.jpg'"
    )
    assert not (files.folder / "made").exists()
    assert not [path for path in files.folder.iterdir() if path.name.endswith(".tmp")]
    for other in ("coco", "label-studio", "list"):
        assert exported(files, "--format", other, out=other) == 0
    found = read_dataset(files.folder / "coco" / "annotations.json", Repairs())
    names = ResultNames([image.name for image in found.images])
    assert names.find("1.png", "x") != names.find("1.jpg", "x")
