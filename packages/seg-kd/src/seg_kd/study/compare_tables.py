"""What `compare` writes: a table of scores, the verdicts, and a figure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.figures import MARKERS, PALETTE, caption, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results
from seg_kd.study.arms import WORDS, students
from seg_kd.study.calibration import drifted

CEILING = "teacher"  # id of the arm that scores it


def scores(results: Results) -> Table:
    """Score of every arm, and what it gains over the first."""
    study, rows = results.study, list[tuple[Cell, ...]]()
    arms = [arm for arm in students(study) if not arm.control]
    before = _by_seed(results, arms[0])
    for arm in arms:
        found = _by_seed(results, arm)
        effects = [value - before[seed] for seed, value in found.items() if seed in before]
        runs = results.runs(arm)
        rows.append((
            arm.name,
            int(runs[0].metrics["iterations"]) if runs else None,
            sum(run.seconds for run in runs) / len(runs) if runs else None,
            interval([*found.values()]),
            None if arm is arms[0] else interval(effects),
            " ".join(f"{value:.1f}" for value in found.values()),
        ))  # fmt: skip
    for value in results.values(study.arm(CEILING), "miou"):
        rows.append((CEILING, None, None, value, None, ""))
    first = arms[0].name
    failed = [run for run in results.records if run.status == "failed"]
    return Table(
        "compare-scores",
        f"Students after equal wall-clock time: {_budget(results)}",
        (
            Column("objective"),
            Column("iterations", "", 0),
            Column("training", "s", 1),
            Column("mIoU", "%", 2),
            Column(f"above {first}", "mIoU points", 2, signed=True),
            Column("mIoU by seed"),
        ),
        tuple(rows),
        (
            *results.notes,
            f"Brackets: 95 % Student t interval over seeds, of mIoU and of the differences to "
            f"{first} paired by seed, each by itself; verdicts are corrected for several looks.",
            *(f"{run.arm}, seed {run.seed}, failed: {run.notes}." for run in failed),
            *_warnings(results),
        ),
        ids(arms),
    )


def verdicts(results: Results) -> Table:
    """Whether each arm beats the first."""
    claims = results.study.claims
    title = f"Verdicts, each against {students(results.study)[0].name}"
    table = verdict_table(claims, results.verdicts, "compare-verdicts", title, results.sentence)
    return replace(table, notes=(*table.notes, *_warnings(results)))


def figure(results: Results) -> tuple[str, Figure]:
    """mIoU of each arm: the mean with its interval, every seed a point."""
    arms = [arm for arm in students(results.study) if not arm.control]
    drawing = new_figure(6.4, 1.6 + 0.45 * len(arms))
    axes = drawing.add_subplot()
    for row, arm in enumerate(arms):
        look: dict[str, Any] = {  # told apart by their rows, so that colours may come again
            "color": PALETTE[row % len(PALETTE)],
            "marker": MARKERS[row % len(MARKERS)],
        }
        values = results.values(arm, "miou")
        axes.plot(values, [row] * len(values), linestyle="none", alpha=0.45, markersize=3.5, **look)
        if (found := interval(values)) is not None:
            low, high = found.low or found.mean, found.high or found.mean
            reach = ([found.mean - low], [high - found.mean])
            axes.errorbar([found.mean], [row], xerr=reach, capsize=2.5, linestyle="none", **look)
    for value in results.values(results.study.arm(CEILING), "miou"):
        axes.axvline(value, color="0.5", linestyle=":", label=CEILING)
        axes.legend(loc="best")
    axes.set_yticks(range(len(arms)), [words(arm) for arm in arms])
    axes.invert_yaxis()
    axes.set_xlabel("mIoU (percent)")
    refused = " (refused: step costs moved)" if drifted(results.facts) else ""
    axes.set_title(f"Students after equal time{refused}")
    seeds = len(results.seeds)
    caption(
        drawing,
        f"Points: single seeds ({seeds}); bars: 95 % t intervals of the mean. Budget: "
        f"{_budget(results)}. Data: {results.sentence}.",
    )
    return "compare", drawing


def _by_seed(results: Results, arm: Arm) -> dict[int, float]:
    return {run.seed: run.metrics["miou"] for run in results.runs(arm)}


def words(arm: Arm) -> str:
    return WORDS.get(arm.name, arm.name)


def _budget(results: Results) -> str:
    prepare: Any = results.study.prepare
    budget = students(results.study)[0].config.budget
    logit = f"{budget} iterations of logit distillation" if budget else "not measured yet"
    return f"{prepare.seconds:g} s, {logit}" if prepare.seconds else logit


def _warnings(results: Results) -> tuple[str, ...]:
    moved = drifted(results.facts)
    listed = ", ".join(f"{name} {change:+.0%}" for name, change in moved.items())
    return (f"Refused: step costs moved by more than 10 % ({listed}).",) if moved else ()
