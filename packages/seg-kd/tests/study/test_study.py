"""calibrate -> train -> report at the smoke scale, what is keyed by what, and what is refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from repro_shared.evidence.claims import Claim
from repro_shared.evidence.run_folder import RunFolder
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.study.command import main, reproduce_study
from repro_shared.study.keys import data_key, recipe_key
from repro_shared.study.paper import Arm, Study
from repro_shared.study.plan import plan
from repro_shared.study.results import load_results, shipped_values
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session, filled, read_facts, write_facts
from repro_shared.study.trip import broken, trip
from repro_shared.timing.calibrate import Calibration
from seg_kd.cli import PAPER
from seg_kd.method.objectives import LOGIT
from seg_kd.rivals.presets import RIVALS
from seg_kd.study import stages
from seg_kd.study.arms import budgets, objectives, place, students, teacher
from seg_kd.study.calibration import EqualTime, compact, drifted, settled, unequal_time
from seg_kd.study.configs import Student
from seg_kd.study.figures import equal_time_figure
from seg_kd.study.own_arms import Affordable
from seg_kd.study.recipes import (
    CAMVID_MAPS,
    SCENES,
    camvid_teachers,
    comparison,
    equal_time,
    equal_time_camvid,
    equal_time_camvid_tuning,
    equal_time_digits,
)
from seg_kd.study.tables import comparison_table, cost_table, crossing
from seg_kd.train import Job, Trained
from seg_kd.use.data import LabelMaps, Scenes


def fake_calibration(**seconds: float) -> Calibration:
    steps = {name.replace("_", "+"): [value] * 3 for name, value in seconds.items()}
    return Calibration(steps, steps, 3, 0, 0, 1, {})


COSTS = {"plain": 0.5, "logit": 1.0, "feature": 1.25, "feature_logit": 1.6}
FACTS: dict[str, Any] = {
    "ratios": {name.replace("_", "+"): cost for name, cost in COSTS.items()},
    "calibrations": [compact(fake_calibration(**COSTS))],
    "last": None,
}


def session(study: Study, out: Path, folder: Path | None = None) -> Session:
    return Session(PAPER, study, out, folder)


def test_digits_from_nothing_to_a_report(
    tiny: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce_study(session(tiny, tmp_path), (0,))
    records = RunFolder(tmp_path / tiny.name, tiny.name).read()
    assert {r.arm for r in records} == {
        "teacher",
        "plain-equal-time-8",
        "logit-equal-time-8",
        "feature-equal-time-8",
        "feature-logit-equal-time-8",
    }
    assert all(0 <= r.metrics["miou"] <= 100 and r.status == "complete" for r in records)
    facts = read_facts(tmp_path, tiny)
    assert facts is not None
    assert facts["last"]
    assert facts["closed"]
    made = filled(tmp_path, tiny)
    for record in records:
        if record.arm != "teacher":
            arm = made.arm(record.arm)
            assert record.metrics["iterations"] == arm.config.iterations
            (config,) = (c for n, c in RunFolder(tmp_path / tiny.name, "").configs().items()
                         if n == record.config)  # fmt: skip
            assert config["objective"]["name"] == arm.config.objective.name
    assert "equal wall-clock time" in capsys.readouterr().out
    kept = [p for p in (tmp_path / tiny.name).iterdir() if p.is_file()]
    files = {path: path.read_bytes() for path in kept}
    reproduce_study(session(tiny, tmp_path), (0,))  # nothing is left to do
    assert {path: path.read_bytes() for path in kept} == files
    (kept_teacher,) = (tmp_path / "work" / tiny.name / "teacher").rglob("model.safetensors")
    floats = [v for v in load_file(kept_teacher).values() if v.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}  # scored as it is kept
    svg = tmp_path / "figures" / "equal-time-digits-smoke.svg"
    assert svg.read_bytes().startswith(b"<?xml")


def test_folder_recipe_runs_on_a_label_map_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = equal_time_camvid("smoke")

    def smaller(arm: Arm) -> Arm:
        view = replace(arm.config.view, crop=(32, 32))
        starts = tuple(map(smaller, arm.starts_from))
        return replace(arm, config=replace(arm.config, view=view), starts_from=starts)

    study = replace(study, arms=tuple(map(smaller, study.arms)), prepare=EqualTime(2, False))
    reproduce_study(session(study, tmp_path / "out", folder), (0,))
    assert len(RunFolder(tmp_path / "out" / study.name, study.name).read()) == 8
    # Squares are not captioned as CamVid's road scenes, whatever the study is called.
    said = "images of the given folder, not the CamVid of the committed records; scored on: val"
    shown = capsys.readouterr()
    assert f"Data: {said} split." in shown.out
    assert f"camvid: {said}" in shown.err
    assert "CamVid road scenes" not in shown.out
    results = load_results(PAPER, study, tmp_path / "out")
    _, drawing = equal_time_figure(results)
    assert "Students at equal time on the given folder" in drawing.axes[0].get_title()
    assert all(each.data_name == "a folder given as camvid" for each in results.records)


def test_a_set_is_known_by_the_fingerprints_of_the_records(tmp_path: Path) -> None:
    studies = [equal_time_camvid("cpu"), camvid_teachers("cpu"), equal_time_camvid_tuning("cpu")]
    found = [load_results(PAPER, study, PAPER.results) for study in studies]
    assert {r.data_fingerprint for f in found for r in f.records} == set(CAMVID_MAPS.known or ())
    for results in found:
        assert results.sentence == results.study.data.sentence
        assert place(results) == "CamVid"
    # Committed values stand beside new ones of the same data only.
    for name in (*(CAMVID_MAPS.known or ())[:1], "another"):
        opened = {CAMVID_MAPS: SimpleNamespace(fingerprint=name)}
        shipped = load_results(PAPER, studies[0], tmp_path, opened).shipped
        assert not shipped  # its verdicts were withdrawn


def hundred(study: Study) -> Study:
    """The comparison at a budget of 100, with equal iterations and controls."""
    like = students(study, "time")[0].config
    arms = comparison(like, teacher(study), objectives(study), (100,), (100,), 400, seed=0)
    return replace(study, arms=arms)


def test_calibration_gives_equal_time(tiny: Study) -> None:
    study = EqualTime(2).fill(hundred(tiny), FACTS)
    lengths = {a.name: a.config.iterations for a in study.arms if isinstance(a.config, Student)}
    assert lengths == {
        "plain, equal time, 100": 200,
        "logit, equal time, 100": 100,
        "feature, equal time, 100": 80,
        "feature+logit, equal time, 100": 62,
        "plain, equal iterations, 100": 100,
        "feature, equal iterations, 100": 100,
        "feature+logit, equal iterations, 100": 100,
        "plain, equal time, 400": 800,
        "logit, untrained teacher, equal time, 100": 100,
    }
    controls = [arm.name for arm in study.arms if arm.control]
    assert controls == [
        "plain, equal time, 400",
        "teacher with random weights",
        "logit, untrained teacher, equal time, 100",
    ]
    like = students(study, "time")[0].config
    short = replace(tiny, arms=comparison(like, teacher(tiny), objectives(tiny), (1,)))
    with pytest.raises(UserError, match="too short for one iteration"):
        EqualTime(2).fill(short, FACTS)


def keys(study: Study, facts: dict[str, Any]) -> dict[str, str]:
    """The key of every arm, for data of one fingerprint."""
    study = EqualTime(2).fill(study, facts)
    return {a.name: recipe_key(PAPER, a) + data_key(a, 0, lambda _: "data") for a in study.arms}


def test_an_arm_more_leaves_every_other_run_current(tiny: Study) -> None:
    study = hundred(tiny)
    before = keys(study, FACTS)
    like, old = students(study, "time")[0].config, teacher(study)
    rival = replace(LOGIT, name="rival", temperature=3.0)
    more = (*objectives(study), rival)
    facts = {**FACTS, "ratios": {**FACTS["ratios"], "rival": 2.0}}
    # An objective, two budgets, another control and another table.
    arms = comparison(like, old, more, (50, 100, 200), (100, 200), 800, seed=0)
    larger = replace(study, arms=arms, tables=(*study.tables, study.tables[0]))
    after = keys(larger, facts)
    shared = before.keys() & after.keys()
    assert len(shared) == len(before) - 2  # the long control and the one of the last budget
    assert all(after[name] == before[name] for name in shared)
    # And what decides a result changes its key, and that of what starts from it only.
    other = replace(old, config=replace(old.config, iterations=7))
    changed = keys(replace(study, arms=comparison(like, other, objectives(study), (100,))), FACTS)
    assert changed["plain, equal time, 100"] == before["plain, equal time, 100"]
    assert changed["logit, equal time, 100"] != before["logit, equal time, 100"]


def test_a_new_objective_is_timed_beside_the_reference_only(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[list[str]] = []

    def fake(self: EqualTime, study: Study, session: Session, which: list[Any]) -> Calibration:
        timed.append([each.name for each in which])
        return fake_calibration(**{o.name.replace("+", "_"): 2.0 for o in which})

    monkeypatch.setattr(EqualTime, "_calibrate", fake)
    prepare = EqualTime(2, settled=False)
    like = students(tiny, "time")[0].config
    rival = replace(LOGIT, name="rival", temperature=3.0)
    arms = comparison(like, teacher(tiny), (*objectives(tiny), rival), (8,))
    facts = prepare.measure(replace(tiny, arms=arms), session(tiny, tmp_path), FACTS)
    assert timed == [["logit", "rival"]]
    assert facts["ratios"] == {**FACTS["ratios"], "rival": 1.0}
    assert len(facts["calibrations"]) == 2
    assert prepare.measure(replace(tiny, arms=arms), session(tiny, tmp_path), facts) is facts


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


def test_moved_costs_refuse_the_comparison(tiny: Study) -> None:
    same = {**FACTS, "last": compact(fake_calibration(**COSTS))}
    assert drifted(same) == {}
    moved = {**FACTS, "last": compact(fake_calibration(**{**COSTS, "feature": 1.5}))}
    assert drifted(moved) == {"feature": pytest.approx(0.2)}
    # An objective that was added after the last calibration moves nothing.
    later = compact(fake_calibration(logit=1.0, rival=2.0))
    assert drifted({**moved, "calibrations": [*FACTS["calibrations"], later]}) == drifted(moved)
    shipped = load_results(PAPER, equal_time_digits("cpu"), PAPER.results)
    shipped.facts = moved
    with pytest.raises(UserError, match=r"feature by \+20%.*--recalibrate"):
        EqualTime(2).refuse(shipped)


def test_a_refused_set_stays_refused(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, moved = (compact(fake_calibration(**{**COSTS, "feature": f})) for f in (1.25, 1.5))
    monkeypatch.setattr(EqualTime, "_calibrate", lambda *_: fake_calibration(**COSTS))
    again = EqualTime(2).close(tiny, session(tiny, tmp_path), {**FACTS, "last": moved})
    assert again["last"]["seconds"] == {k: v * 2 for k, v in quiet["seconds"].items()}  # two agreed
    assert drifted(again) == {"feature": pytest.approx(0.2)}
    EqualTime(2).check(again)


def test_a_verdict_at_unequal_time_is_suspended() -> None:
    shipped = load_results(PAPER, equal_time_digits("cpu"), PAPER.results)

    def said(arm: str) -> str:
        claim = Claim("one", "says", (), shipped.study.name, "miou", arm, "plain-equal-time-240",
                      "superiority")  # fmt: skip
        return unequal_time(shipped, claim)

    assert said("logit-equal-time-240") == ""
    assert "12.2 % less time than planned" in said("feature-logit-equal-time-240")


def test_a_diverged_run_is_recorded_as_failed_and_the_others_go_on(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = students(tiny, "time")[0].config
    arms = comparison(like, teacher(tiny), objectives(tiny)[:2], (8,))
    study = equal_time(replace(tiny, arms=arms), rounds=2)
    straight = stages.train

    def diverging(job: Job) -> Trained:
        if job.label.startswith("plain"):  # not the teacher, which trains plainly too
            raise DivergedError("loss is not finite (loss): lower the learning rate")
        return straight(job)

    monkeypatch.setattr(stages, "train", diverging)
    reproduce_study(session(study, tmp_path), (0,))
    status = {r.arm: r.status for r in RunFolder(tmp_path / study.name, study.name).read()}
    assert status == {
        "plain-equal-time-8": "failed",
        "logit-equal-time-8": "complete",
        "teacher": "complete",
    }


def test_crossing_is_interpolated_in_the_logarithm_of_the_budget() -> None:
    assert crossing((100, 400), (-1.0, 1.0)) == (
        "the mean effect rises through zero near 200 logit iterations"
    )
    assert "falls through zero near 100" in crossing((50, 200, 400), (3.0, -3.0, -4.0))
    assert crossing((100, 200), (-1.0, -2.0)) == (
        "no crossing, the mean effect is never above zero"
    )


def test_committed_numbers_stand_beside_new_ones_only() -> None:
    study = equal_time_digits("cpu")
    shipped = load_results(PAPER, study, PAPER.results)
    last = budgets(study, "time")[-1]
    plain = comparison_table(shipped, "time", last)
    assert "committed" not in [column.name for column in plain.columns]
    assert shipped_values(PAPER, study) == {}  # its verdicts were withdrawn
    means = {
        arm.id: sum(values) / len(values)
        for arm in students(study, "time", last)
        if (values := shipped.values(arm, "miou"))
    }
    beside = replace(shipped, shipped=means)
    table = comparison_table(beside, "time", last)
    names = [column.name for column in table.columns]
    for row in table.rows:
        cells: dict[str, Any] = dict(zip(names, row, strict=True))
        if cells["committed"] is not None:
            assert cells["committed"] == pytest.approx(cells["mIoU"].mean, abs=1e-3)
    assert sum(row[names.index("committed")] is not None for row in table.rows) == 5


def test_the_cost_table_counts_threads() -> None:
    found = load_results(PAPER, equal_time_digits("cpu"), PAPER.results)
    first = found.facts["calibrations"][0]
    for threads, said in ((1, "rounds, 1 thread, "), (2, "rounds, 2 threads, ")):
        facts = {**found.facts, "calibrations": [{**first, "threads": threads}]}
        assert said in " ".join(cost_table(replace(found, facts=facts)).notes)


def test_damaged_facts_are_named(tiny: Study, tmp_path: Path) -> None:
    write_facts(tmp_path, tiny, FACTS)
    assert read_facts(tmp_path, tiny) == json.loads(json.dumps(FACTS))
    path = tmp_path / tiny.name / "prepared.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=r"prepared\.json is damaged.*--recalibrate"):
        run_missing(session(tiny, tmp_path), (0,))
    # Nothing is deleted, and --recalibrate begins anew.
    run_missing(session(tiny, tmp_path), (0,), again=True)
    assert list((tmp_path / tiny.name).glob("prepared-until-*.json"))


def test_facts_of_another_form_are_refused() -> None:
    for _, study in PAPER.every_study():
        facts = read_facts(PAPER.results, study)
        if facts is not None:
            EqualTime(2).check(facts)
    good = FACTS["calibrations"][0]
    no_logit = compact(fake_calibration(plain=0.5))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ratios": None}, "ratios: Input should be"),
        ({"ratios": {**FACTS["ratios"], "plain": "0.5"}}, r"ratios\.plain: Input should be"),
        ({"ratios": {**FACTS["ratios"], "plain": 0}}, r"ratios\.plain: Input should be greater"),
        ({"ratios": {**FACTS["ratios"], "plain": float("nan")}}, r"ratios\.plain"),
        ({"ratios": {"logit": 1.0}}, "feature, feature.logit, plain: a ratio"),
        ({"calibrations": {}}, "calibrations: Input should be"),
        ({"calibrations": []}, "a ratio without a calibration"),
        ({"calibrations": [{**good, "rounds": 2}]}, "the calibration is damaged"),
        ({"calibrations": [{**good, "machine": None}]}, r"calibrations\.0\.machine"),
        ({"last": [1]}, "last: "),
        ({"last": no_logit}, "a calibration without logit"),
    ]
    for change, problem in cases:
        with pytest.raises((ValueError, UserError), match=problem):
            EqualTime(2).check({**FACTS, **change})
    with pytest.raises(ValueError, match="ratios: Field required"):
        EqualTime(2).check({})
    Affordable(9).check({"iterations": 3})
    for facts in ({}, {"iterations": "3"}, {"iterations": 0}):
        with pytest.raises(ValueError, match="iterations: "):
            Affordable(9).check(facts)


def test_every_recipe_says_what_it_would_run() -> None:
    for recipe, study in PAPER.every_study():
        printed = plan(session(study, Path("nowhere")), (0, 1), True)
        assert recipe.name in printed
        assert "runs to make" in printed
    assert not Path("nowhere").exists()


def test_every_hop_imports_the_next() -> None:
    for recipe, study in PAPER.every_study():
        for arm in study.arms:
            assert broken(recipe, arm) == []
    recipe, study = PAPER.every_study()[1]
    both = next(arm for arm in study.arms if "feature+logit" in arm.name)
    names = [hop.target.__qualname__ for hop in trip(recipe, both)]
    assert names == [
        "rivals_digits", "student", "Distiller.forward", "logit_distillation",
        "feature_distillation",
    ]  # fmt: skip
    for each in RIVALS.values():
        taught = replace(both, config=replace(both.config, objective=each))
        assert broken(recipe, taught) == []


def test_scales_differ_in_numbers_only() -> None:
    def form(value: object) -> object:
        """Names and kinds of everything, without the numbers."""
        if is_dataclass(value) and not isinstance(value, type):
            return {f.name: form(getattr(value, f.name)) for f in fields(value)}
        return type(value).__name__ if isinstance(value, int | float | tuple) else value

    for recipe in (each for each in PAPER.recipes if each.make(each.scales[0]).arms):
        forms = [
            form(replace(teacher(study).config, weights="", sha256=""))
            if kind == "teacher" else form(students(study, "time")[0].config)
            for study in (recipe.make(scale) for scale in recipe.scales)
            for kind in ("teacher", "student")
            if kind == "teacher" or students(study, "time")
        ]  # fmt: skip
        step = len(forms) // len(recipe.scales)
        assert all(forms[i] == forms[i % step] for i in range(len(forms))), recipe.name


def test_another_teacher_makes_other_runs_and_nothing_is_lost(tiny: Study, tmp_path: Path) -> None:
    like = students(tiny, "time")[0].config
    study = replace(tiny, arms=comparison(like, teacher(tiny), objectives(tiny)[:2], (8,)))
    assert run_missing(session(study, tmp_path), (0,)) == 3
    old = teacher(study)
    longer = replace(old, config=replace(old.config, iterations=7))
    other = replace(study, arms=comparison(like, longer, objectives(tiny)[:2], (8,)))
    # The plain student does not start from a teacher: its run stays.
    assert run_missing(session(other, tmp_path), (0,)) == 2
    assert load_results(PAPER, other, tmp_path).stale == 2
    assert load_results(PAPER, study, tmp_path).stale == 2
    assert run_missing(session(study, tmp_path), (0,)) == 0  # both sets are there


def test_own_data_are_fingerprinted_as_they_are_read(folder: Path) -> None:
    maps = LabelMaps("mine", tuple("abcdefghijk"), ignore_values=(11, 255), own=True)
    first = maps.open(folder).fingerprint
    assert maps.open(folder).fingerprint == first
    assert replace(maps, ignore_values=(11, 12, 255)).open(folder).fingerprint != first


def test_fingerprint_of_the_digits_is_that_of_the_records() -> None:
    record = load_results(PAPER, equal_time_digits("cpu"), PAPER.results).records[0]
    assert Scenes(SCENES, 4000, 500).open(None).fingerprint == record.data_fingerprint


def test_a_table_shows_the_trip_of_its_own_rows(capsys: pytest.CaptureFixture[str]) -> None:
    for table, row in (
        ("equal-time-digits-240", "logit, equal time, 240"),
        ("equal-iterations-digits-240", "logit, equal time, 240"),
    ):
        assert main(PAPER, ["table", table]) == 0
        assert f"row        {row}\n" in capsys.readouterr().out
