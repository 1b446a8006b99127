"""The tables of a comparison: costs, equal time and iterations, effect by budget, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Study, ids
from repro_shared.study.results import Results
from seg_kd.method.objectives import PLAIN
from seg_kd.study.arms import budgets, objectives, place, students, tag, teacher, untrained
from seg_kd.study.calibration import REFERENCE, drifted, realised_time, time_off
from seg_kd.study.configs import Match

LEAST_GAP = 3.0


def tables_of(study: Study) -> tuple[Callable[[Results], Table], ...]:
    """What tables a study has."""
    times = budgets(study, "time")
    found = [cost_table]
    found += [partial(comparison_table, match="time", budget=budget) for budget in times]
    found += [
        partial(comparison_table, match="iterations", budget=b)
        for b in budgets(study, "iterations")
    ]
    found += [curve_table] if len(times) > 1 else []
    return (*found, *([verdicts] if study.claims else []))


def teachers_table(results: Results) -> Table:
    """mIoU of teachers of several lengths."""
    rows = [
        (arm.name, *(results.values(arm, name)[0] if results.runs(arm) else None
                     for name in ("miou", "pixel_accuracy")))
        for arm in results.study.arms
    ]  # fmt: skip
    where = place(results)
    return Table(
        "teachers-camvid",
        f"{where[:1].upper()}{where[1:]}'s teacher by length of its training, one seed each",
        (Column("teacher"), Column("mIoU", "%", 2), Column("pixel accuracy", "%", 2)),
        tuple(rows),
        results.notes,
    )


def verdicts(results: Results) -> Table:
    """The claims and what follows from the records."""
    study = results.study
    table = verdict_table(
        study.claims,
        results.verdicts,
        f"verdicts-{tag(study)}",
        f"Verdicts, {study.name}",
        results.sentence,
    )
    return Table(
        table.id, table.title, table.columns, table.rows, (*table.notes, *warnings(results)),
        table.arms,
    )  # fmt: skip


def cost_table(results: Results) -> Table:
    """What a step of each objective costs, and what that gives it."""
    study, facts = results.study, results.facts
    last = budgets(study, "time")[-1]
    lengths = {
        arm.config.objective.name: arm.config.iterations
        for arm in students(study, "time", last)
        if not untrained(arm)
    }
    rows: list[tuple[Cell, ...]] = []
    for each in objectives(study):
        timed = [c for c in facts.get("calibrations", ()) if each.name in c["seconds"]]
        if not timed:
            continue
        seconds = timed[0]["seconds"]
        pairs = sorted(a / b for a, b in zip(seconds[each.name], seconds[REFERENCE], strict=True))
        tenth = round(0.1 * (len(pairs) - 1))
        ratio = facts["ratios"][each.name]
        rows.append((each.name, ratio, pairs[tenth], pairs[-1 - tenth], lengths[each.name]))
    made = "; ".join(
        f"{form['rounds']} interleaved rounds, "
        f"{form['threads']} thread{'s' * (form['threads'] > 1)}, "
        f"{form['machine'].get('gpu') or form['machine'].get('cpu', 'unknown processor')}"
        for form in facts.get("calibrations", ())
    )
    return Table(
        f"cost-{tag(study)}",
        f"Cost of a training step relative to logit distillation, {study.name}",
        (
            Column("objective"),
            Column("median step", "x logit", 3),
            Column("10 %", "x logit", 3),
            Column("90 %", "x logit", 3),
            Column("iterations at equal time", "", 0),
        ),
        tuple(rows),
        (
            f"{made or 'Not measured yet'}.",
            "A step is data, teacher, student, loss, backward and optimiser. 10 % and 90 % are of "
            "the ratios taken round by round.",
        ),
        ids(students(study, "time", last)),
    )


def comparison_table(results: Results, match: Match, budget: int) -> Table:
    """mIoU of every objective at one budget, matched by time or by iterations."""
    study = results.study
    rows: list[tuple[Cell, ...]] = []
    plain = _plain(study, match, budget)
    base, best = results.values(plain, "miou"), results.values(teacher(study), "miou")
    arms = _compared(results, match, budget)
    for label, arm in arms:
        values, runs = results.values(arm, "miou"), results.runs(arm)
        mean = sum(values) / len(values) if values else None
        beside = (results.shipped.get(arm.id),) if results.shipped else ()
        rows.append((
            label,
            int(runs[0].metrics["iterations"]) if runs else None,
            realised_time(results, arm),
            interval(values),
            100 * mean / best[0] if mean is not None and best else None,
            gap_closed(mean, base, best),
            *beside,
            " ".join(f"{v:.1f}" for v in values),
        ))  # fmt: skip
    if best:
        beside = (None,) if results.shipped else ()
        rows.append(("teacher", None, None, best[0], 100.0, None, *beside, ""))
    matched = "wall-clock time" if match == "time" else "iterations"
    several = len(budgets(study, "time")) > 1
    return Table(
        f"equal-{match}-{tag(study)}" + (f"-{budget}" if several else ""),
        f"{study.name}: equal {matched}, budget of {budget} logit iterations",
        (
            Column("student"),
            Column("iterations", "", 0),
            Column("realised time", "x logit", 3),
            Column("mIoU", "%", 2),
            Column("of teacher", "%", 1),
            Column("gap closed", "%", 1),
            *((Column("committed", "mIoU", 2),) if results.shipped else ()),
            Column("mIoU by seed"),
        ),
        tuple(rows),
        (
            *results.notes,
            "Brackets: 95 % Student t interval over seeds (initialisation, order, augmentation; "
            "not over data). Realised time: median over seeds of seconds / logit's seconds.",
            *_times_off(results, arms),
            "Gap closed: (student - plain) / (teacher - plain), negative for a student below the "
            f"plain one; given where the gap is at least {LEAST_GAP:g} mIoU. No number here is the "
            "paper's.",
            *warnings(results),
        ),
        ids(arm for _, arm in arms),
    )


def _plain(study: Study, match: Match, budget: int) -> Arm:
    found = students(study, match, budget)
    return next(arm for arm in found if arm.config.objective.name == PLAIN.name)


def _compared(results: Results, match: Match, budget: int) -> list[tuple[str, Arm]]:
    """Labels and arms of a table's rows; controls where they have run, below the last budget."""
    study = results.study
    found = [arm for arm in students(study, match, budget) if not arm.control]
    if match == "iterations":  # the reference has one arm at a budget, named for time
        found += [
            arm for arm in students(study, "time", budget)
            if arm.config.objective.name == REFERENCE and not arm.control
        ]  # fmt: skip
        order = [each.name for each in objectives(study)]
        found.sort(key=lambda arm: order.index(arm.config.objective.name))
    rows = [(arm.config.objective.name, arm) for arm in found]
    if match == "time" and budget == budgets(study, "time")[-1]:
        for arm in (a for a in students(study, "time") if a.control and results.runs(a)):
            name = arm.config.objective.name
            times = f"{arm.config.budget // budget} x time"
            rows.append((f"{name}, {'untrained teacher' if untrained(arm) else times}", arm))
    return rows


