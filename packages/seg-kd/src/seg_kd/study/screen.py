"""What the tuning data decide: the teacher's gate, learning rates, and which rivals take part."""

from __future__ import annotations

from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Study, ids
from repro_shared.study.results import Results
from seg_kd.method.objectives import FEATURE, LOGIT, PLAIN
from seg_kd.study.configs import Student
from seg_kd.study.regime_claims import data_of, poor_teacher, teacher
from seg_kd.study.settled import CANONICAL_NAMES
from seg_kd.study.stages import ENOUGH, GAP, plateau_of

WANTED = 3  # rivals of the main runs


def by_objective(study: Study, where: str, role: str) -> dict[str, list[Arm]]:
    """Arms of `screen` or `main` with a role, by their objective's name."""
    found: dict[str, list[Arm]] = {}
    for arm in study.arms:
        config = arm.config
        if isinstance(config, Student) and config.role == role and arm.name.startswith(where):
            found.setdefault(config.objective.name, []).append(arm)
    return found


def first(results: Results) -> tuple[str, ...]:
    """The elaborate objectives that came first: by mean mIoU over all seeds of the study, ties by
    name; empty until every one has run with every seed. One whose tries all diverged is out."""
    means, tried = {}, by_objective(results.study, "screen: ", "try")
    for name, (arm,) in by_objective(results.study, "screen: ", "compared").items():
        if name in (PLAIN.name, *CANONICAL_NAMES):
            continue
        scores = [results.values(each, "miou") for each in tried[name]]
        if all(scores) and max(score[0] for score in scores) <= 0:
            continue
        values = results.values(arm, "miou")
        if len(values) < len(results.study.seeds):
            return ()
        means[name] = sum(values) / len(values)
    return tuple(sorted(means, key=lambda name: (-means[name], name))[:WANTED])


def best_tries(results: Results, where: str) -> dict[str, tuple[float, float]]:
    """Learning rate and mIoU of the best of each objective's four tries, the first of equals.

    Empty until all tries of all objectives have run.

    Args:
        results: of a screen.
        where: `main`, or `pair` for the second pair.
    """
    found = {}
    for name, arms in by_objective(results.study, f"{where}: ", "try").items():
        scores = [results.values(arm, "miou") for arm in arms]
        if not all(scores):
            return {}
        best = max(range(len(arms)), key=lambda i: scores[i][0])
        found[name] = arms[best].config.optimiser.learning_rate, scores[best][0]
    return found


def canonical(tried: dict[str, tuple[float, float]]) -> str:
    """The better of logit and feature distillation by its best try; logit where they are equal."""
    return max((LOGIT.name, FEATURE.name), key=lambda name: tried[name][1])


def lengths(study: Study) -> list[Arm]:
    """The plain students of several lengths, shortest first."""
    found = [arm for arm in study.arms if getattr(arm.config, "role", "") == "length"]
    return sorted(found, key=lambda arm: arm.config.iterations)


def plateau(results: Results) -> int | None:
    """Iterations after which a plain student is at its plateau; None until all lengths have run."""
    scores = {arm.config.iterations: results.values(arm, "miou") for arm in lengths(results.study)}
    if not scores or not all(scores.values()):
        return None
    return plateau_of({length: values[0] for length, values in scores.items()})


def gate_table(results: Results) -> Table:
    """Teacher and plain students of several lengths: is there a plateau, and a gap?"""
    study = results.study
    rows: list[tuple[Cell, ...]] = []
    plain = lengths(study)
    for arm in (teacher(study), *plain):
        runs = results.runs(arm)
        values = [runs[0].metrics.get(key) if runs else None
                  for key in ("miou", "miou/all classes", "pixel_accuracy")]  # fmt: skip
        rows.append((arm.name, arm.config.iterations, *values))
    return Table(
        f"gate-{study.name.replace('_', '-')}",
        f"{study.name}: the teacher and plain training, on tuning data",
        (Column("network"), Column("iterations", "", 0), Column("mIoU, scored classes", "%", 2),
         Column("mIoU, all classes", "%", 2), Column("pixel accuracy", "%", 2)),
        tuple(rows),
        (*results.notes,
         f"A plateau: twice the length gains under {ENOUGH:g} mIoU; here it is at "
         f"{plateau(results) or 'a length not known yet'}. The teacher is accepted where "
         f"it is {GAP:g} mIoU above plain training at its plateau and below it in no scored class."
         f" {(poor_teacher(results) or 'No reason against it in these records') + '.'}"),
        ids((teacher(study), *plain)),
    )  # fmt: skip


def rates_table(results: Results) -> Table:
    """All tries of learning rates: screen and main runs."""
    rows: list[tuple[Cell, ...]] = []
    arms = []
    for where in ("screen", "main", "pair"):
        for name, tried in by_objective(results.study, f"{where}: ", "try").items():
            arms += tried
            scores = [next(iter(results.values(arm, "miou")), None) for arm in tried]
            known = [score for score in scores if score is not None]
            best = ""
            if len(known) == len(scores):
                best = f"{tried[scores.index(max(known))].config.optimiser.learning_rate:g}"
            rows.append((where, name, *scores, best))
    rates = [arm.config.optimiser.learning_rate for arm in arms[:4]]
    return Table(
        f"rates-{data_of(results.study)}",
        f"{results.study.name}: four tries of every objective's learning rate, mIoU",
        (Column("where"), Column("objective"), *(Column(f"rate {r:g}", "%", 2) for r in rates),
         Column("kept")),
        tuple(rows),
        (*results.notes, "One seed each. The best is kept, the first of equals."),
        ids(arms),
    )  # fmt: skip


def screen_table(results: Results) -> Table:
    """All objectives on a frozen backbone, best first, each paired with plain training."""
    arms = {n: a[0] for n, a in by_objective(results.study, "screen: ", "compared").items()}
    plain = {run.seed: run.metrics["miou"] for run in results.runs(arms[PLAIN.name])}
    rows: list[tuple[Cell, ...]] = []
    for name, arm in arms.items():
        runs = results.runs(arm)
        effects = [r.metrics["miou"] - plain[r.seed] for r in runs if r.seed in plain]
        values = [run.metrics["miou"] for run in runs]
        rows.append((name, interval(values), interval(effects), len(values)))
    rows.sort(key=lambda row: -(row[1].mean if row[1] else 0.0))  # type: ignore[union-attr]
    chosen = ", ".join(first(results)) or "not known until all have run"
    return Table(
        f"screen-{data_of(results.study)}",
        f"{results.study.name}: every objective on one frozen backbone, equal iterations",
        (Column("objective"), Column("mIoU", "%", 2),
         Column("above plain", "mIoU points", 2, signed=True), Column("n", "seeds", 0)),
        tuple(rows),
        (*results.notes,
         "Heads go on from the warm start's, on its kept maps; seeds are of order, dropout and "
         "what objectives draw, not of backbones. Terms on the backbone's last map read the "
         "feature before the classifier here. Not a comparison at equal time.",
         f"The elaborate objectives that came first: {chosen}."),
        ids(arms.values()),
    )  # fmt: skip
