"""The command `ofds select`, from files to files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ofds.use.selection_file import read_selection


def chosen(files: Any, out: str = "out") -> list[str]:
    names: list[str] = (files.folder / out / "selection.txt").read_text().splitlines()
    return names


def test_what_is_written(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.select("--budget", "20") == 0
    printed, made = capsys.readouterr(), files.made()
    assert "minima, on proposals: met" in printed.out
    assert "cost: 20 of 20 objects (predicted); predicted: " in printed.out
    assert "selecting among" in printed.err
    assert chosen(files) == [image["name"] for image in made["images"]]
    assert [c["id"] for c in made["classes"]] == [1, 3, 90]
    assert made["contract"] == {"status": "met", "reasons": []}
    assert made["budget"]["spent"] == 20 == made["predicted"]["objects"]
    assert made["predicted"]["seconds"] == 20 * 35
    proposals = (files.folder / "results.json").read_bytes()
    assert made["fingerprints"]["proposals"] == hashlib.sha256(proposals).hexdigest()
    total = 0
    for rank, image in enumerate(made["images"], start=1):
        total += image["cost"]
        assert (image["rank"], image["cumulative"]) == (rank, total)
        result = files.results[image["object"]["row"]]
        assert result["image_id"] == image["id"]
        names = {c["id"]: c["name"] for c in files.categories}
        assert names[result["category_id"]] == image["class"]
        assert image["cluster"] in image["covers"][image["class"]]
        np.testing.assert_allclose(result["bbox"][:2], image["object"]["box"][:2], atol=1e-3)
        assert sum(image["objects"].values()) == image["cost"]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1000),
    amount=st.integers(3, 40),
    unit=st.sampled_from(["objects", "images"]),
)
def test_any_order_of_the_input_and_never_above_the_budget(
    draw: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    amount: int,
    unit: str,
) -> None:
    files = draw(tmp_path_factory.mktemp("pool"), seed, images=25)
    files.write()
    command = ("--budget", str(amount), "--unit", unit)
    if files.select(*command, out="one"):
        return  # no image is as cheap as that
    order = np.random.default_rng(seed).permutation(len(files.results)).tolist()
    files.write(order, backwards=True)
    assert files.select(*command, "--threads", "2", out="two") == 0
    one, two = files.made("one"), files.made("two")
    assert 0 < one["budget"]["spent"] <= amount
    for image in two["images"]:
        image["object"]["row"] = order[image["object"]["row"]]
    same = ("images", "classes", "contract", "repairs", "budget", "predicted")
    assert {key: one[key] for key in same} == {key: two[key] for key in same}
    assert chosen(files, "one") == chosen(files, "two")


def test_given_costs_are_never_exceeded(files: Any) -> None:
    g = np.random.default_rng(0)
    costs = {image["file_name"]: round(float(g.uniform(1, 9)), 2) for image in files.images}
    lines = ["file_name,euro", *(f"{name},{cost}" for name, cost in costs.items())]
    (files.folder / "costs.csv").write_text("\n".join(lines))
    given_costs = ("--costs", str(files.folder / "costs.csv"), "--cost-column", "euro")
    assert files.select("--budget", "30", "--unit", "column", *given_costs) == 0
    spent = sum(costs[name] for name in chosen(files))
    assert 20 < spent <= 30
    assert files.made()["budget"]["costs"] == "given"
    assert files.made()["budget"]["spent"] == pytest.approx(spent)


def test_seconds_and_pixels(files: Any) -> None:
    seconds = ("--unit", "seconds", "--preset", "extreme-clicks", "--looking", "3")
    assert files.select("--budget", "200", *seconds, out="s") == 0
    predicted = files.made("s")["predicted"]
    assert predicted["seconds"] == 7 * predicted["objects"] + 3 * predicted["images"] <= 200
    assert files.select("--budget", "9000", "--unit", "pixels", out="p") == 0
    assert files.made("p")["predicted"]["pixels"] <= 9000


def test_must_exclude_and_annotated(files: Any) -> None:
    assert files.select("--budget", "20", out="before") == 0
    first, second, *_ = chosen(files, "before")
    (files.folder / "exclude.txt").write_text(f"{first}\nnowhere.jpg\n")
    (files.folder / "annotated.json").write_text(json.dumps([second]))
    other = next(
        image["file_name"] for image in files.images if image["file_name"] not in (first, second)
    )
    (files.folder / "must.txt").write_text(other.replace("/", "\\"))
    lists = [
        f"--{name} {files.folder / file}"
        for name, file in (
            ("exclude", "exclude.txt"), ("annotated", "annotated.json"), ("must", "must.txt"),
        )
    ]  # fmt: skip
    assert files.select("--budget", "20", *" ".join(lists).split()) == 0
    names, made = chosen(files), files.made()
    assert other in names
    assert first not in names
    assert second not in names
    assert made["annotated"] == [second]
    assert made["repairs"] == [
        {"reason": "name in --exclude that no image has", "count": 1, "example": "'nowhere.jpg'"}
    ]


def test_going_on_from_an_earlier_selection(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.select("--budget", "10", out="one") == 0
    more = ("--continue", str(files.folder / "one"))
    assert files.select("--budget", "10", *more, out="two") == 0
    assert not set(chosen(files, "one")) & set(chosen(files, "two"))
    assert files.made("two")["annotated"] == chosen(files, "one")
    again = ("--continue", str(files.folder / "two" / "selection.json"))
    assert files.select("--budget", "10", *again, out="three") == 0
    have = read_selection(files.folder / "three").annotated
    assert len(have) == len(set(have))
    assert set(have) > {*chosen(files, "one"), *chosen(files, "two")}
    capsys.readouterr()
    files.features = files.features + np.float16(1)
    files.write()
    assert files.select("--budget", "10", *more, out="four") == 2
    assert "one was made from other features" in capsys.readouterr().err
    assert not (files.folder / "four").exists()


def test_never_into_the_same_folder(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.select("--budget", "10") == 0
    before = (files.folder / "out" / "selection.json").read_bytes()
    assert files.select("--budget", "20") == 2
    assert "holds a selection, which is never overwritten" in capsys.readouterr().err
    assert (files.folder / "out" / "selection.json").read_bytes() == before


def test_features_that_are_not_finite_leave_cost_and_minima(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files.results = [
        {"image_id": place, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.9}
        for place in (*(0,) * 50, 7, 14, 14)
    ]
    files.results += [
        {"image_id": 21, "category_id": 3, "bbox": [place, 1, 5, 5], "score": 0.9}
        for place in range(4)
    ]
    for place, each in enumerate(files.results):
        each["bbox"] = [place % 40, place % 30, 5, 5]
    files.features = np.ones((57, 4), np.float16)
    files.features[1:50] = np.nan  # of the 50 objects of one image
    files.features[53:] = np.inf  # of all dogs
    files.features[51] = 0
    files.write()
    assert files.select("--budget", "10", "--minimum", "0", "dog=3") == 0
    made, printed = files.made(), capsys.readouterr().out
    costs = {image["id"]: image["cost"] for image in made["images"]}
    assert costs == {7: 1, 14: 2, 21: 4}
    assert made["budget"]["spent"] == 7
    assert {each["name"]: each["found"] for each in made["classes"]}["dog"] == 4
    assert made["contract"]["status"] == "met"
    assert "1 x class without any features: it has no turn, its objects count" in printed
    assert "such as 'dog'" in printed
    assert "53 x features that are not finite: counted, but in no cluster" in printed
    assert "1 x features that are all zero: clustered together, such as 'a/002.jpg'" in printed
    files.features[:] = np.nan
    files.write()
    assert files.select("--budget", "10", out="none") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "features.npy: no proposal that counts has features that are finite" in error


def test_true_objects_on_annotated_images_count(
    files: Any, true_objects: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    proposed = [each for each in files.results if each["score"] >= 0.3]
    dogs = [each["image_id"] for each in proposed if each["category_id"] == 3]
    labels = true_objects(files)
    done = {*dogs[:6]}
    for image in labels["images"]:
        image["labelled"] = image["id"] in done
    wrong = {"id": 1, "image_id": dogs[0], "category_id": 1, "bbox": [1, 1, 9, 9]}
    crowd = {**wrong, "id": 2, "category_id": 3, "iscrowd": 1}
    labels["annotations"] = [wrong, crowd]  # none of these dogs is one
    path = files.json("labels.json", labels)
    assert files.select("--budget", "20", "--annotated", str(path)) == 0
    made, printed = files.made(), capsys.readouterr().out
    names = {image["id"]: image["file_name"] for image in files.images}
    assert set(made["annotated"]) == {names[image] for image in done}
    picked = {image["id"] for image in made["images"]}
    wanted = {each["name"]: each["found"] for each in made["classes"]}
    assert wanted["dog"] == sum(image in picked for image in dogs)
    cats = sum(each["category_id"] == 1 and each["image_id"] in picked for each in proposed)
    assert wanted["cat"] == cats + 1
    assert "found: true on annotated images + proposed on chosen ones" in printed
    assert made["contract"]["found"] == "true on annotated images + proposed on chosen ones"
    # More than is left, so that it cannot be met, as `ofds ingest` says.
    left = sum(image not in done for image in dogs)
    more = ("--annotated", str(path), "--minimum", f"dog={left + 1}")
    assert files.select("--budget", "400", *more, out="more") == 0
    contract = files.made("more")["contract"]
    assert contract["status"] == "infeasible"
    assert contract["reasons"][0] == (
        f"dog: {left + 1} wanted, {left} proposed on images that may be chosen or true on "
        "annotated ones"
    )
    # The program that decides counts them, too.
    exact = ("--annotated", str(path), "--minimum", "0", f"dog={left}")
    assert files.select("--budget", "400", *exact, out="exact") == 0
    assert files.made("exact")["contract"]["status"] == "met"
    # Names alone: proposals, as on other images.
    names_alone = files.folder / "names.txt"
    names_alone.write_text("".join(f"{names[image]}\n" for image in done))
    assert files.select("--budget", "20", "--annotated", str(names_alone), out="list") == 0
    assert "found" not in files.made("list")["contract"]


def test_a_few_features_that_are_not_finite(files: Any) -> None:
    files.features[[3, 5], 0] = np.nan
    files.write()
    assert files.select("--budget", "20") == 0
    reasons = {each["reason"]: each for each in files.made()["repairs"]}
    names = {i["id"]: i["file_name"] for i in files.images}
    dropped = reasons["features that are not finite: counted, but in no cluster"]
    assert dropped["count"] == 2
    assert dropped["example"] == min(repr(names[files.results[row]["image_id"]]) for row in (3, 5))
    assert not {image["object"]["row"] for image in files.made()["images"]} & {3, 5}


def test_a_class_without_proposals_gets_advice(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files.categories += [{"id": 91, "name": "yak"}, {"id": 92, "name": "emu"}]
    files.results[0] |= {"category_id": 92, "score": 0.25}
    files.write()
    assert files.select("--budget", "20", "--minimum", "2", "cat=3") == 0
    printed, contract = capsys.readouterr().out, files.made()["contract"]
    assert contract["status"] == "infeasible"
    assert "yak: 2 wanted, 0 proposed on images that may be chosen" in contract["reasons"]
    line = "emu: --threshold 0.25 would bring 1 more on 1 image, 1 in all, still too few"
    assert any(reason.startswith(line) for reason in contract["reasons"])
    assert "yak: nothing is proposed at any score; in turn: a lower --threshold" in printed
    # What can be met, is.
    for each in files.made()["classes"]:
        assert each["found"] >= min(each["minimum"], each["proposals"])


def test_two_equal_trees_among_near_equal_dogs(files: Any) -> None:
    g = np.random.default_rng(0)
    features = np.concatenate([np.ones((300, 6)), -np.ones((2, 6))])
    features[:300] += 0.01 * g.normal(size=(300, 6))
    files.images = [
        {"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 100} for n in range(302)
    ]
    files.results = [
        {"image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.9} for n in range(302)
    ]
    files.features = features.astype(np.float16)
    files.write()
    photos = files.folder / "photos"
    photos.mkdir()
    for n in range(302):
        (photos / f"{n}.jpg").write_bytes(b"tree" if n >= 300 else str(n).encode())
    assert files.select("--budget", "2", "--unit", "images", "--minimum", "0") == 0
    assert len({"300.jpg", "301.jpg"} & set(chosen(files))) <= 1
    more = ("--minimum", "0", "--folder", str(photos))
    for budget in (2, 4):
        out = f"out{budget}"
        assert files.select("--budget", str(budget), "--unit", "images", *more, out=out) == 0
        assert len(chosen(files, out)) == budget
        assert len({"300.jpg", "301.jpg"} & set(chosen(files, out))) == 1


def test_missing_photos(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    photos = files.folder / "photos" / "a"
    photos.mkdir(parents=True)
    for n, image in enumerate(files.images):
        if n % 4:
            (files.folder / "photos" / image["file_name"]).write_bytes(str(n).encode())
    folder = ("--folder", str(files.folder / "photos"))
    assert files.select("--budget", "20", *folder) == 2
    assert "10 of 40 images cannot be read, such as 'a/000.jpg'" in capsys.readouterr().err
    assert files.select("--budget", "20", *folder, "--missing", "skip") == 0
    assert all(int(name[2:5]) % 4 for name in chosen(files))
    assert sum(each["count"] for each in files.made()["repairs"]) == 10


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--budget 0", "the budget must be above 0, got 0"),
        ("--budget nan", "the budget must be above 0, got nan"),
        ("--budget 0.5", "--budget 0.5 pays for no image: the cheapest one with proposals costs 1"),
        ("--budget 9 --unit column", "--unit column needs --costs FILE.csv"),
        ("--budget 9 --preset lasso", "unknown cost preset 'lasso'"),
        ("--budget 9 --threshold 1", "no proposal reaches --threshold 1; the highest score is 0.9"),
        ("--budget 9 --threshold 30", "--threshold must be 0 to 1, got 30"),
        ("--budget 9 --threads 0", "--threads must be at least 1"),
        ("--budget 9 --minimum yak=1", "no class 'yak'"),
        ("--budget 9 --must none.txt", "none.txt: cannot be read (No such file or directory)"),
        ("--budget 9 --continue none", "none: cannot be read"),
        ("--budget 9 --costs none.csv", "none.csv: cannot be read"),
        ("--budget 9 --unit clicks", "unit"),
        ("--unit objects", "--budget is missing: how much may be spent"),
    ],
)
def test_what_is_refused(
    files: Any, options: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.select(*options.split()) == 2
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert line in last
    assert not printed.out
    assert not (files.folder / "out").exists()


def test_must_against_exclude(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.folder / "x.txt"
    path.write_text("a/001.jpg\n")
    assert files.select("--budget", "9", "--must", str(path), "--exclude", str(path)) == 2
    assert "'a/001.jpg' must be chosen (--must) and must not" in capsys.readouterr().err
    path.write_text("".join(f"{image['file_name']}\n" for image in files.images))
    assert files.select("--budget", "9", "--must", str(path)) == 2
    assert "the budget is 9" in capsys.readouterr().err
    assert files.select("--budget", "9", "--annotated", str(path)) == 2
    assert "all images with proposals are annotated or excluded" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["images", "proposals", "features"])
def test_missing_files(files: Any, lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = {"proposals": "results.json", "features": "features.npy"}.get(lost, "images.json")
    (files.folder / name).unlink()
    assert files.select("--budget", "9") == 2
    assert f"{name}: cannot be read" in capsys.readouterr().err


def test_an_empty_pool(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (files.folder / "results.json").write_text("[]")
    np.save(files.folder / "features.npy", np.zeros((0, 4), np.float32))
    assert files.select("--budget", "9") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no proposal reaches --threshold 0.3; the file has none to use" in error


def test_a_word_for_each_file_that_is_not_given(
    tmp_path: Path, files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from ofds.use.select_command import select
    from repro_shared.runtime.cli import run

    assert run("ofds", "", {"select": select}, ["select"], version="0") == 2
    assert "--images is missing; give --pool DIR" in capsys.readouterr().err
