"""The tables of the regime: step costs, equal time, equal iterations, longer, break-even."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.study.paper import Arm, Study, ids
from repro_shared.study.results import Results
from seg_kd.method.objectives import PLAIN
from seg_kd.study.break_even import break_even_table
from seg_kd.study.calibration import REFERENCE, SETTLED_LIMIT, drifted
from seg_kd.study.configs import Match
from seg_kd.study.regime_claims import (
    MATCHES,
    arm_of,
    budgets,
    compared,
    rivals,
    teacher,
    times,
    warm,
    warnings,
)
from seg_kd.study.settled import CANONICAL_NAMES


def tables_of(study: Study) -> tuple[Callable[[Results], Table], ...]:
    """What tables a study of the regime has."""
    found: list[Callable[[Results], Table]] = [cost_table]
    for match in MATCHES:
        found += [
            partial(matched_table, match=match, budget=budget) for budget in budgets(study, match)
        ]
    found += [extended_table] if len(times(study)) > 1 else []
    found += [break_even_table] if rivals(study) else []
    return (*found, *([verdicts] if study.claims else []))


def tag(study: Study) -> str:
    """`rivals-camvid`, as tables and figures are named."""
    return study.name.replace("_", "-")


def verdicts(results: Results) -> Table:
    """The claims and what follows from the records."""
    study = results.study
    name = f"verdicts-{tag(study)}"
    title = f"Verdicts, {study.name}"
    return verdict_table(study.claims, results.verdicts, name, title, results.sentence)


def cost_table(results: Results) -> Table:
    """S1: what a step of each objective costs beside the reference's, with the teacher online."""
    study, facts = results.study, results.facts
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(arm.config.objective.name for arm in compared(study)):
        ratios = [
            a / b
            for each in facts.get("calibrations", ())
            if name in each["seconds"]
            for a, b in zip(each["seconds"][name], each["seconds"][REFERENCE], strict=True)
        ]
        if not ratios:
            continue
        found = interval([math.log(ratio) for ratio in ratios])
        ends = found and Interval(*(None if v is None else math.exp(v) for v in found))  # type: ignore[arg-type]
        said = ""
        if name not in (PLAIN.name, *CANONICAL_NAMES) and ends and ends.low and ends.high:
            said = "supported" if ends.low > 1 + SETTLED_LIMIT else "inconclusive"
            said = "contradicted" if ends.high < 1 + SETTLED_LIMIT else said
        rows.append((name, facts["ratios"][name], ends, len(ratios), said))
    moved = drifted(facts)
    return Table(
        f"cost-{tag(study)}",
        f"Cost of a training step relative to logit distillation, {study.name}",
        (Column("objective"), Column("charged", "x logit", 3),
         Column("mean of rounds", "x logit", 3),
         Column("n", "rounds", 0), Column("S1: costlier by more than 5 %", bold=True)),
        tuple(rows),
        ("Whole steps with an online teacher, interleaved and alone on the machine: what an "
         "arm is charged. The runs read kept outputs, and their own seconds count for nothing.",
         "Mean of rounds: geometric, with its 95 % t interval over rounds, which are not seeds.",
         *((f"Moved by more than 10 % during the runs: {', '.join(moved)}.",) if moved else ())),
        ids(compared(study)),
    )  # fmt: skip


def matched_table(results: Results, match: Match, budget: int) -> Table:
    """Every objective at one budget, matched by time or by iterations."""
    study, rows, arms = results.study, list[tuple[Cell, ...]](), list[Arm]()
    plain, best = arm_of(study, PLAIN.name, match, budget), results.values(teacher(study), "miou")
    base = {r.seed: r.metrics["miou"] for r in results.runs(plain)} if plain else {}
    start = warm(study)
    if start:
        rows.append(_row(results, "the warm start", start, {}, best))
        arms.append(start)
    for name in dict.fromkeys(arm.config.objective.name for arm in compared(study)):
        arm = arm_of(study, name, match, budget)
        if arm is not None:
            arms.append(arm)
            rows.append(_row(results, name, arm, base, best))
    if match == "time" and budget == budgets(study, "time")[-1]:
        for arm in (a for a in study.arms if a.control and results.runs(a)):
            arms.append(arm)
            rows.append(_row(results, arm.name, arm, {}, best))
    rows.append(
        (
            "teacher",
            None,
            None,
            *(
                _of(results, teacher(study), key)
                for key in ("miou", "miou/all classes", "pixel_accuracy")
            ),
            None,
            100.0 if best else None,
        )
    )
    words = "wall-clock time" if match == "time" else "iterations"
    return Table(
        f"equal-{match}-{tag(study)}-{budget}",
        f"{study.name}: equal {words}, budget of {budget} logit iterations",
        (Column("student"), Column("iterations", "", 0), Column("charged time", "x budget", 3),
         Column("mIoU, scored classes", "%", 2), Column("mIoU, all classes", "%", 2),
         Column("pixel accuracy", "%", 2), Column("above plain", "mIoU points", 2, signed=True),
         Column("of teacher", "%", 1)),
        tuple(rows),
        (*results.notes,
         "Brackets: 95 % Student t interval over seeds (start, order, augmentation; not over data)."
         " Charged time: iterations times what a step with an online teacher costs, over the "
         "budget's. No number here is the paper's.", *warnings(results)),
        ids(arms),
    )  # fmt: skip


def _row(
    results: Results, label: str, arm: Arm, base: dict[int, float], best: list[float]
) -> tuple[Cell, ...]:
    runs = results.runs(arm)
    values = [run.metrics["miou"] for run in runs]
    effects = [run.metrics["miou"] - base[run.seed] for run in runs if run.seed in base]
    ratio = results.facts.get("ratios", {}).get(arm.config.objective.name)
    charged = None
    if ratio and arm.config.role == "compared":
        charged = arm.config.iterations * ratio / arm.config.budget
    return (
        label,
        arm.config.iterations,
        charged,
        *(_of(results, arm, key) for key in ("miou", "miou/all classes", "pixel_accuracy")),
        interval(effects) if label != PLAIN.name else None,
        100 * sum(values) / len(values) / best[0] if values and best else None,
    )


def _of(results: Results, arm: Arm, key: str) -> Interval | None:
    return interval(results.values(arm, key))


def extended_table(results: Results) -> Table:
    """Equal time from the shortest budget to the longest: who gains from more of it?"""
    study, rows, arms = results.study, list[tuple[Cell, ...]](), list[Arm]()
    lengths = times(study)
    for name in dict.fromkeys(arm.config.objective.name for arm in compared(study)):
        found = [arm_of(study, name, "time", budget) for budget in lengths]
        if found[-1] is None:
            continue
        arms += [arm for arm in found if arm]
        first = {r.seed: r.metrics["miou"] for r in results.runs(found[0])} if found[0] else {}
        gains = [r.metrics["miou"] - first[r.seed] for r in results.runs(found[-1])
                 if r.seed in first]  # fmt: skip
        rows.append((name, *(_of(results, a, "miou") if a else None for a in found),
                     interval(gains)))  # fmt: skip
    return Table(
        f"extended-{tag(study)}",
        f"{study.name}: mIoU with up to {lengths[-1] // lengths[0]} times the time",
        (Column("student"), *(Column(f"{b // lengths[0]} x", "%", 2) for b in lengths),
         Column("gain", "mIoU points", 2, signed=True)),
        tuple(rows),
        (*results.notes, f"1 x: the time of {lengths[0]} logit iterations. The gain is of the last "
         "over the first, paired by seed.", *warnings(results)),
        ids(arms),
    )  # fmt: skip
