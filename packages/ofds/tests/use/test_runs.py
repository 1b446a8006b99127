"""Tables of runs as people bring them, and the records of our own studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ofds.use.runs import by_seed, metrics_of, read_runs, unequal
from repro_shared.runtime.errors import UserError

RECORD: dict[str, Any] = {
    "arm": "ofds", "seed": 3, "key": "a-b", "samples": 0, "seconds": 12.5,
    "metrics": {
        "accuracy/150 objects": 40.0, "objects/150 objects": 149.0, "images/150 objects": 30.0,
        "accuracy/40 images": 44.0, "objects/40 images": 238.0, "classes": 12.0,
    },
}  # fmt: skip


def lines(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def test_records_of_our_studies(tmp_path: Path) -> None:
    path = lines(tmp_path / "runs.jsonl", RECORD, {**RECORD, "seed": 4})
    runs = read_runs([path])["ofds"]
    assert [(run.seed, run.numbers["budget"]) for run in runs] == [
        (3, 150), (3, 40), (4, 150), (4, 40),
    ]  # fmt: skip
    assert runs[0].numbers == {
        "accuracy": 40, "objects": 149, "images": 30, "classes": 12, "budget": 150,
    }  # fmt: skip
    assert "seconds" not in runs[0].numbers  # of training, not of annotation
    kept = read_runs([path], ["unit=images"])["ofds"]
    assert [run.numbers["objects"] for run in kept] == [238, 238]


def test_values_of_one_column_are_alternatives(tmp_path: Path) -> None:
    rows = [
        {"method": m, "seed": s, "ap": 0.5, "objects": 9, "budget": b}
        for m in ("a", "b", "c") for s in (0, 1) for b in (1, 2)
    ]  # fmt: skip
    path = lines(tmp_path / "runs.jsonl", *rows)
    found = read_runs([path], ["method=a", "method=c", "budget=2.0"])
    assert list(found) == ["a", "c"]
    assert all(run.numbers["budget"] == 2 for runs in found.values() for run in runs)
    assert all(list(by_seed(runs)) == [0, 1] for runs in found.values())


def test_the_name_of_the_file_is_the_method(tmp_path: Path) -> None:
    (tmp_path / "ofds.csv").write_text("repeat,ap,note\n0,0.5,fine\n1,nan,\n")
    found = read_runs([str(tmp_path / "ofds.csv")])
    assert [run.numbers for run in found["ofds"]] == [{"ap": 0.5}, {}]
    with pytest.raises(UserError, match=r"row 2: no number in column 'ap'"):
        metrics_of(found, ())


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name / "runs.csv" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("seed,ap\n0,0.5\n")
    assert list(read_runs([*map(str, paths)])) == [str(p.with_suffix("")) for p in paths]


def test_costs_that_forbid_a_comparison(tmp_path: Path) -> None:
    def runs(name: str, *objects: float) -> Any:
        rows = [{"seed": s, "ap": 1, "objects": n} for s, n in enumerate(objects)]
        return by_seed(read_runs([lines(tmp_path / f"{name}.jsonl", *rows)])[name])

    base = runs("base", 100, 100)
    assert unequal(base, runs("near", 90, 110), "objects", 0.05) == ""
    assert unequal(base, runs("far", 100, 120), "objects", 0.05).startswith("objects differ: far")
    with pytest.raises(UserError, match="objects is 0, not above 0"):
        unequal(base, runs("none", 0, 0), "objects", 0.05)
    with pytest.raises(UserError, match="no column 'pixels'"):
        unequal(base, base, "pixels", 0.05)