def _times_off(results: Results, arms: Sequence[tuple[str, Arm]]) -> tuple[str, ...]:
    """A note: how far each row's realised time is from what was planned for its iterations."""
    parts = []
    for label, arm in arms:
        reference = arm.config.objective.name == REFERENCE and not arm.control
        off = None if reference else time_off(results, arm)
        if off is not None:
            parts.append(f"{label} {100 * off:+.1f} %")
    return (f"Realised over planned time: {'; '.join(parts)} (aim: within 5 %).",) if parts else ()


def curve_table(results: Results) -> Table:
    """Effect of every distillation objective over plain training, and where it changes sign."""
    study, rows, notes = results.study, list[tuple[Cell, ...]](), list[str]()
    times = budgets(study, "time")
    matches: list[tuple[Match, int]] = [("time", budget) for budget in times]
    matches += [("iterations", budget) for budget in budgets(study, "iterations")]
    for objective in objectives(study)[1:]:
        means: list[float] = []
        for match, budget in matches:
            effects = paired_effects(results, objective.name, match, budget)
            if effects and match == "time":
                means.append(sum(effects) / len(effects))
            points = " ".join(f"{effect:+.1f}" for effect in effects)
            rows.append((objective.name, match, budget, interval(effects), len(effects), points))
        if len(means) == len(times):
            notes.append(f"{objective.name}: {crossing(times, means)}.")
    return Table(
        f"curve-{tag(study)}",
        f"{study.name}: mIoU above plain training, by budget",
        (
            Column("student"),
            Column("equal"),
            Column("budget", "logit iterations", 0),
            Column("effect", "mIoU points", 2),
            Column("n", "seeds", 0),
            Column("effects by seed"),
        ),
        tuple(rows),
        (
            *results.notes,
            "Paired by seed; 95 % Student t intervals, one at a time (verdicts are at the largest "
            "budget and corrected).",
            *notes,
            *warnings(results),
        ),
        ids(students(study, "time", times[0])),
    )


def paired_effects(results: Results, objective: str, match: Match, budget: int) -> list[float]:
    """mIoU of an objective minus that of plain training at equal time or iterations, by seed."""
    plain = {r.seed: r.metrics["miou"] for r in results.runs(_plain(results.study, match, budget))}
    arm = next(a for label, a in _compared(results, match, budget) if label == objective)
    return [r.metrics["miou"] - plain[r.seed] for r in results.runs(arm) if r.seed in plain]


def crossing(budgets: Sequence[int], effects: Sequence[float]) -> str:
    """Where the mean effect changes its sign, interpolated in the logarithm of the budget."""
    places = []
    for i in range(len(budgets) - 1):
        before, after = effects[i], effects[i + 1]
        if before <= 0 < after or before >= 0 > after:
            share = before / (before - after)
            place = budgets[i] * (budgets[i + 1] / budgets[i]) ** share
            places.append(f"{'rises' if after > 0 else 'falls'} through zero near {place:.0f}")
    if places:
        return "the mean effect " + " and ".join(places) + " logit iterations"
    side = "below" if max(effects) > 0 else "above"
    return f"no crossing, the mean effect is never {side} zero"


def warnings(results: Results) -> tuple[str, ...]:
    """What a reader must know before using the numbers."""
    notes, study = [], results.study
    moved = drifted(results.facts)
    if moved:
        listed = ", ".join(f"{name} {change:+.0%}" for name, change in moved.items())
        notes.append(
            f"Refused as a comparison at equal time: step costs moved by more than 10 % ({listed})."
        )
    elif results.facts and not results.facts.get("closed", False):
        notes.append("The second calibration has not been made yet.")
    best = results.values(teacher(study), "miou")
    plain = results.values(_plain(study, "time", budgets(study, "time")[-1]), "miou")
    if best and plain and best[0] - sum(plain) / len(plain) < LEAST_GAP:
        notes.append(
            f"The teacher is less than {LEAST_GAP:g} mIoU better than plain training: "
            "whatever is said of gaps is inconclusive."
        )
    return tuple(notes)


def gap_closed(
    mean: float | None, plain: Sequence[float], teacher: Sequence[float]
) -> float | None:
    """Share of the gap between plain student and teacher, percent; None for small gaps."""
    if mean is None or not plain or not teacher:
        return None
    base = sum(plain) / len(plain)
    gap = teacher[0] - base
    return 100 * (mean - base) / gap if gap >= LEAST_GAP else None
