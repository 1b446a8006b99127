"""`ofds split`, from files to files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ofds.use.coco import read_dataset
from ofds.use.repairs import Repairs
from ofds.use.split_command import split
from repro_shared.runtime.cli import run


def parts(files: Any, *more: str, out: str = "parts") -> int:
    given = ["split", "--images", str(files.folder / "images.json"), *more]
    given += ["--out", str(files.folder / out)]
    return run("ofds", "", {"split": split}, given, version="0")


def names(files: Any, part: str, out: str = "parts") -> set[str]:
    return set((files.folder / out / f"{part}.txt").read_text().splitlines())


def test_no_group_is_in_two_parts(files: Any, capsys: Any) -> None:
    for n, image in enumerate(files.images):
        image["video"] = f"v{n // 5}"
    files.write()
    assert parts(files, "--group", "video", "--parts", "train=0.5,val=0.25,test=0.25") == 0
    video = {i["file_name"]: i["video"] for i in files.images}
    seen = [{video[name] for name in names(files, part)} for part in ("train", "val", "test")]
    assert [len(each) for each in seen] == [4, 2, 2]
    assert set.union(*seen) == set(video.values())
    assert "40 images in 8 groups that stay together" in capsys.readouterr().out
    made = json.loads((files.folder / "parts" / "split.json").read_text())
    assert [each["images"] for each in made["parts"]] == [20, 10, 10]


def test_annotations_and_all_classes_come_along(files: Any) -> None:
    notes = [{**r, "id": n} for n, r in enumerate(files.results) if r["category_id"] == 1]
    files.json(
        "images.json",
        {"images": files.images, "categories": files.categories, "annotations": notes},
    )
    assert parts(files) == 0
    found = [
        read_dataset(files.folder / "parts" / f"{p}.json", Repairs()) for p in ("train", "val")
    ]
    assert [len(each.images) for each in found] == [32, 8]
    assert sum(len(each.objects) for each in found) == len(notes)
    assert all([c.id for c in each.categories] == [1, 3, 90] for each in found)
    assert found[0].labelled == {image.name for image in found[0].images}
    files.write(backwards=True)
    assert parts(files, out="again") == 0
    assert names(files, "val") == names(files, "val", "again")


def test_near_duplicates_and_copies_stay_together(files: Any) -> None:
    g = np.random.default_rng(0)
    x = g.normal(size=(40, 8))
    x[20:] = x[:20] + 0.01 * g.normal(size=(20, 8))
    path = files.folder / "pictures.npy"
    np.save(path, x.astype(np.float16))
    near = ("--near-duplicates", "0.98", "--image-features", str(path))
    assert parts(files, *near, "--parts", "a=0.5,b=0.5") == 0
    one, two = ([i["file_name"] for i in files.images[k : k + 20]] for k in (0, 20))
    a = names(files, "a")
    assert all((first in a) == (second in a) for first, second in zip(one, two, strict=True))
    photos = files.folder / "photos" / "a"
    photos.mkdir(parents=True)
    for n, image in enumerate(files.images):
        (files.folder / "photos" / image["file_name"]).write_bytes(bytes([n % 10]))
    assert parts(files, "--folder", str(files.folder / "photos"), out="copies") == 0
    val = names(files, "val", "copies")
    content = {i["file_name"]: n % 10 for n, i in enumerate(files.images)}
    assert len(val) == 8
    assert len({content[name] for name in val}) == 2


def test_by_the_features_of_objects(files: Any) -> None:
    more = ["--proposals", str(files.folder / "results.json")]
    more += ["--features", str(files.folder / "features.npy")]
    assert parts(files, *more, "--near-duplicates", "0.7") == 0
    made = json.loads((files.folder / "parts" / "split.json").read_text())
    assert sum(each["groups"] for each in made["parts"]) < 40
    assert parts(files, "--near-duplicates", "0.9", out="two") == 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--parts train=0.8", "the shares add up to 0.8, not to 1"),
        ("--parts train", "give names and shares"),
        ("--parts a=0.5,a=0.5", "give names and shares"),
        ("--parts ../a=0.5,b=0.5", "give names and shares"),
        ("--parts split=0.5,b=0.5", "give names and shares"),
        ("--group town", "no image has a value in column 'town'"),
        ("--near-duplicates 3", "--near-duplicates must be 0 to 1"),
        ("--image-features x.npy", "has a use with --near-duplicates"),
        ("--seed -1", "--seed must be 0 or more"),
    ],
)
def test_what_is_refused(files: Any, options: str, line: str, capsys: Any) -> None:
    assert parts(files, *options.split()) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]
    assert not (files.folder / "parts").exists()


def test_one_group_is_too_few(files: Any, capsys: Any) -> None:
    for image in files.images:
        image["video"] = "v"
    files.write()
    assert parts(files, "--group", "video") == 2
    assert "all images are in 1 groups, too few" in capsys.readouterr().err
