"""The command `ofds estimate`, from files to numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use import estimate as rates
from ofds.use.dataset import Category, Dataset, Objects
from ofds.use.estimate_command import estimate, estimated
from ofds.use.estimate_inputs import Inputs, Request
from ofds.use.repairs import Repairs
from ofds.use.sample_command import sample
from ofds.use.selection_file import Selection, read_selection
from repro_shared.runtime.cli import run

Truth = Callable[..., dict[str, Any]]
EMPTY = Objects(*(np.zeros(0),) * 7, (), ())


def command(files: Any, *arguments: str) -> int:
    given = f"--images {files.folder}/images.json --proposals {files.folder}/results.json".split()
    verbs = {"sample": sample, "estimate": estimate}
    return run("ofds", "", verbs, [arguments[0], *given, *arguments[1:]], version="0")


def judged(files: Any, truth: dict[str, Any], *more: str) -> dict[str, Any]:
    labels, out = files.json("truth.json", truth), files.folder / "estimate.json"
    given = ("--sample", str(files.folder / "sample"), "--labels", str(labels), "--out", str(out))
    assert command(files, "estimate", *given, *more) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_all_annotated_gives_exact_numbers(files: Any, true_objects: Truth) -> None:
    truth = true_objects(files)
    out = str(files.folder / "sample")
    assert command(files, "sample", "--count", "40", "--threshold", "0", "--out", out) == 0
    found = judged(files, truth, "--threshold", "0")
    boxes = {(t["image_id"], t["category_id"], *t["bbox"]) for t in truth["annotations"]}
    assert [each["name"] for each in found["classes"]] == ["cat", "dog", "St. Bernard"]
    for each, category in zip(found["classes"], (1, 3, 90), strict=True):
        proposed = [r for r in files.results if r["category_id"] == category]
        right = sum((r["image_id"], category, *r["bbox"]) in boxes for r in proposed)
        true = sum(t["category_id"] == category for t in truth["annotations"])
        assert each["sample"]["proposed"] == each["proposed"] == len(proposed)
        assert each["sample"]["true"] == true
        assert each["true"] == [true] * 3
        # Boxes of the drawn pool may overlap by chance: a few more are right than were meant.
        assert right <= each["sample"]["right"] <= right + 3
        share = each["sample"]["right"] / len(proposed)
        assert each["precision"] == pytest.approx([share] * 3, abs=1e-4)


def test_cost_and_coverage_of_a_selection(
    files: Any, true_objects: Truth, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.select("--budget", "30", "--minimum", "4", out="chosen") == 0
    out = str(files.folder / "sample")
    assert command(files, "sample", "--count", "20", "--out", out) == 0
    truth, drawn = true_objects(files), set(read_selection(out).names)
    ids = {image["id"] for image in files.images if image["file_name"] in drawn}
    part = {
        "images": [image for image in truth["images"] if image["id"] in ids],
        "annotations": [each for each in truth["annotations"] if each["image_id"] in ids],
        # An annotation tool numbers classes in its own way.
        "categories": [{"id": 3 - i, "name": c["name"]} for i, c in enumerate(files.categories)],
    }
    own = {c["name"]: c["id"] for c in part["categories"]}
    names = {c["id"]: c["name"] for c in files.categories}
    part["annotations"] = [
        {**each, "category_id": own[names[each["category_id"]]]} for each in part["annotations"]
    ]
    capsys.readouterr()
    found = judged(files, part, "--selection", str(files.folder / "chosen"))
    printed = capsys.readouterr().out
    assert "judged by 20 random images of 40" in printed
    head, objects = files.made("chosen"), found["cost"]["objects"]
    assert objects[1] < objects[0] < objects[2]
    assert found["cost"]["seconds"] == pytest.approx([35 * each for each in objects], 1e-4)
    assert f"cost in objects: predicted {head['predicted']['objects']}, expected " in printed
    assert 0 <= found["within_budget"] <= 1
    for each, stored in zip(found["coverage"], head["classes"], strict=True):
        assert each["minimum"] == stored["minimum"] == 4
        assert each["proposed"] == stored["found"]
        assert 0 <= each["met"] <= 1
    whole = judged(files, truth, "--selection", str(files.folder / "chosen"))
    chosen = {image["name"] for image in head["images"]}
    picked = {image["id"] for image in files.images if image["file_name"] in chosen}
    true = [t for t in truth["annotations"] if t["image_id"] in picked]
    assert whole["cost"]["objects"] == [len(true)] * 3
    cats = sum(t["category_id"] == 1 for t in true)
    assert whole["coverage"][0]["true"] == [cats] * 3
    assert whole["coverage"][0]["met"] == float(cats >= 4)


def test_classes_that_are_not_selected_for_cost_nothing(files: Any, true_objects: Truth) -> None:
    assert files.select("--budget", "12", "--classes", "dog", "--minimum", "2", out="chosen") == 0
    assert command(files, "sample", "--count", "40", "--out", str(files.folder / "sample")) == 0
    truth = true_objects(files)
    found = judged(files, truth, "--selection", str(files.folder / "chosen"))
    chosen = {image["name"] for image in files.made("chosen")["images"]}
    ids = {image["id"] for image in files.images if image["file_name"] in chosen}
    dogs = sum(t["image_id"] in ids and t["category_id"] == 3 for t in truth["annotations"])
    assert [each["name"] for each in found["coverage"]] == ["dog"]
    assert found["cost"]["objects"] == [dogs] * 3
    assert found["coverage"][0]["proposed"] == files.made("chosen")["predicted"]["objects"]


def test_a_crowd_makes_a_proposal_neither_right_nor_wrong(files: Any) -> None:
    files.results = [
        {"image_id": 0, "category_id": 1, "bbox": [10, 10, 10, 10], "score": 0.9},
        {"image_id": 0, "category_id": 1, "bbox": [60, 60, 10, 10], "score": 0.9},
    ]
    files.features = np.ones((2, 3), np.float32)
    files.write()
    out = str(files.folder / "sample")
    assert command(files, "sample", "--count", "40", "--out", out) == 0
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 10, 10]},
        {"id": 2, "image_id": 0, "category_id": 1, "bbox": [50, 50, 40, 40], "iscrowd": 1},
    ]
    truth = {"images": files.images, "categories": files.categories, "annotations": annotations}
    found = judged(files, truth, "--empty", "labelled")
    assert found["classes"][0]["sample"] == {"proposed": 1, "right": 1, "true": 1}


def test_refusals(files: Any, true_objects: Truth, capsys: pytest.CaptureFixture[str]) -> None:
    truth = true_objects(files)
    labels, folder = str(files.json("truth.json", truth)), str(files.folder / "sample")
    assert command(files, "sample", "--count", "20", "--out", folder) == 0
    assert files.select("--budget", "30", out="chosen") == 0
    renamed = [{**files.categories[0], "name": "puma"}, *files.categories[1:]]
    other_size = [{**files.images[0], "width": 50}, *files.images[1:]]
    nothing = {"images": files.images, "categories": files.categories, "annotations": []}
    given = ("--sample", folder, "--labels")
    chosen = str(files.folder / "chosen")
    for arguments, message in (
        (("--sample", folder), "--labels is missing"),
        (("--sample", chosen, "--labels", labels), "chosen, not drawn at random"),
        ((*given, str(files.json("a.json", {**truth, "categories": renamed}))), "'cat' is in"),
        ((*given, str(files.json("b.json", {**truth, "images": other_size}))), "is 50 x 100"),
        ((*given, str(files.json("c.json", nothing))), "40 images have no annotation"),
        (
            (*given, str(files.json("d.json", nothing)), "--empty", "unlabelled"),
            "no image of the pool is annotated",
        ),
        ((*given, labels, "--iou", "0"), "--iou must be above 0"),
        ((*given, labels, "--selection", chosen, "--threshold", "0.5"), "was made with 0.3"),
    ):
        capsys.readouterr()
        assert command(files, "estimate", *arguments) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert not printed.out
    files.results[0]["score"] = 0.123
    files.write()
    assert command(files, "estimate", *given, labels, "--selection", chosen) == 2
    assert "was made from other proposals" in capsys.readouterr().err
    files.images.append({"id": 999, "file_name": "new.jpg", "width": 9, "height": 9})
    files.write()
    assert command(files, "estimate", *given, labels) == 2
    assert "was drawn from 40 images; this pool has 41" in capsys.readouterr().err


def test_the_interval_of_the_cost_holds_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    # Classes of unlike frequency, recall and precision, crowded and empty images; chosen are those
    # on which rare classes are proposed. Jeffreys' half an event a class must not add up.
    monkeypatch.setattr(rates, "DRAWS", 1000)
    classes, images, drawn, tries, held = 8, 500, 60, 100, 0
    for seed in range(tries):
        g = np.random.default_rng([seed, 5])
        share = 2.5 / np.arange(1, classes + 1) ** 1.3 / 2
        recall, precision = g.uniform(0.5, 0.9, classes), g.uniform(0.6, 0.95, classes)
        mean = g.gamma(2, 0.5, images)[:, None] * share
        true = g.poisson(mean)
        right = g.binomial(true, recall)
        proposed = right + g.poisson(mean * recall * (1 - precision) / precision)
        labelled = np.zeros(images, bool)
        labelled[g.permutation(images)[:drawn]] = True
        worth = (proposed > 0) @ (1 / share) + g.uniform(0, 2 / share[-1], images)
        chosen = worth >= np.sort(worth)[-60]
        categories = tuple(Category(c, str(c), {}) for c in range(classes))
        head = {
            "classes": [{"name": each.name, "minimum": 1} for each in categories],
            "budget": {"unit": "objects", "preset": "boxes", "looking": 0, "amount": 1},
            "annotated": [],
        }
        none, all_ = np.zeros(images, bool), np.ones(images, bool)
        dataset = Dataset(Path("a.json"), (), categories, EMPTY, frozenset())
        given = Inputs(
            Request(seed=seed), dataset, Selection(head, []), 0.3, [*range(classes)], proposed,
            right, true, np.zeros((images, 2)), labelled, labelled, all_, chosen, none, 0,
            Repairs(),
        )  # fmt: skip
        _, low, high = estimated(given)["cost"]["objects"]
        held += low <= true[chosen].sum() <= high
    assert 0.88 <= held / tries <= 1.0, held
