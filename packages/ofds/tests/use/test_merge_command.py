"""The command `ofds merge`, there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ofds.use.coco import read_dataset
from ofds.use.merge_command import merge
from ofds.use.repairs import Repairs
from repro_shared.runtime.cli import run


def merged(files: Any, *more: str, out: str = "merged.json") -> int:
    folder = files.folder
    pool = ["--images", str(folder / "images.json"), "--proposals", str(folder / "results.json")]
    given = ["merge", *pool, "--human", str(folder / "human.json"), "--out", str(folder / out)]
    return run("ofds", "", {"merge": merge}, [*given, *more], version="0")


def undone(files: Any, path: str = "merged.json", out: str = "back.json") -> int:
    given = ["merge", "--undo", str(files.folder / path), "--out", str(files.folder / out)]
    return run("ofds", "", {"merge": merge}, given, version="0")


@pytest.fixture(name="labelled")
def _labelled(files: Any) -> Any:
    """Human labels on three images, one of them empty, in a layout of somebody's own."""
    mask = {"size": [100, 100], "counts": [505, 5, 95, 5, 9390]}
    content = {
        "info": {"by": "ä"},
        "images": [{**image, "labelled": True} for image in (files.images[n] for n in (2, 0, 5))],
        "categories": files.categories,
        "annotations": [
            {"id": 5, "image_id": 0, "category_id": 90, "bbox": [1, 2, 3, 4], "note": "x"},
            {"id": "b", "image_id": 14, "category_id": 1, "segmentation": mask, "iscrowd": 0},
        ],
    }
    text = json.dumps(content, indent=3, ensure_ascii=True) + "\n\n"
    (files.folder / "human.json").write_text(text)
    return files


def content(files: Any, name: str = "merged.json") -> dict[str, Any]:
    made: dict[str, Any] = json.loads((files.folder / name).read_text(encoding="utf-8"))
    return made


