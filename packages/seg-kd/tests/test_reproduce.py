"""calibrate -> plan -> train -> report at the smoke scale, and what it refuses."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from repro_shared.evidence.records import read_records
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.timing.calibrate import Calibration
from seg_kd.study import comparison, report
from seg_kd.study.plan import (
    arms,
    drifted,
    make_plan,
    plan_path,
    read_plan,
    settled,
    write_plan,
)
from seg_kd.study.recipes import FUNCTIONS, find_recipe
from seg_kd.study.recipes.base import Recipe
from seg_kd.study.report_tables import comparison_table, crossing
from seg_kd.study.reproduce import reproduce
from seg_kd.study.results import (
    COMMITTED_RESULTS,
    Results,
    committed_values,
    load_results,
    measurements,
)
from seg_kd.train import Job, Outcome
from seg_kd.use import teachers
from seg_kd.use.distiller import DivergedError


def fake_calibration(**seconds: float) -> Calibration:
    steps = {name.replace("_", "+"): [value] * 3 for name, value in seconds.items()}
    return Calibration(steps, steps, 3, 0, 0, 1, {})


COSTS = {"plain": 0.5, "logit": 1.0, "feature": 1.25, "feature_logit": 1.6}


def test_digits_from_nothing_to_a_report(
    tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce(tiny, tmp_path, None, (0,))
    records = read_records(tmp_path, tiny.name)
    assert {r.arm for r in records} == {
        "teacher",
        "plain-time-8",
        "logit-time-8",
        "feature-time-8",
        "feature+logit-time-8",
    }
    assert all(0 <= r.metrics["miou"] <= 100 and r.status == "complete" for r in records)
    plan = read_plan(plan_path(tmp_path, tiny.name))
    assert plan is not None
    assert plan.last is not None
    for record in records:
        if record.arm != "teacher":
            name = record.arm.removesuffix("-time-8")
            assert record.metrics["iterations"] == plan.iterations["8"][name]
    assert "equal wall-clock time" in capsys.readouterr().out
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    reproduce(tiny, tmp_path, None, (0,))  # nothing is left to do
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    svg = tmp_path / "figures" / "equal-time-digits-smoke.svg"
    assert svg.read_bytes().startswith(b"<?xml")


def test_folder_recipe_runs_on_a_label_map_folder(folder: Path, tmp_path: Path) -> None:
    recipe = find_recipe("equal_time_camvid", "smoke")
    recipe = replace(
        recipe,
        data=replace(recipe.data, crop=(32, 32)),
        calibration_rounds=2,
    )
    reproduce(recipe, tmp_path / "out", str(folder), (0,))
    assert len(read_records(tmp_path / "out", recipe.name)) == 8


def test_plan_gives_equal_time(tiny: Recipe) -> None:
    recipe = replace(tiny, budgets=(100,), equal_iteration_budgets=(100,), long_budget=400)
    plan = make_plan(recipe, fake_calibration(**COSTS))
    assert plan.iterations["100"] == {
        "plain": 200,
        "logit": 100,
        "feature": 80,
        "feature+logit": 62,
    }
    names = [arm.name for arm in arms(recipe, plan, controls=True)]
    assert names == [
        "plain-time-100",
        "logit-time-100",
        "feature-time-100",
        "feature+logit-time-100",
        "plain-iterations-100",
        "feature-iterations-100",
        "feature+logit-iterations-100",
        "plain-time-400",
        "logit-untrained-teacher-time-100",
    ]
    short = replace(recipe, budgets=(1,), long_budget=0)
    with pytest.raises(UserError, match="too short for one iteration"):
        make_plan(short, fake_calibration(**COSTS))


def test_a_plan_needs_two_calibrations_that_agree() -> None:
    quiet = fake_calibration(**COSTS)
    near = fake_calibration(**COSTS | {"plain": 1.04 * COSTS["plain"]})
    disturbed = fake_calibration(**COSTS | {"plain": 0.86 * COSTS["plain"]})
    calls = iter([disturbed, quiet, near])
    found = settled(lambda: next(calls))
    assert found.seconds["plain"] == quiet.seconds["plain"] + near.seconds["plain"]
    assert found.ratio("plain", "logit") == pytest.approx(1.02 * COSTS["plain"])
    assert found.rounds == quiet.rounds + near.rounds
    assert next(calls, None) is None
    endless = itertools.cycle([disturbed, quiet])
    with pytest.raises(UserError, match=r"no two of 5 .*plain moved by -14%"):
        settled(lambda: next(endless))


def test_moved_costs_refuse_the_comparison(tiny: Recipe) -> None:
    plan = make_plan(replace(tiny, budgets=(100,)), fake_calibration(**COSTS))
    same = replace(plan, last=fake_calibration(**COSTS).to_dict())
    assert drifted(same) == {}
    moved = replace(plan, last=fake_calibration(**{**COSTS, "feature": 1.5}).to_dict())
    assert drifted(moved) == {"feature": pytest.approx(0.2)}
    with pytest.raises(UserError, match=r"feature by \+20%.*--recalibrate"):
        report.refuse_drift(Results(tiny, moved, [], 0))
    shipped = load_results(find_recipe("equal_time_digits", "cpu"), COMMITTED_RESULTS)
    assert shipped is not None
    first = shipped.plan.first
    slower = {**first["seconds"], "feature": [1.2 * s for s in first["seconds"]["feature"]]}
    shipped.plan = replace(shipped.plan, last={**first, "seconds": slower})
    found = {row.claim: row.verdict for row in measurements([shipped])}
    assert found["feature-beats-plain-digits"] == "not run"


def test_a_diverged_run_is_recorded_as_failed_and_the_others_go_on(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny, objectives=tiny.objectives[:2])
    straight = comparison.train

    def diverging(job: Job) -> Outcome:
        if job.label.startswith("plain-time"):  # not the teacher, which trains plainly too
            raise DivergedError("loss is not finite (loss): lower the learning rate")
        return straight(job)

    monkeypatch.setattr(comparison, "train", diverging)
    reproduce(recipe, tmp_path, None, (0,))
    status = {r.arm: r.status for r in read_records(tmp_path, recipe.name)}
    assert status == {"plain-time-8": "failed", "logit-time-8": "complete", "teacher": "complete"}


def test_crossing_is_interpolated_in_the_logarithm_of_the_budget() -> None:
    assert crossing((100, 400), (-1.0, 1.0)) == (
        "the mean effect rises through zero near 200 logit iterations"
    )
    assert "falls through zero near 100" in crossing((50, 200, 400), (3.0, -3.0, -4.0))
    assert crossing((100, 200), (-1.0, -2.0)) == (
        "no crossing, the mean effect is never above zero"
    )


def test_committed_numbers_stand_beside_new_ones_only() -> None:
    recipe = find_recipe("equal_time_digits", "cpu")
    shipped = load_results(recipe, COMMITTED_RESULTS)
    assert shipped is not None
    plain = comparison_table(shipped, "time", recipe.budgets[-1])
    assert "committed" not in [column.name for column in plain.columns]
    beside = replace(shipped, committed=committed_values(recipe))
    table = comparison_table(beside, "time", recipe.budgets[-1])
    names = [column.name for column in table.columns]
    for row in table.rows:
        cells = dict(zip(names, row, strict=True))
        if cells["committed"] is not None:
            assert cells["committed"] == pytest.approx(cells["mIoU"], abs=1e-3)
    assert sum(row[names.index("committed")] is not None for row in table.rows) == 5


def test_damaged_plan_is_named(tiny: Recipe, tmp_path: Path) -> None:
    path = plan_path(tmp_path, tiny.name)
    write_plan(path, make_plan(tiny, fake_calibration(**COSTS | {"feature_logit": 1.0})))
    assert read_plan(path) is not None
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "ratios": 3}))
    with pytest.raises(UserError, match="is not a plan"):
        read_plan(path)
    path.write_text(whole[:50])
    with pytest.raises(UserError, match="is not a plan"):
        read_plan(path)


def test_every_recipe_says_what_it_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (_, scales) in FUNCTIONS.items():
        for scale in scales:
            recipe = find_recipe(name, scale)
            reproduce(recipe, Path("nowhere"), None, (0, 1), plan_only=True)
            printed = capsys.readouterr().out
            assert recipe.name in printed
            assert "x 2 seeds" in printed
    assert not Path("nowhere").exists()


def test_scales_differ_in_numbers_only() -> None:
    def form(value: object) -> object:
        """Names and kinds of everything, without the numbers."""
        if is_dataclass(value) and not isinstance(value, type):
            return {f.name: form(getattr(value, f.name)) for f in fields(value)}
        if isinstance(value, tuple) and value and not isinstance(value[0], int | float):
            return [form(item) for item in value]
        return type(value).__name__ if isinstance(value, int | float | tuple) else value

    for name, (_, scales) in FUNCTIONS.items():
        recipes = [replace(find_recipe(name, scale), name="", scale="cpu") for scale in scales]
        first, *others = [
            form(replace(r, teacher=replace(r.teacher, weights=""))) for r in recipes
        ]  # only the committed evidence has a teacher that comes along
        assert all(other == first for other in others), name


def test_what_is_set_aside_and_what_goes_on(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny, objectives=tiny.objectives[:2])
    # A committed teacher, and runs that learned from it.
    recipe = replace(recipe, teacher=replace(recipe.teacher, weights="teacher.safetensors"))
    shipped = tmp_path / "shipped" / recipe.teacher.weights
    monkeypatch.setattr(teachers, "COMMITTED", shipped.parent)
    teachers.save_half(teachers.untrained_teacher(recipe), shipped)
    opened = comparison.open_comparison(recipe, tmp_path, None)
    assert opened.teacher_sha256 == sha256_file(shipped)
    first = comparison.plan_for(opened)
    comparison.run_missing(opened, first, (0,))
    reproduce(recipe, tmp_path, None, (0,), retrain=True)
    old = tmp_path / "superseded" / f"{recipe.name}-{first.identity[:12]}"
    assert (old / "records" / "logit-time-8" / "seed-0.json").is_file()
    plan = read_plan(plan_path(tmp_path, recipe.name))
    assert plan is not None
    teacher = tmp_path / "teachers" / f"{recipe.name}-smoke.safetensors"
    trained = teacher.stat().st_mtime_ns
    # Neither a second --retrain nor a call without it makes or takes another teacher.
    for retrain in (True, False):
        opened = comparison.open_comparison(recipe, tmp_path, None, retrain)
        assert opened.teacher_sha256 == sha256_file(teacher)
        assert comparison.plan_for(opened) == plan
        assert comparison.run_missing(opened, plan, (0,)) == 0
    assert teacher.stat().st_mtime_ns == trained
    # Killed between its last run and the calibration after it: that calibration is still owed.
    assert plan.last is not None
    comparison.run_missing(opened, plan, (0, 1))
    owed = read_plan(plan_path(tmp_path, recipe.name))
    assert owed is not None
    assert owed.last is None
    # A damaged plan stops everything but --recalibrate, and nothing is deleted.
    path = plan_path(tmp_path, recipe.name)
    for number in (1, 2):
        path.write_text('{"recipe": 1}')
        with pytest.raises(UserError, match="use --recalibrate"):
            comparison.plan_for(opened)
        comparison.run_missing(opened, comparison.plan_for(opened, recalibrate=True), (0,))
        old = tmp_path / "superseded" / f"{recipe.name}-damaged{'-2' if number == 2 else ''}"
        assert (old / "plan.json").read_text() == '{"recipe": 1}'
        assert (old / "records" / "logit-time-8" / "seed-0.json").is_file()
