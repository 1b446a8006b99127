"""The tables of a comparison: costs, equal time and iterations, effect by budget, verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from repro_shared.evidence.claims import interval_cells, interval_columns, judge, verdict_table
from repro_shared.evidence.tables import Column, Table
from seg_kd.study.claims import CLAIMS
from seg_kd.study.plan import REFERENCE, Match, arm_name, drifted
from seg_kd.study.recipes.base import Data
from seg_kd.study.results import Results, suffix

DATA_SENTENCE = {
    "digit-scenes": "rendered: real MNIST digits composed on photographs",
    "camvid": "real photographs: CamVid road scenes, 240 x 180",
    "cityscapes": "real photographs: Cityscapes",
}
LEAST_GAP = 3.0


def tables(results: Results) -> list[Table]:
    """Equal time, equal iterations, cost, verdicts."""
    recipe = results.recipe
    found = [cost_table(results)]
    found += [comparison_table(results, "time", budget) for budget in recipe.budgets]
    found += [
        comparison_table(results, "iterations", budget) for budget in recipe.equal_iteration_budgets
    ]
    if len(recipe.budgets) > 1:
        found.append(curve_table(results))
    claims = CLAIMS.get(recipe.name, [])
    if claims:
        verdicts = judge(claims, results.judged)
        table = verdict_table(
            claims,
            verdicts,
            f"verdicts-{suffix(recipe)}",
            f"Verdicts, {recipe.name}",
            data_sentence(recipe.data),
        )
        notes = (*table.notes, *warnings(results))
        found.append(Table(table.id, table.title, table.columns, table.rows, notes))
    return found


def data_sentence(data: Data) -> str:
    """What the images are, and which of them are scored."""
    scored = f"sequence {data.hold_out}, held out" if data.hold_out else f"{data.test_split} split"
    return f"{DATA_SENTENCE[data.name]}; scored on: {scored}"


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
    rows: list[tuple[str | float | int | None, ...]] = []
    for label, arm in arms:
        values, runs = results.values(arm), results.runs(arm)
        mean, low, high = interval_cells(values)
        ratios = [r.seconds / reference[r.seed] for r in runs if r.seed in reference]
        realised = statistics.median(ratios) if ratios else None
        iterations = int(runs[0].metrics["iterations"]) if runs else None
        share = 100 * mean / teacher[0] if values and teacher and mean is not None else None
        beside = (results.committed.get(arm),) if results.committed else ()
        rows.append((label, iterations, realised, mean, low, high, share,
                     gap_closed(mean, plain, teacher), *beside,
                     " ".join(f"{v:.1f}" for v in values)))  # fmt: skip
    if teacher:
        beside = (None,) if results.committed else ()
        rows.append(("teacher", None, None, teacher[0], None, None, 100.0, None, *beside, ""))
    seeds = sorted({r.seed for _, arm in arms for r in results.runs(arm)})
    matched = "wall-clock time" if match == "time" else "iterations"
    return Table(
        f"equal-{match}-{suffix(recipe)}" + (f"-{budget}" if len(recipe.budgets) > 1 else ""),
        f"{recipe.name}: equal {matched}, budget of {budget} logit iterations",
        (
            Column("student"),
            Column("iterations", "", 0),
            Column("realised time", "x logit", 3),
            *interval_columns(Column("mIoU", "%", 2)),
            Column("of teacher", "%", 1),
            Column("gap closed", "%", 1),
            *((Column("committed", "mIoU", 2),) if results.committed else ()),
            Column("mIoU by seed"),
        ),
        tuple(rows),
        (
            f"Data: {data_sentence(recipe.data)}.",
            f"Seeds: {' '.join(map(str, seeds)) or 'none'}.",
            "Low and high: 95 % Student t interval over seeds (initialisation, order, "
            "augmentation; not over data). Realised time: median over seeds of seconds / logit's "
            "seconds.",
            *realised_times(results, arms, budget, reference),
            "Gap closed: (student - plain) / (teacher - plain), negative for a student below the "
            f"plain one; given where the gap is at least {LEAST_GAP:g} mIoU. No number here is the "
            "paper's.",
            *warnings(results),
        ),
    )


def realised_times(
    results: Results, arms: Sequence[tuple[str, str]], budget: int, reference: dict[int, float]
) -> tuple[str, ...]:
    """A note: how far each row's realised time is from what the plan foresaw for its iterations."""
    parts = []
    for label, arm in arms:
        runs = [run for run in results.runs(arm) if run.seed in reference]
        if not runs or arm == arm_name(REFERENCE, "time", budget):
            continue
        ratio = results.plan.ratios[label.partition(",")[0]]
        planned = runs[0].metrics["iterations"] * ratio / budget
        middle = statistics.median(run.seconds / reference[run.seed] for run in runs)
        parts.append(f"{label} {100 * (middle / planned - 1):+.1f} %")
    return (f"Realised over planned time: {'; '.join(parts)} (aim: within 5 %).",) if parts else ()


def curve_table(results: Results) -> Table:
    """Effect of every distillation objective over plain training, and where it changes sign."""
    recipe = results.recipe
    rows: list[tuple[str | float | int | None, ...]] = []
    notes = []
    matches: list[tuple[Match, int]] = [("time", budget) for budget in recipe.budgets]
    matches += [("iterations", budget) for budget in recipe.equal_iteration_budgets]
    for objective in recipe.objectives[1:]:
        means: list[float] = []
        for match, budget in matches:
            effects = paired_effects(results, objective.name, match, budget)
            mean, low, high = interval_cells(effects)
            means += [mean] if mean is not None and match == "time" else []
            rows.append((objective.name, match, budget, mean, low, high, len(effects),
                         " ".join(f"{effect:+.1f}" for effect in effects)))  # fmt: skip
        if len(means) == len(recipe.budgets):
            notes.append(f"{objective.name}: {crossing(recipe.budgets, means)}.")
    return Table(
        f"curve-{suffix(recipe)}",
        f"{recipe.name}: mIoU above plain training, by budget",
        (
            Column("student"),
            Column("equal"),
            Column("budget", "logit iterations", 0),
            *interval_columns(Column("effect", "mIoU points", 2)),
            Column("n", "seeds", 0),
            Column("effects by seed"),
        ),
        tuple(rows),
        (
            f"Data: {data_sentence(recipe.data)}.",
            "Paired by seed; 95 % Student t intervals, one at a time (verdicts are at the largest "
            "budget and corrected).",
            *notes,
            *warnings(results),
        ),
    )


def paired_effects(results: Results, objective: str, match: Match, budget: int) -> list[float]:
    """mIoU of an objective minus that of plain training at equal time or iterations, by seed."""
    plain = {r.seed: r.metrics["miou"] for r in results.runs(arm_name("plain", match, budget))}
    runs = results.runs(arm_name(objective, match, budget))
    return [r.metrics["miou"] - plain[r.seed] for r in runs if r.seed in plain]


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
