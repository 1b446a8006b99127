"""Tables, figures and verdicts, made from the records of an output folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_shared.evidence.claims import judge, t_interval, verdict_table
from repro_shared.evidence.figures import house_style, line_styles, new_figure, save_figure
from repro_shared.evidence.measured import Measured, measure, read_measured
from repro_shared.evidence.records import RunRecord, read_record, read_records
from repro_shared.evidence.tables import Column, Table, write_tables
from repro_shared.runtime.errors import UserError
from seg_kd import METHOD_VERSION
from seg_kd.claims import CLAIMS
from seg_kd.plan import (
    REFERENCE,
    Match,
    Plan,
    arm_name,
    drifted,
    plan_path,
    read_plan,
)
from seg_kd.recipes.base import Recipe
from seg_kd.teachers import COMMITTED

TABLES = Path(__file__).parent / "tables"
DATA_SENTENCE = {
    "digit-scenes": "rendered: real MNIST digits composed on photographs",
    "camvid": "real photographs: CamVid road scenes, 240 x 180",
    "cityscapes": "real photographs: Cityscapes",
}
LEAST_GAP = 3.0


@dataclass
class Results:
    """Current records of a recipe in an output folder, and its plan."""

    recipe: Recipe
    plan: Plan
    records: list[RunRecord]
    stale: int

    def runs(self, arm: str) -> list[RunRecord]:
        """Complete runs of an arm by seed."""
        return [r for r in self.records if r.arm == arm and r.status == "complete"]

    def values(self, arm: str, metric: str = "miou") -> list[float]:
        """A metric of an arm, by seed."""
        return [record.metrics[metric] for record in self.runs(arm)]


def load_results(recipe: Recipe, out: Path) -> Results | None:
    """Records of the plan in `out`; None where nothing has been planned."""
    plan = read_plan(plan_path(out, recipe.name))
    if plan is None:
        return None
    records = read_records(out, recipe.name)
    # The newest complete run tells which set is current: its hash covers plan, teacher and recipe.
    students = [
        r for r in records if r.arm != "teacher" and r.recipe_config["ratios"] == plan.ratios
    ]
    current = max(students, key=lambda r: r.finished).recipe_hash if students else ""
    kept = [
        record
        for record in records
        if record.method_version == METHOD_VERSION
        and (record.arm == "teacher" or record.recipe_hash == current)
    ]
    stale = len(records) - len(kept)
    if not any(record.arm == "teacher" for record in kept):
        kept += committed_teacher(recipe)
    return Results(recipe, plan, kept, stale)


def committed_teacher(recipe: Recipe) -> list[RunRecord]:
    """The record beside the committed teacher's weights."""
    path = COMMITTED / Path(recipe.teacher.weights or "none").with_suffix(".json")
    return [read_record(path)] if path.is_file() else []


def suffix(recipe: Recipe) -> str:
    """`digits` of `equal_time_digits`, as tables and figures are named."""
    return recipe.name.removeprefix("equal_time_").replace("_", "-")


def tables(results: Results) -> list[Table]:
    """Equal time, equal iterations, cost, verdicts."""
    recipe = results.recipe
    found = [cost_table(results)]
    found += [comparison_table(results, "time", budget) for budget in recipe.budgets]
    found += [
        comparison_table(results, "iterations", budget) for budget in recipe.equal_iteration_budgets
    ]
    claims = CLAIMS.get(recipe.name, [])
    if claims:
        verdicts = judge(claims, results.records)
        table = verdict_table(
            claims,
            verdicts,
            f"verdicts-{suffix(recipe)}",
            f"Verdicts, {recipe.name}",
            DATA_SENTENCE[recipe.data.name],
        )
        notes = (*table.notes, *warnings(results))
        found.append(Table(table.id, table.title, table.columns, table.rows, notes))
    return found


