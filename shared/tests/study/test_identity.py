"""A data set is what its fingerprint says: in tables, figures, records and plans."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from repro_shared.evidence.tables import Table
from repro_shared.study.command import main
from repro_shared.study.paper import Recipe, Scale, Study
from repro_shared.study.plan import plan
from repro_shared.study.results import Results, load_results
from repro_shared.study.session import Session

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
assert _spec is not None
assert _spec.loader is not None
toy: Any = importlib.util.module_from_spec(_spec)
sys.modules["toy"] = toy
_spec.loader.exec_module(toy)

REAL = "4 5"


@dataclass(frozen=True)
class Census(toy.Numbers):  # type: ignore[misc]
    """A named set, which is the numbers 4 and 5."""

    shipped: bool = False
    known: tuple[str, ...] | None = ("4.0-5.0",)

    name = "census"
    title = "Census"
    sentence = "real numbers: the Census; counted"
    scoring = "; counted"


def test_a_plan_reads_no_fingerprint_that_nobody_knows(tmp_path: Path) -> None:
    class Endless:
        @property
        def fingerprint(self) -> str:
            raise AssertionError("150 gigabytes are read")

    @dataclass(frozen=True)
    class Large(Census):
        def open(self, folder: Path | None) -> Any:
            return Endless()

    paper = toy.toy_paper(tmp_path / "checkout")
    study = replace(toy.counting("cpu"), data=Large(known=()))
    (tmp_path / "numbers.txt").write_text("1")
    text = plan(Session(paper, study, tmp_path / "out", tmp_path), (0,), controls=False)
    assert "data: census: images of the given folder, given as Census" in text


def counted(known: tuple[str, ...] | None) -> Recipe:
    """A study of the set."""

    def noted(results: Results) -> Table:
        return replace(toy.scores(results), notes=results.notes)

    def census(scale: Scale) -> Study:
        study = replace(toy.counting(scale), name="census", data=Census(known=known), claims=())
        return replace(study, tables=(noted,))

    return Recipe(census, ("cpu",))


@pytest.mark.parametrize(
    ("known", "numbers", "said", "name"),
    [
        (("4.0-5.0",), REAL, "real numbers: the Census; counted", "census"),
        (
            ("4.0-5.0",),
            "7 7",
            "images of the given folder, not the Census of the committed records; counted",
            "a folder given as census",
        ),
        (
            (),
            REAL,
            "images of the given folder, given as Census, of which there is no record; counted",
            "a folder given as census",
        ),
        (None, "7 7", "real numbers: the Census; counted", "census"),
    ],
)
def test_another_folder_is_called_what_it_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    known: tuple[str, ...] | None,
    numbers: str,
    said: str,
    name: str,
) -> None:
    paper = toy.toy_paper(tmp_path / "checkout")
    paper = replace(paper, recipes=(*paper.recipes, counted(known)))
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "numbers.txt").write_text(numbers)
    command = ["reproduce", "--table", "census", "--data", str(data), "--out", str(out)]
    assert main(paper, command) == 0
    shown = capsys.readouterr()
    assert f"Data: {said}. Seeds: 0 1." in shown.out
    other = name != "census"
    assert (f"census: {said}" in shown.err) == other
    sets = json.loads((out / "census" / "sets.json").read_text())["sets"]
    assert {each["data_name"] for each in sets.values()} == {name}
    assert main(paper, ["table", "scores", "--out", str(out)]) == 0  # without the folder
    assert f"Data: {said}." in capsys.readouterr().out
    assert main(paper, [*command, "--plan"]) == 0
    assert (f"data: census: {said}" in capsys.readouterr().out) == other
    results = load_results(paper, paper.recipes[-1].make("cpu"), out)
    assert results.place("the Census") == ("the given folder" if other else "the Census")
