"""Groups, shares of metadata, near duplicates and a choice of classes, on the command line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def chosen(files: Any, out: str = "out") -> list[str]:
    return [image["name"] for image in files.made(out)["images"]]


@pytest.fixture
def tagged(files: Any) -> Any:
    """Images with a video and a time of day in their entries, and in a CSV file."""
    for n, image in enumerate(files.images):
        image |= {"video": n // 5, "time": "night" if n % 4 == 0 else "day"}
    files.write()
    rows = [f"{i['file_name']},{i['video']},{i['time']}" for i in files.images]
    (files.folder / "meta.csv").write_text("\n".join(["name,clip,hour", *rows]))
    return files


@pytest.mark.parametrize("source", ["entries", "csv"])
def test_a_cap_of_images_per_group(tagged: Any, capsys: Any, source: str) -> None:
    column: tuple[str, ...] = ("--group", "video")
    if source == "csv":
        column = ("--metadata", str(tagged.folder / "meta.csv"), "--group", "clip")
    assert tagged.select("--budget", "60", *column, "--group-cap", "2") == 0
    video = {i["file_name"]: i["video"] for i in tagged.images}
    used = np.bincount([video[name] for name in chosen(tagged)], minlength=8)
    assert used.max() == 2
    made = tagged.made()["limits"]["groups"]
    expected = {"column": column[-1], "cap": 2, "groups": 8, "full": int((used == 2).sum())}
    assert made == expected
    assert f"{made['full']} of 8 have 2 images, the cap" in capsys.readouterr().out
    # Those that are annotated count.
    more = ("--continue", str(tagged.folder / "out"))
    assert tagged.select("--budget", "60", *column, "--group-cap", "3", *more, out="two") == 0
    both = np.bincount([video[n] for n in (*chosen(tagged), *chosen(tagged, "two"))])
    assert both.max() == 3


def test_shares_of_a_column(tagged: Any, capsys: Any) -> None:
    quota: tuple[str, ...] = ("--quota", "time:night=0.5", "time:day=0.5")
    assert tagged.select("--budget", "8", "--unit", "images", *quota, "--minimum", "0") == 0
    time = {i["file_name"]: i["time"] for i in tagged.images}
    night = np.cumsum([time[name] == "night" for name in chosen(tagged)])
    assert (np.abs(night - 0.5 * np.arange(1, len(night) + 1)) <= 1).all()
    assert tagged.made()["limits"]["quotas"][0] == {
        "column": "time", "value": "night", "share": 0.5, "spent": 0.5, "off_at": [],
    }  # fmt: skip
    assert "time night: 50.0 % of the cost, 50.0 % wanted\n" in capsys.readouterr().out
    # There are ten images of the night: a share of all of them cannot be kept for ever.
    quota = ("--quota", "time:night=1")
    assert tagged.select("--budget", "30", "--unit", "images", *quota, out="two") == 0
    night_, others = tagged.made("two")["limits"]["quotas"]
    assert others["value"] == "(others)"
    assert night_["spent"] < 0.5
    assert night_["off_at"][0] > 5
    assert "off by more than an image from rank" in capsys.readouterr().out


def test_near_duplicates_are_left_aside_and_listed(files: Any, capsys: Any) -> None:
    g = np.random.default_rng(0)
    x = g.normal(size=(40, 8))
    x[:20] = x[0] + 0.01 * g.normal(size=(20, 8))
    path = files.folder / "pictures.npy"
    np.save(path, x.astype(np.float32))
    near = ("--near-duplicates", "0.98", "--image-features", str(path))
    assert files.select("--budget", "15", *near) == 0
    like = {i["file_name"] for i in files.images[:20]}
    assert len(like & set(chosen(files))) <= 3
    made = files.made()["limits"]["near_duplicates"]
    assert made["cosine"] == 0.98
    assert {each["name"] for each in made["skipped"]} == like - set(chosen(files))
    assert {each["like"] for each in made["skipped"]} <= set(chosen(files))
    assert min(each["cosine"] for each in made["skipped"]) >= 0.98
    left = f"images like a chosen one, left aside: {len(made['skipped'])}"
    assert left in capsys.readouterr().out
    assert files.select("--budget", "15", "--near-duplicates", "0.98", out="two") == 0
    x[3] = np.nan
    np.save(path, x.astype(np.float32))
    assert files.select("--budget", "15", *near, out="three") == 0
    (repaired,) = files.made("three")["repairs"]
    assert repaired["reason"] == "image features that are not finite: compared with no image"


def test_exact_copies_are_listed_too(files: Any) -> None:
    photos = files.folder / "photos" / "a"
    photos.mkdir(parents=True)
    for image in files.images:
        (files.folder / "photos" / image["file_name"]).write_bytes(b"same")
    assert files.select("--budget", "6", "--folder", str(files.folder / "photos")) == 0
    made = files.made()["limits"]["near_duplicates"]
    assert len(made["skipped"]) == 40 - len(chosen(files))
    assert {each["cosine"] for each in made["skipped"]} == {1.0}


def test_a_choice_of_classes(files: Any, capsys: Any) -> None:
    assert files.select("--budget", "20", "--classes", "dog,St. Bernard") == 0
    made, printed = files.made(), capsys.readouterr().out
    assert [c["name"] for c in made["classes"]] == ["cat", "dog", "St. Bernard"]
    assert [c["id"] for c in made["classes"]] == [1, 3, 90]
    assert made["settings"]["classes"] == ["dog", "St. Bernard"]
    assert made["classes"][0] == {
        "id": 1, "name": "cat", "proposals": 0, "quota": 0.0, "minimum": 0, "found": 0,
    }  # fmt: skip
    assert {image["class"] for image in made["images"]} == {"dog", "St. Bernard"}
    assert "\ncat" not in printed
    (left,) = made["repairs"]
    cats = sum(r["category_id"] == 1 for r in files.results)
    assert (left["reason"], left["count"]) == (
        "left out: of a class that is not among --classes", cats,
    )  # fmt: skip
    assert files.select("--budget", "20", "--classes", "dog", "St. Bernard", out="two") == 0
    assert chosen(files, "two") == chosen(files)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--group video", "--group and --group-cap belong together"),
        ("--group-cap 2", "--group and --group-cap belong together"),
        ("--group town --group-cap 2", "no image has a value in column 'town'"),
        ("--metadata none.csv --group town --group-cap 2", "none.csv: cannot be read"),
        ("--quota time=0.5", "give COLUMN:VALUE=SHARE"),
        ("--quota time:night=1.5", "give COLUMN:VALUE=SHARE"),
        ("--quota time:night=0.7 time:day=0.6", "the shares add up to 1.3"),
        ("--quota time:night=0.2 time:night=0.3", "'night' has a share already"),
        ("--quota time:night=0.2 video:1=0.3", "shares of one column, not of time and video"),
        ("--quota time:dusk=0.2", "--quota time:dusk: no image has that; there are day, night"),
        ("--near-duplicates 2", "--near-duplicates must be 0 to 1"),
        ("--image-features x.npy", "has a use with --near-duplicates"),
        ("--near-duplicates 0.9 --image-features x.npy", "x.npy: cannot be read"),
        ("--classes dgo", "--classes 'dgo': no class 'dgo'; did you mean 'dog'?"),
        ("--classes dog --minimum cat=1", "'cat' is not among --classes"),
    ],
)
def test_what_is_refused(tagged: Any, options: str, line: str, capsys: Any) -> None:
    assert tagged.select("--budget", "9", *options.split()) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert line in last
    assert not (tagged.folder / "out").exists()