def cost_table(results: Results) -> Table:
    """What a step of each objective costs, and what that gives it."""
    plan = results.plan
    reference = plan.first["seconds"][REFERENCE]
    rows = []
    for name, ratio in plan.ratios.items():
        pairs = sorted(a / b for a, b in zip(plan.first["seconds"][name], reference, strict=True))
        tenth = round(0.1 * (len(pairs) - 1))
        iterations = plan.iterations[str(results.recipe.budgets[-1])][name]
        rows.append((name, ratio, pairs[tenth], pairs[-1 - tenth], iterations))
    return Table(
        f"cost-{suffix(results.recipe)}",
        f"Cost of a training step relative to logit distillation, {results.recipe.name}",
        (
            Column("objective"),
            Column("median step", "x logit", 3),
            Column("10 %", "x logit", 3),
            Column("90 %", "x logit", 3),
            Column("iterations at equal time", "", 0),
        ),
        tuple(rows),
        (
            f"{plan.first['rounds']} interleaved rounds; {plan.first['threads']} threads; "
            f"{plan.first['machine'].get('cpu', 'unknown processor')}.",
            "A step is data, teacher, student, loss, backward and optimiser. 10 % and 90 % are of "
            "the ratios taken round by round.",
        ),
    )


def comparison_table(results: Results, match: Match, budget: int) -> Table:
    """mIoU of every objective at one budget, matched by time or by iterations."""
    recipe = results.recipe
    arms = [
        (objective.name, arm_name(objective.name, match, budget)) for objective in recipe.objectives
    ]
    if match == "time" and budget == recipe.budgets[-1]:
        if recipe.long_budget:
            times = recipe.long_budget // budget
            arms.append((f"plain, {times} x time", arm_name("plain", "time", recipe.long_budget)))
        arms.append(("logit, untrained teacher", arm_name("logit", "time", budget, True)))
        controls = len(recipe.objectives)
        arms = [a for i, a in enumerate(arms) if i < controls or results.runs(a[1])]
    teacher = results.values("teacher")
    plain = results.values(arm_name("plain", match, budget))
    reference = {r.seed: r.seconds for r in results.runs(arm_name(REFERENCE, "time", budget))}
    committed = committed_values(recipe)
    rows: list[tuple[str | float | int | None, ...]] = []
    for label, arm in arms:
        values, runs = results.values(arm), results.runs(arm)
        mean, low, high = interval(values)
        ratios = sorted(r.seconds / reference[r.seed] for r in runs if r.seed in reference)
        iterations = int(runs[0].metrics["iterations"]) if runs else None
        share = 100 * mean / teacher[0] if values and teacher and mean is not None else None
        rows.append((label, iterations, median(ratios), mean, low, high, share,
                     gap_closed(mean, plain, teacher), committed.get(arm),
                     " ".join(f"{v:.1f}" for v in values)))  # fmt: skip
    if teacher:
        rows.append(("teacher", None, None, teacher[0], None, None, 100.0, None, None, ""))
    seeds = sorted({r.seed for _, arm in arms for r in results.runs(arm)})
    matched = "wall-clock time" if match == "time" else "iterations"
    return Table(
        f"equal-{match}-{suffix(recipe)}" + (f"-{budget}" if len(recipe.budgets) > 1 else ""),
        f"{recipe.name}: equal {matched}, budget of {budget} logit iterations",
        (
            Column("student"),
            Column("iterations", "", 0),
            Column("time", "x logit", 3),
            Column("mIoU", "%", 2),
            Column("low", "%", 2),
            Column("high", "%", 2),
            Column("of teacher", "%", 1),
            Column("gap closed", "%", 1),
            Column("committed", "mIoU", 2),
            Column("mIoU by seed"),
        ),
        tuple(rows),
        (
            f"Data: {DATA_SENTENCE[recipe.data.name]}.",
            f"Seeds: {' '.join(map(str, seeds)) or 'none'}.",
            "Low and high: 95 % Student t interval over seeds (initialisation, order, "
            "augmentation; not over data). Realised time: median "
            "over seeds of seconds / logit's seconds.",
            "Gap closed: (student - plain) / (teacher - plain), where the gap is at least "
            f"{LEAST_GAP:g} mIoU. No number here is the paper's.",
            *warnings(results),
        ),
    )


