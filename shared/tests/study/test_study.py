"""A paper in a few lines: what runs, what is skipped, what is published, what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro_shared.evidence.run_folder import RunFolder
from repro_shared.runtime.errors import UserError
from repro_shared.study.alone import run_alone
from repro_shared.study.command import check_data, main
from repro_shared.study.keys import data_key, recipe_key
from repro_shared.study.paper import Arm, Paper, Recipe, Scale, Study
from repro_shared.study.results import load_results
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session
from repro_shared.study.trip import broken, place, trip

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
assert _spec is not None
assert _spec.loader is not None
toy = importlib.util.module_from_spec(_spec)
sys.modules["toy"] = toy
_spec.loader.exec_module(toy)

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def paper(tmp_path: Path) -> Paper:
    made: Paper = toy.toy_paper(tmp_path / "checkout")
    return made


def lines(out: Path, study: str = "counting") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / study / "runs.jsonl").read_text().splitlines()]


def error(paper: Paper, capsys: Capsys, *arguments: str) -> str:
    """The one line of a command that must end with code 2."""
    capsys.readouterr()
    assert main(paper, arguments) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    return said[0]


def test_a_paper_runs_what_is_missing_and_nothing_twice(
    paper: Paper, tmp_path: Path, capsys: Capsys
) -> None:
    out = tmp_path / "out"
    arguments = ["reproduce", "--out", str(out)]
    assert main(paper, [*arguments, "--plan"]) == 0
    assert "together 6 runs to make, 60 training steps" in capsys.readouterr().out
    assert not out.exists()
    assert main(paper, arguments) == 0
    shown = capsys.readouterr().out
    assert "large, twice     15" in shown
    assert [(r["arm"], r["seed"]) for r in lines(out)] == [
        ("base-model", 0), ("base-model", 1), ("large-twice", 0), ("large-twice", 1),
        ("plain", 0), ("plain", 1),
    ]  # fmt: skip
    before = (out / "counting" / "runs.jsonl").read_bytes()
    assert main(paper, arguments) == 0
    assert (out / "counting" / "runs.jsonl").read_bytes() == before
    assert main(paper, [*arguments, "--controls", "--seeds", "1", "2"]) == 0
    assert len(lines(out)) == 6 + 1 + 4
    # The base model's files are gone: it is made again for those that start from it, unrecorded.
    for path in (out / "work").rglob("model.json"):
        path.unlink()
    capsys.readouterr()
    assert main(paper, [*arguments, "--controls", "--seeds", "0", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "base model, seed 0: made again, its files are gone" in said
    assert "together 1 runs to make" in said
    assert main(paper, [*arguments, "--controls", "--seeds", "0"]) == 0
    assert len(lines(out)) == 12
    assert "base model, made again" in capsys.readouterr().err


def test_what_decides_a_result_is_its_key_and_nothing_else(paper: Paper) -> None:
    study: Study = toy.counting("cpu")

    def keys(of: Study, version: int = 1, data: str = "x", seed: int = 0) -> dict[str, str]:
        vars(paper.package)["METHOD_VERSION"] = version
        found = {
            arm.name: recipe_key(paper, arm) + data_key(arm, seed, lambda _: data)
            for arm in of.arms
        }
        vars(paper.package)["METHOD_VERSION"] = 1
        return found

    before = keys(study)
    more = Arm("another", toy.Fit(9.0), toy.train, starts_from=(toy.BASE,), control=True)
    larger = replace(study, arms=(*study.arms, more), tables=(), claims=(), seeds=(5,), name="new")
    assert {name: key for name, key in keys(larger).items() if name != "another"} == before
    for other in (keys(study, version=2), keys(study, data="y"), keys(study, seed=1)):
        assert not set(other.values()) & set(before.values())
    base = replace(toy.BASE, config=toy.Fit(0.25))
    plain = replace(study.arms[1], starts_from=(base,))
    changed = keys(replace(study, arms=(base, plain)))
    assert changed["plain"] != before["plain"]
    # An arm that all seeds share keeps its own seed.
    fixed = replace(toy.BASE, seed=7)
    assert data_key(fixed, 0, lambda _: "x") == data_key(fixed, 1, lambda _: "x")


def test_failures_are_recorded_or_told_and_keep_nobody_waiting(
    paper: Paper, tmp_path: Path, capsys: Capsys
) -> None:
    study: Study = toy.counting("cpu")
    bad = Arm("diverging", toy.Fit(fail="diverged"), toy.train)
    child = Arm("child of it", toy.Fit(3.0), toy.train, starts_from=(bad,))
    broken_arm = Arm("broken", toy.Fit(fail="no such thing"), toy.train)
    study = replace(study, arms=(*study.arms, bad, child, broken_arm), tables=())
    with pytest.raises(
        UserError, match=r"2 runs could not be made, the first: child of it, seed 0"
    ):
        run_missing(Session(paper, study, tmp_path), (0,))
    status = {r["arm"]: r["status"] for r in lines(tmp_path)}
    assert status == {
        "base-model": "complete", "plain": "complete", "large-twice": "complete",
        "diverging": "failed",
    }  # fmt: skip
    capsys.readouterr()
    with pytest.raises(UserError, match="2 runs"):
        run_missing(Session(paper, study, tmp_path), (0,))
    assert len(lines(tmp_path)) == 4  # a failed run is not tried again: it would fail again
    assert "diverging, seed 0, could not be made: the loss is nan" in capsys.readouterr().err
    # Nor is it for those that start from it.
    calls = list[int]()

    def counted(config: Any, ctx: Any) -> Any:
        calls.append(ctx.seed)
        return toy.train(config, ctx)

    bad = replace(bad, name="diverging too", run=counted)
    children = [Arm(f"child {n}", toy.Fit(float(n)), toy.train, (bad,)) for n in (1, 2)]
    study = replace(study, arms=(bad, *children))
    for _ in range(2):
        with pytest.raises(UserError, match="2 runs"):
            run_missing(Session(paper, study, tmp_path / "two"), (0,))
    assert calls == [0]


def test_a_study_on_the_users_data(paper: Paper, tmp_path: Path, capsys: Capsys) -> None:
    out = str(tmp_path / "out")
    reading = ("reproduce", "--table", "reading", "--out", out)
    assert "needs a folder with numbers.txt" in error(paper, capsys, *reading)
    assert "no such folder" in error(paper, capsys, *reading, "--data", str(tmp_path / "no"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "numbers.txt").write_text("4 5")
    assert main(paper, [*reading, "--data", str(data)]) == 0
    assert len(lines(tmp_path / "out", "reading")) == 6
    (data / "numbers.txt").write_text("4 6")  # other data: other runs, and the old ones stay
    assert main(paper, [*reading, "--data", str(data)]) == 0
    assert len(lines(tmp_path / "out", "reading")) == 12
    # A table never mixes the two, whichever was run last.
    capsys.readouterr()
    assert main(paper, ["table", "scores", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "| large, twice | 25 |" in said
    assert "row        plain\n" in said  # of the table's own rows, see `toy.scores`
    study = toy.reading("cpu")
    found = load_results(paper, study, tmp_path / "out")
    assert (len(found.records), found.stale) == (6, 6)
    assert found.values(study.arms[2], "score") == [25.0, 27.0]
    (data / "numbers.txt").write_text("4 5")
    assert main(paper, [*reading, "--data", str(data), "--plan"]) == 0
    assert "together 0 runs to make" in capsys.readouterr().out
    session = Session(paper, study, tmp_path / "out", data)
    session.open(study.data)
    found = load_results(paper, study, tmp_path / "out", session.opened)
    assert found.values(study.arms[2], "score") == [22.5, 24.5]
    (data / "numbers.txt").write_text("4 7")
    assert main(paper, [*reading, "--data", str(data), "--plan"]) == 0
    assert "together 6 runs to make" in capsys.readouterr().out
    text = (tmp_path / "out" / "reading" / "sets.json").read_text()
    assert str(tmp_path) not in text
    # Data that no chosen study reads are refused before anything runs.
    assert "reads no data" in error(paper, capsys, "reproduce", "--out", out, "--data", str(data))
    counting: Study = toy.counting("cpu")
    with pytest.raises(UserError, match="counting, again read no data; leave it out"):
        check_data([counting, replace(counting, name="again")], str(data))


def test_bad_input_ends_in_one_line(paper: Paper, tmp_path: Path, capsys: Capsys) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert "unknown study" in error(paper, capsys, "reproduce", "--table", "table9", *out)
    assert "exists at scale cpu" in error(
        paper, capsys, "reproduce", "--table", "reading", "--scale", "smoke", *out
    )
    assert "no study at scale paper" in error(paper, capsys, "reproduce", "--scale", "paper", *out)
    assert "distinct" in error(paper, capsys, "reproduce", "--seeds", "1", "1", *out)
    assert "no committed weights" in error(paper, capsys, "reproduce", "--retrain", *out)
    assert "no such folder" in error(paper, capsys, "report", *out)
    assert "no table 'x'; there are: scores" in error(paper, capsys, "table", "x")
    assert "no reported cell" in error(paper, capsys, "cite", "table1/small/score")
    assert not (tmp_path / "out").exists()
    with RunFolder(tmp_path / "out" / "counting", "counting").locked():
        assert "another process" in error(paper, capsys, "reproduce", *out)


def test_everything_generated_is_made_of_the_records(
    paper: Paper, tmp_path: Path, capsys: Capsys
) -> None:
    readme = paper.results.parent / "README.md"
    readme.write_text("# toy\n<!-- generated:seeds -->\n<!-- /generated -->\n")

    def blocks(found: Any) -> dict[str, dict[str, str]]:
        seeds = " ".join(map(str, found["counting"].seeds))
        return {"README.md": {"seeds": f"Seeds: {seeds}."}}

    paper = replace(paper, blocks=blocks)
    out = str(paper.results)
    assert main(paper, ["reproduce", "--out", out, "--seeds", "0", "1", "2", "3", "4"]) == 0
    assert main(paper, ["report", "--check"]) == 1
    assert "stale: README.md" in capsys.readouterr().err
    assert main(paper, ["report"]) == 0
    assert main(paper, ["report", "--check"]) == 0
    assert "Seeds: 0 1 2 3 4." in readme.read_text()
    capsys.readouterr()
    assert main(paper, ["cite", "table1/large/score"]) == 0
    said = capsys.readouterr().out
    assert "verdict    supported: +6.00 [+6.00, +6.00] points, 5 seeds" in said
    assert f"equation   scaled, {place(toy.scaled)}" in said
    table = paper.results / "tables" / "scores.csv"
    table.write_text(table.read_text().replace("15", "16"))
    assert main(paper, ["report", "--check"]) == 1
    assert "stale: tables/scores.csv" in capsys.readouterr().err
    assert main(paper, ["table", "scores"]) == 0
    assert "| large, twice | 15 |" in capsys.readouterr().out
    # Beside a user's own numbers stand the committed ones.
    elsewhere = load_results(paper, toy.counting("cpu"), tmp_path / "mine")
    assert elsewhere.shipped == {"large-twice": 19.0, "plain": 13.0}
    assert load_results(paper, toy.counting("cpu"), paper.results).shipped == {}


def test_stale_records_are_left_out_and_counted(paper: Paper, tmp_path: Path) -> None:
    study: Study = toy.counting("cpu")
    run_missing(Session(paper, study, tmp_path), (0, 1))
    vars(paper.package)["METHOD_VERSION"] = 2
    try:
        found = load_results(paper, study, tmp_path)
        assert (len(found.records), found.stale) == (0, 6)
        assert "6 older records" in " ".join(found.notes)
    finally:
        vars(paper.package)["METHOD_VERSION"] = 1
    assert load_results(paper, study, tmp_path).stale == 0


def test_two_sources_of_one_name_are_told_apart(paper: Paper, tmp_path: Path) -> None:
    """As of one data set with few and with many pictures."""

    def both(scale: Scale) -> Study:
        made = toy.counting(scale)
        further = Arm("of a file", toy.Fit(3.0), toy.train, data=toy.Numbers(shipped=False))
        return replace(made, name="both", arms=(*made.arms[:2], further), claims=())

    (tmp_path / "numbers.txt").write_text("4 5")
    paper = replace(paper, recipes=(Recipe(both, ("cpu",)),))
    out, study = tmp_path / "out", both("cpu")
    assert run_missing(Session(paper, study, out, tmp_path), (0,)) == 3
    found = load_results(paper, study, out)
    assert (len(found.records), found.stale) == (3, 0)
    assert len(set(found.fingerprints.values())) == 2


def test_a_changed_default_is_told_by_the_check(paper: Paper, capsys: Capsys) -> None:
    assert main(paper, ["reproduce", "--out", str(paper.results)]) == 0
    assert main(paper, ["report"]) == 0
    assert main(paper, ["report", "--check"]) == 0
    path = paper.results / "counting" / "sets.json"
    text = path.read_text()
    assert text.count('"steps": 10') > 1
    # As if the default had been 12 when the runs were made: no key shows it.
    path.write_text(text.replace('"steps": 10', '"steps": 12'))
    capsys.readouterr()
    assert main(paper, ["report", "--check"]) == 1
    assert "plain was run with other settings: raise METHOD_VERSION" in capsys.readouterr().err
    # A field that was added since changes nothing.
    path.write_text(text.replace('"steps": 10, ', "").replace(', "steps": 10', ""))
    assert main(paper, ["report", "--check"]) == 0


def test_a_kill_while_measuring_anew_loses_no_facts(paper: Paper, tmp_path: Path) -> None:
    measured = [{"closed": True, "n": 1}, {"closed": True, "n": 2}]

    class Measures:
        def measure(self, study: Study, session: Session, facts: Any) -> Any:
            if facts is not None:
                return facts
            if not measured:
                raise KeyboardInterrupt
            return measured.pop(0)

        def fill(self, study: Study, facts: Any) -> Study:
            return study

        def check(self, facts: Any) -> None:
            if "n" not in facts:
                raise ValueError("no n")

        def concerns(self, arm: Arm) -> bool:
            return False

        def close(self, study: Study, session: Session, facts: Any) -> Any:
            return facts

        def refuse(self, results: Any) -> None:
            return None

    study = replace(toy.counting("cpu"), prepare=Measures())
    kept = tmp_path / "counting" / "prepared.json"

    def run(again: bool) -> None:
        run_missing(Session(paper, study, tmp_path), (0,), again=again)

    run(again=False)
    run(again=True)
    assert json.loads(kept.read_text())["n"] == 2
    with pytest.raises(KeyboardInterrupt):
        run(again=True)
    assert json.loads(kept.read_text())["n"] == 2
    assert len(list(kept.parent.glob("prepared-until-*.json"))) == 1
    kept.write_text('{"m": 1}')
    with pytest.raises(UserError, match=r"prepared.json is damaged \(no n\): restore it"):
        run(again=False)
    measured.append({"closed": True, "n": 3})
    run(again=True)
    assert json.loads(kept.read_text())["n"] == 3


def test_the_hops_of_every_arm(paper: Paper) -> None:
    recipe = paper.recipes[0]
    for arm in recipe.make("cpu").arms:
        assert broken(recipe, arm) == []
        assert [hop.what for hop in trip(recipe, arm)] == ["recipe", "stage", "step", "equation"]

    def elsewhere(config: Any, ctx: Any) -> Any:
        raise AssertionError

    elsewhere.__module__ = "json"
    assert broken(recipe, replace(toy.BASE, run=elsewhere))


def test_one_run_in_a_folder_of_its_own(paper: Paper, tmp_path: Path, capsys: Capsys) -> None:
    arm = Arm("mine", toy.Fit(2.0), toy.train)
    study = Study("train", "cpu", toy.Numbers(), (arm,), (0,))
    record, folder = run_alone(Session(paper, study, tmp_path), 3)
    assert record.metrics == {"score": 15.0}
    assert json.loads((folder / "model.json").read_text()) == 15.0
    again, _ = run_alone(Session(paper, study, tmp_path), 3)
    assert again == record
    assert "holds this run already" in capsys.readouterr().err
    other = replace(study, arms=(replace(arm, config=toy.Fit(3.0)),))
    both = replace(study, arms=(replace(arm, config=toy.Fit(3.0, steps=12)),))
    for changed, seed, said in (
        (other, 3, "factor is 2 there and 3 here"),
        (both, 3, "factor is 2 there and 3 here, and 1 more settings differ"),
        (study, 4, "seed is 3 there and 4 here"),
    ):
        with pytest.raises(UserError, match=rf"holds another run \({said}\): remove it, or give"):
            run_alone(Session(paper, changed, tmp_path), seed)
    assert len(lines(tmp_path, "train")) == 1
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        run_alone(Session(paper, study, tmp_path), 3)


def test_a_run_that_diverged_is_not_called_finished(
    paper: Paper, tmp_path: Path, capsys: Capsys
) -> None:
    arm = Arm("mine", toy.Fit(fail="diverged"), toy.train)
    study = Study("train", "cpu", toy.Numbers(), (arm,), (0,))
    for again in (False, True):
        with pytest.raises(UserError, match="the loss is nan"):
            run_alone(Session(paper, study, tmp_path), 3)
        said = capsys.readouterr().err
        assert ("holds this run already, failed" in said) is again
        assert "finished" not in said


def test_two_arms_of_one_name_and_an_arm_before_its_start_are_refused() -> None:
    study: Study = toy.counting("cpu")
    with pytest.raises(ValueError, match="two arms are called plain"):
        replace(study, arms=(*study.arms, replace(study.arms[1], name="Plain")))
    with pytest.raises(ValueError, match="plain precedes base model"):
        replace(study, arms=(study.arms[1], study.arms[0]))
