"""The command `ofds ingest`, from files to files, and what goes on from there."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use.coco import read_dataset
from ofds.use.export_command import export
from ofds.use.ingest_command import ingest
from ofds.use.repairs import Repairs
from repro_shared.runtime.cli import run

VERBS = {"export": export, "ingest": ingest}


def call(files: Any, verb: str, *more: str) -> int:
    folder = files.folder
    pool = ["--images", str(folder / "images.json"), "--proposals", str(folder / "results.json")]
    given = [verb, *pool, "--selection", str(folder / "out"), *more]
    return run("ofds", "", VERBS, given, version="0")


@pytest.fixture(name="selected")
def _selected(files: Any) -> Any:
    assert files.select("--budget", "40", "--minimum", "2") == 0
    return files


def chosen(files: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = files.made()["images"]
    return made


def annotated(files: Any, count: int, extra: int = 0) -> Path:
    """A COCO file of the first chosen images: the proposals, and `extra` more objects on each."""
    assert call(files, "export", "--out", str(files.folder / "made")) == 0
    content = json.loads((files.folder / "made" / "annotations.json").read_text(encoding="utf-8"))
    for place, image in enumerate(content["images"]):
        image["labelled"] = place < count
        for more in range(extra if place < count else 0):
            content["annotations"].append({
                "id": 1000 + 100 * place + more, "image_id": image["id"], "category_id": 90,
                "bbox": [96 - 5 * more, 96, 4, 4],
            })  # fmt: skip
    path: Path = files.json("human.json", content)
    return path


def ingested(files: Any, labels: Path, *more: str, out: str = "round1") -> int:
    target = str(files.folder / out)
    return call(files, "ingest", "--labels", str(labels), "--out", target, *more)


def state(files: Any, out: str = "round1") -> dict[str, Any]:
    made: dict[str, Any] = json.loads((files.folder / out / "status.json").read_text())
    return made


def test_the_state_after_some_images(selected: Any, capsys: pytest.CaptureFixture[str]) -> None:
    labels = annotated(selected, 6, extra=1)
    capsys.readouterr()
    assert ingested(selected, labels) == 0
    printed, found, images = capsys.readouterr().out, state(selected), chosen(selected)
    predicted = [image["cost"] for image in images]
    true = [cost + 1 for cost in predicted[:6]]
    assert found["budget"] == {
        "amount": 40, "unit": "objects", "true": sum(true), "predicted": sum(predicted[:6]),
        "rest": 40 - sum(true), "exceeded": False, "costs": "predicted",
    }  # fmt: skip
    ratio = sum(true) / sum(predicted[:6])
    assert found["ratio"]["true_for_predicted"] == pytest.approx(ratio, abs=1e-4)
    assert found["ratio"]["low"] < ratio < found["ratio"]["high"]
    open_ = [image["name"] for image in images[6:]]
    assert found["images"]["unlabelled"] == open_
    likely = int((np.cumsum(np.array(predicted[6:]) * ratio) <= 40 - sum(true) + 1e-9).sum())
    assert found["next"]["likely"] == likely
    assert 0 < found["next"]["images"] <= likely < len(open_)
    coming = (selected.folder / "round1" / "next.txt").read_text().splitlines()
    assert coming == open_[: found["next"]["images"]]
    proposed = sum(predicted[:6])
    assert found["precision"] == 1.0
    assert found["recall"] == pytest.approx(proposed / (proposed + 6), abs=1e-4)
    bernard = found["classes"][2]
    assert bernard["found"] == 6 + sum(i["objects"].get("St. Bernard", 0) for i in images[:6])
    assert bernard["met"]
    assert f"true cost: {sum(true)} of 40 objects; predicted for these: {sum(predicted[:6])}" in (
        printed
    )


def test_labels_are_coco_of_the_labelled_images_alone(selected: Any) -> None:
    labels = annotated(selected, 3, extra=1)
    assert ingested(selected, labels) == 0
    path = selected.folder / "round1" / "labels.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    assert [c["id"] for c in made["categories"]] == [1, 3, 90]
    names = [image["name"] for image in chosen(selected)[:3]]
    assert sorted(image["file_name"] for image in made["images"]) == sorted(names)
    assert all(image["labelled"] is True for image in made["images"])
    assert {note["source"] for note in made["annotations"]} == {"human"}
    assert not [note for note in made["annotations"] if "score" in note or "model" in note]
    assert read_dataset(path, Repairs()).labelled == set(names)
    # Its own output is read like any result.
    assert ingested(selected, path, out="again") == 0
    one, two = state(selected), state(selected, "again")
    assert {key: one[key] for key in ("budget", "classes", "next")} == {
        key: two[key] for key in ("budget", "classes", "next")
    }


def test_over_the_budget(selected: Any, capsys: pytest.CaptureFixture[str]) -> None:
    labels = annotated(selected, 8, extra=9)
    capsys.readouterr()
    assert ingested(selected, labels) == 0
    found = state(selected)
    over = found["budget"]["true"] - 40
    assert over > 0
    assert f"OVER THE BUDGET by {over} objects: annotate no more of it" in capsys.readouterr().out
    assert found["budget"]["exceeded"]
    assert found["next"] == {"images": 0, "cost": 0, "likely": 0}
    assert (selected.folder / "round1" / "next.txt").read_text() == ""


def test_selection_goes_on_from_labels_and_calibrated_costs(selected: Any) -> None:
    labels = annotated(selected, 6, extra=1)
    assert ingested(selected, labels) == 0
    folder, found = selected.folder / "round1", state(selected)
    given = ("--annotated", str(folder / "labels.json"), "--costs", str(folder / "costs.csv"))
    assert selected.select("--budget", str(found["budget"]["rest"]), *given, out="two") == 0
    made = selected.made("two")
    first = [image["name"] for image in chosen(selected)[:6]]
    assert sorted(made["annotated"]) == sorted(first)
    assert not {image["name"] for image in made["images"]} & set(first)
    with (folder / "costs.csv").open(encoding="utf-8") as file:
        costs = {row["file_name"]: float(row["cost"]) for row in csv.DictReader(file)}
    assert len(costs) == 40
    ratio = found["ratio"]["true_for_predicted"]
    for image in chosen(selected):
        known = image["cost"] + 1 if image["name"] in first else image["cost"] * ratio
        assert costs[image["name"]] == pytest.approx(known, abs=1e-2)
    assert made["budget"]["spent"] <= found["budget"]["rest"]
    # Images of an earlier round are paid for, and count for coverage.
    again = run("ofds", "", VERBS, [
        "ingest", "--images", str(selected.folder / "images.json"),
        "--proposals", str(selected.folder / "results.json"),
        "--selection", str(selected.folder / "two"), "--labels", str(folder / "labels.json"),
        "--out", str(selected.folder / "round2"),
    ], version="0")  # fmt: skip
    assert again == 0
    second = state(selected, "round2")
    assert second["budget"]["true"] == 0
    assert [c["found"] for c in second["classes"]] == [c["found"] for c in found["classes"]]


def test_a_second_round_with_results_of_its_own(
    selected: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingested(selected, annotated(selected, 20)) == 0
    assert selected.select(
        "--budget", "20", "--continue", str(selected.folder / "out"), out="two"
    ) == 0  # fmt: skip
    folder, first = selected.folder, state(selected)
    pool = ["--images", str(folder / "images.json"), "--proposals", str(folder / "results.json")]
    chosen_ = ["--selection", str(folder / "two")]
    assert run("ofds", "", VERBS, ["export", *pool, *chosen_, "--out", str(folder / "made2")],
               version="0") == 0  # fmt: skip
    content = json.loads((folder / "made2" / "annotations.json").read_text())
    for image in content["images"]:
        image["labelled"] = True
    labels = ["--labels", str(selected.json("human2.json", content))]
    capsys.readouterr()
    alone, both = ["--out", str(folder / "a")], ["--out", str(folder / "b")]
    assert run("ofds", "", VERBS, ["ingest", *pool, *chosen_, *labels, *alone], version="0") == 0
    done = first["images"]["labelled"]
    assert f"annotated before and not among the results: {done} images" in capsys.readouterr().out
    both += ["--earlier", str(folder / "round1" / "labels.json")]
    assert run("ofds", "", VERBS, ["ingest", *pool, *chosen_, *labels, *both], version="0") == 0
    assert "annotated before and not" not in capsys.readouterr().out
    one, two = state(selected, "a"), state(selected, "b")
    assert one["budget"] == two["budget"]
    for c in range(3):
        found = [each["classes"][c]["found"] for each in (first, one, two)]
        assert found[0] + found[1] == found[2]
    made = read_dataset(folder / "b" / "labels.json", Repairs())
    assert len(made.labelled) == done + two["images"]["labelled"]
    assert len(made.objects) == sum(each["found"] for each in two["classes"])


def test_given_costs(files: Any) -> None:
    lines = [f"{image['file_name']},{2 + place % 3}" for place, image in enumerate(files.images)]
    (files.folder / "costs.csv").write_text("\n".join(["name,cost", *lines]))
    given = ("--costs", str(files.folder / "costs.csv"), "--unit", "column")
    assert files.select("--budget", "30", *given) == 0
    labels = annotated(files, 4)
    assert ingested(files, labels) == 0
    spent = sum(image["cost"] for image in chosen(files)[:4])
    assert state(files)["budget"]["true"] == spent
    assert state(files)["ratio"]["true_for_predicted"] == 1
    assert not (files.folder / "round1" / "costs.csv").exists()
    true = [f"{image['name']},7.5" for image in chosen(files)[:4]]
    (files.folder / "true.csv").write_text("\n".join(["image,hours", *true]))
    more = ("--costs", str(files.folder / "true.csv"), "--cost-column", "hours")
    assert ingested(files, labels, *more, out="two") == 0
    assert state(files, "two")["budget"]["true"] == 30
    assert state(files, "two")["ratio"]["true_for_predicted"] == pytest.approx(30 / spent, abs=1e-4)


def test_given_costs_are_not_known_of_images_that_were_not_chosen(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [image["file_name"] for image in files.images]
    (files.folder / "costs.csv").write_text("\n".join(["name,cost", *(f"{n},2" for n in names)]))
    given = ("--costs", str(files.folder / "costs.csv"), "--unit", "column")
    assert files.select("--budget", "10", *given) == 0
    labels = annotated(files, 2)
    other = next(n for n in names if n not in {image["name"] for image in chosen(files)})
    content = json.loads(labels.read_text(encoding="utf-8"))
    content["images"].append({"id": 9999, "file_name": other, "width": 100, "height": 100,
                              "labelled": True})  # fmt: skip
    labels.write_text(json.dumps(content), encoding="utf-8")
    capsys.readouterr()
    assert ingested(files, labels) == 2
    assert f"annotated (1, such as {other!r}), and the selection" in capsys.readouterr().err
    (files.folder / "true.csv").write_text(
        "\n".join(["name,cost", f"{other},5", *(f"{i['name']},2" for i in chosen(files)[:2])])
    )
    assert ingested(files, labels, "--costs", str(files.folder / "true.csv")) == 0
    assert state(files)["budget"]["true"] == 9


def test_classes_that_were_not_selected_for_count_nowhere(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.select("--budget", "20", "--classes", "cat", "dog") == 0
    labels = annotated(files, 5, extra=1)  # with a St. Bernard on each, which nobody asked for
    content = json.loads(labels.read_text())
    auto = [n for n in content["annotations"] if n.get("source") == "auto"]
    assert {note["category_id"] for note in auto} == {1, 3}
    assert [c["id"] for c in content["categories"]] == [1, 3, 90]
    capsys.readouterr()
    assert ingested(files, labels) == 0
    found = state(files)
    assert [each["name"] for each in found["classes"]] == ["cat", "dog"]
    assert found["budget"]["true"] == found["budget"]["predicted"]
    assert found["recall"] == 1.0
    assert found["other_classes"] == 5
    assert "objects of classes that were not selected for: 5" in capsys.readouterr().out
    made = json.loads((files.folder / "round1" / "labels.json").read_text())
    assert sum(note["category_id"] == 90 for note in made["annotations"]) == 5


@pytest.mark.parametrize("unit", ["images", "seconds", "pixels"])
def test_units(files: Any, unit: str) -> None:
    amount = {"images": "9", "seconds": "900", "pixels": "20000"}[unit]
    assert files.select("--budget", amount, "--unit", unit, "--looking", "3") == 0
    labels = annotated(files, 3, extra=2)
    assert ingested(files, labels) == 0
    found, costs = state(files)["budget"], [image["cost"] for image in chosen(files)[:3]]
    more = {"images": 0, "seconds": 2 * 35, "pixels": 2 * 16}[unit]
    assert found["true"] == pytest.approx(sum(costs) + 3 * more, rel=1e-4)


def test_images_that_were_not_chosen_are_paid_for_too(
    selected: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = annotated(selected, 2)
    content = json.loads(labels.read_text())
    names = {image["name"] for image in chosen(selected)}
    other = next(image for image in selected.images if image["file_name"] not in names)
    content["images"].append({**other, "labelled": True})
    content["annotations"].append(
        {"id": 1, "image_id": other["id"], "category_id": 1, "bbox": [1, 1, 9, 9]}
    )
    labels.write_text(json.dumps(content))
    assert ingested(selected, labels) == 0
    found = state(selected)
    assert found["images"]["not_chosen"] == [other["file_name"]]
    assert found["images"]["labelled"] == 2
    assert found["budget"]["true"] == sum(i["cost"] for i in chosen(selected)[:2]) + 1
    proposed = sum(r["image_id"] == other["id"] and r["score"] >= 0.3 for r in selected.results)
    assert found["budget"]["predicted"] == found["budget"]["true"] - 1 + proposed
    assert found["ratio"]["images"] == 3
    assert "annotated though not chosen, and paid for: 1" in capsys.readouterr().out


@pytest.mark.parametrize("format_", ["voc", "yolo", "cvat", "label-studio"])
def test_results_in_every_format(
    selected: Any, format_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = selected.folder / "made"
    assert call(selected, "export", "--format", format_, "--out", str(labels)) == 0
    if format_ == "label-studio":
        tasks = json.loads((labels / "tasks.json").read_text(encoding="utf-8"))
        for task in tasks:  # all submitted without a change
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
        labels = selected.json("export.json", tasks)
    if format_ == "cvat":  # CVAT does not keep keys of ours
        path = labels / "instances_default.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        for image in content["images"]:
            del image["labelled"]
        path.write_text(json.dumps(content))
    capsys.readouterr()
    assert ingested(selected, labels, "--format", format_) == 0
    found, images = state(selected), chosen(selected)
    total = sum(image["cost"] for image in images)
    assert found["budget"]["true"] == found["budget"]["predicted"] == total
    assert found["recall"] == found["precision"] == 1.0
    assert found["images"]["unlabelled"] == []
    printed = capsys.readouterr().out
    assert "all chosen images are annotated" in printed
    assert ("if nobody looked" in printed) == (format_ in ("cvat", "yolo"))
    if format_ == "cvat":
        assert f"exactly as proposed: {len(images)} images; if nobody looked" in printed
    if format_ == "label-studio":  # there, somebody has submitted them
        assert found["images"]["as_proposed"] == []


def test_those_that_are_done(selected: Any) -> None:
    labels = annotated(selected, 0)
    assert ingested(selected, labels) == 2  # our own export, and nobody says who looked
    done = selected.folder / "done.txt"
    done.write_text("".join(f"{image['name']}\n" for image in chosen(selected)[:5]))
    assert ingested(selected, labels, "--done", str(done)) == 0
    assert state(selected)["images"]["labelled"] == 5


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--labels ''", "--labels is missing"),
        ("--labels none.json", "none.json: cannot be read"),
        ("--iou 0", "--iou must be above 0, at most 1, got 0"),
        ("--format tfrecord", "format"),
        ("--format voc", "no folder with Annotations"),
        ("--done none.txt", "none.txt: cannot be read"),
        ("--costs none.csv", "none.csv: cannot be read"),
        ("--selection none", "none: cannot be read"),
    ],
)
def test_what_is_refused(
    selected: Any, options: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = annotated(selected, 2)
    capsys.readouterr()
    assert ingested(selected, labels, *(each.strip("'") for each in options.split())) == 2
    printed = capsys.readouterr()
    assert line in printed.err.splitlines()[-1]
    assert not printed.out
    assert not (selected.folder / "round1").exists()