def warnings(results: Results) -> tuple[str, ...]:
    """What a reader must know before using the numbers."""
    notes = []
    moved = drifted(results.plan)
    if moved:
        listed = ", ".join(f"{name} {change:+.0%}" for name, change in moved.items())
        notes.append(
            f"Refused as a comparison at equal time: step costs moved by more than 10 % ({listed})."
        )
    elif results.plan.last is None:
        notes.append("The second calibration has not been made yet.")
    teacher = results.values("teacher")
    plain = results.values(arm_name("plain", "time", results.recipe.budgets[-1]))
    if teacher and plain and teacher[0] - sum(plain) / len(plain) < LEAST_GAP:
        notes.append(
            f"The teacher is less than {LEAST_GAP:g} mIoU better than plain training: "
            "whatever is said of gaps is inconclusive."
        )
    if results.stale:
        notes.append(f"{results.stale} older records (another plan or version) are left out.")
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


def interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean with its t interval; no interval from a single value."""
    if not values:
        return None, None, None
    if len(values) == 1:
        return values[0], None, None
    mean, low, high = t_interval(values)
    return mean, low, high


def median(values: Sequence[float]) -> float | None:
    """Median of sorted values, None of none."""
    if not values:
        return None
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def committed_values(recipe: Recipe) -> dict[str, float]:
    """mIoU by arm as the shipped `measured.csv` has it (a rival's is value - effect)."""
    found: dict[str, float] = {}
    for row in committed():
        if row.recipe == recipe.name and row.value is not None and row.effect is not None:
            found[row.arm] = row.value
            found[row.rival] = row.value - row.effect
    return found


def committed() -> list[Measured]:
    """The shipped measurements; none before the first evidence."""
    path = TABLES / "measured.csv"
    return read_measured(path) if path.is_file() else []


def figure(results: Results, stem: Path) -> None:
    """mIoU against budget, one line an objective, every seed a point, the teacher a dashed line."""
    recipe = results.recipe
    names = [objective.name for objective in recipe.objectives]
    styles: dict[str, Any] = dict(line_styles(names))
    with house_style():
        drawing = new_figure()
        axes = drawing.add_subplot()
        for place, name in enumerate(names):
            means, budgets = [], []
            for budget in recipe.budgets:
                values = results.values(arm_name(name, "time", budget))
                if not values:
                    continue
                # Apart by a few percent, so that points of different objectives stay readable.
                x = budget * 1.03 ** (place - (len(names) - 1) / 2)
                axes.plot([x] * len(values), values, linestyle="none", alpha=0.45,
                          color=styles[name]["color"], marker=styles[name]["marker"],
                          markersize=3.5)  # fmt: skip
                budgets.append(x)
                means.append(sum(values) / len(values))
            axes.plot(budgets, means, **styles[name])
        teacher = results.values("teacher")
        if teacher:
            axes.axhline(teacher[0], color="#555555", linestyle="--", linewidth=1, label="teacher")
        axes.set_xscale("log")
        axes.set_xticks(list(recipe.budgets), [str(b) for b in recipe.budgets])
        axes.minorticks_off()
        axes.set_xlabel("wall-clock budget (iterations of logit distillation)")
        axes.set_ylabel("mIoU on the test split (percent)")
        axes.set_title(f"{recipe.name}: equal wall-clock time")
        axes.legend(loc="best")
        save_figure(drawing, stem)


def write_report(results: Results, out: Path) -> list[Table]:
    """Write tables and figure below `out`; returns the tables."""
    found = tables(results)
    write_tables(out / "tables", found)
    figure(results, out / "figures" / f"equal-time-{suffix(results.recipe)}")
    return found


def measurements(all_results: Sequence[Results]) -> list[Measured]:
    """Rows of `measured.csv` for every claim, run or not."""
    records = [record for results in all_results for record in results.records]
    claims = [claim for claims in CLAIMS.values() for claim in claims]
    return measure(claims, judge(claims, records), records)


def refuse_drift(results: Results) -> None:
    """Stop where the two calibrations disagree.

    Raises:
        UserError: names the objectives whose cost moved, and what to do.
    """
    moved = drifted(results.plan)
    if moved:
        listed = ", ".join(f"{name} by {change:+.0%}" for name, change in moved.items())
        raise UserError(
            f"step costs moved since the plan was made ({listed}): this is no comparison at equal "
            "time; run again with --recalibrate on a quiet machine"
        )