def test_human_where_labelled_and_automatic_elsewhere(
    labelled: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (labelled.folder / "manifest.json").write_text(
        json.dumps({"models": {"detector": {"model": "owlv2"}}})
    )
    assert merged(labelled, "--threshold", "0.4", "--ignore-below", "0.7") == 0
    made = content(labelled)
    assert [image["id"] for image in made["images"]] == [i["id"] for i in labelled.images]
    known = {0, 14, 35}  # the last is labelled, and empty
    assert {i["id"] for i in made["images"] if i["labelled"]} == known
    human = [note for note in made["annotations"] if note["source"] == "human"]
    assert [(note["id"], note["image_id"]) for note in human] == [(5, 0), ("b", 14)]
    assert human[0]["note"] == "x"
    automatic = [note for note in made["annotations"] if note["source"] == "auto"]
    expected = [r for r in labelled.results if r["score"] >= 0.4 and r["image_id"] not in known]
    assert len(automatic) == len(expected)
    for note in automatic:
        assert note["image_id"] not in known
        assert note["model"] == "owlv2"
        result = labelled.results[int(note["attributes"]["ofds_id"].rpartition("-")[2])]
        assert note["score"] == result["score"]
        sure = note["score"] >= 0.7
        assert (note["iscrowd"], note.get("ignore", 0)) == ((0, 0) if sure else (1, 1))
    ids = [note["id"] for note in made["annotations"]]
    assert len(ids) == len({str(each) for each in ids})
    printed = capsys.readouterr().out
    unsure = sum(note["iscrowd"] for note in automatic)
    assert "human: 2 annotations on 3 images\n" in printed
    assert f"automatic: {len(automatic) - unsure} annotations and {unsure} regions" in printed
    path = labelled.folder / "merged.json"
    assert read_dataset(path, Repairs()).labelled == {"a/000.jpg", "a/002.jpg", "a/005.jpg"}


def test_pycocotools_ignores_what_is_to_be_ignored(
    labelled: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merged(labelled, "--threshold", "0.3", "--ignore-below", "0.6") == 0
    made = content(labelled)
    truth = COCO(str(labelled.folder / "merged.json"))
    sure = [n for n in made["annotations"] if n["source"] == "auto" and not n["iscrowd"]]
    found = truth.loadRes([{k: n[k] for k in ("image_id", "category_id", "bbox", "score")}
                           for n in sure])  # fmt: skip
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.params.imgIds = sorted({note["image_id"] for note in sure})
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)  # regions to ignore are not missed


def test_undone_to_the_byte(labelled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = (labelled.folder / "human.json").read_bytes()
    assert merged(labelled) == 0
    (labelled.folder / "human.json").unlink()
    assert undone(labelled) == 0
    assert (labelled.folder / "back.json").read_bytes() == before
    assert "2 human annotations, the file as it was" in capsys.readouterr().out


def test_undone_after_a_tool_wrote_it_anew(labelled: Any) -> None:
    before = (labelled.folder / "human.json").read_bytes()
    assert merged(labelled) == 0
    made = content(labelled)
    made["annotations"].reverse()
    for note in made["annotations"]:
        if note["source"] == "auto":
            note["score"] = 0.0
    labelled.json("merged.json", dict(sorted(made.items())))
    assert undone(labelled) == 0
    assert (labelled.folder / "back.json").read_bytes() == before


@pytest.mark.parametrize("lost", ["", "ofds_merge", "original"])
def test_labels_that_were_changed_since_are_kept(
    labelled: Any, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merged(labelled) == 0
    made = content(labelled)
    next(n for n in made["annotations"] if n["id"] == 5)["bbox"] = [9, 9, 9, 9]
    made.pop(lost, None)
    made.get("ofds_merge", {}).pop(lost, None)
    labelled.json("merged.json", made)
    assert undone(labelled) == 0
    back = content(labelled, "back.json")
    assert back["annotations"][0]["bbox"] == [9, 9, 9, 9]
    assert [image["id"] for image in back["images"]] == [0, 14, 35]
    assert len(back["categories"]) == 3
    assert "ofds_merge" not in back
    assert "as they are now: changed since the merge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--threshold 2", "--threshold must be 0 to 1"),
        ("--threshold 0.6 --ignore-below 0.5", "--ignore-below must be --threshold to 1, got 0.5"),
        ("--human ''", "--human is missing"),
        ("--out ''", "--out is missing"),
        ("--human none.json", "none.json: cannot be read"),
        ("--undo none.json", "none.json: cannot be read"),
    ],
)
def test_what_is_refused(
    labelled: Any, options: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merged(labelled, *(each.strip("'") for each in options.split())) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]
    assert not (labelled.folder / "merged.json").exists()


def test_images_of_which_nobody_knows(labelled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    human = content(labelled, "human.json")
    for image in human["images"]:
        del image["labelled"]
    labelled.json("human.json", human)
    assert merged(labelled) == 2
    assert "1 images have no annotation, such as 'a/005.jpg'" in capsys.readouterr().err
    for empty, count in (("labelled", 3), ("unlabelled", 2)):
        assert merged(labelled, "--empty", empty, out=f"{empty}.json") == 0
        made = content(labelled, f"{empty}.json")
        assert sum(image["labelled"] for image in made["images"]) == count


def test_other_files(labelled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert undone(labelled, "human.json") == 2
    assert "2 annotations have no `source` human or auto" in capsys.readouterr().err
    for name, notes in (("none.json", []), ("people.json", [{"id": 1, "source": "human"}])):
        labelled.json(name, {"images": [], "categories": [], "annotations": notes})
        assert undone(labelled, name) == 2
        assert f"{name}: no annotation is automatic, and no record" in capsys.readouterr().err
        assert not (labelled.folder / "back.json").exists()
    assert undone(labelled, "results.json") == 2
    assert "no COCO file with `annotations`" in capsys.readouterr().err
    assert merged(labelled) == 0
    before: bytes = Path(labelled.folder / "merged.json").read_bytes()
    assert merged(labelled) == 2
    assert "merged.json exists: name a new file" in capsys.readouterr().err
    assert (labelled.folder / "merged.json").read_bytes() == before
    labelled.categories[0]["name"] = "Katze"
    labelled.write()
    assert merged(labelled, out="other.json") == 2
    assert "different classes: 'Katze'" in capsys.readouterr().err
