"""The current runs of a recipe, from the records of an output folder, and the shipped numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro_shared.evidence.claims import judge
from repro_shared.evidence.measured import Measured, measure, read_measured
from repro_shared.evidence.records import RunRecord, read_record, read_records
from seg_kd import METHOD_VERSION
from seg_kd.study.claims import CLAIMS
from seg_kd.study.plan import Plan, drifted, fits, plan_path, read_plan
from seg_kd.study.recipes.base import Recipe
from seg_kd.use.teachers import COMMITTED, belongs, weights_note

TABLES = Path(__file__).parents[1] / "tables"
COMMITTED_RESULTS = Path(__file__).parents[3] / "results"


@dataclass
class Results:
    """Current records of a recipe in an output folder, and its plan.

    Attributes:
        stale: number of records of another plan or version, which are left out.
        committed: shipped mIoU by arm, shown beside new ones; empty for the shipped results.
    """

    recipe: Recipe
    plan: Plan
    records: list[RunRecord]
    stale: int
    committed: dict[str, float] = field(default_factory=dict)

    def runs(self, arm: str) -> list[RunRecord]:
        """Complete runs of an arm by seed."""
        return [r for r in self.records if r.arm == arm and r.status == "complete"]

    @property
    def judged(self) -> list[RunRecord]:
        """The records that verdicts may use: none where the step costs moved during the runs."""
        return [] if drifted(self.plan) else self.records

    def values(self, arm: str, metric: str = "miou") -> list[float]:
        """A metric of an arm, by seed."""
        return [record.metrics[metric] for record in self.runs(arm)]


def load_results(recipe: Recipe, out: Path) -> Results | None:
    """Records of the plan in `out`; None where nothing has been planned for this recipe."""
    plan = read_plan(plan_path(out, recipe.name))
    if plan is None or not fits(plan, recipe):
        return None
    records = read_records(out, recipe.name)
    # The newest complete run tells which set is current: its hash covers plan, teacher and recipe.
    students = [
        r for r in records if r.arm != "teacher" and r.recipe_config.get("ratios") == plan.ratios
    ]
    newest = max(students, key=lambda r: r.finished, default=None)
    current = newest.recipe_hash if newest else ""
    kept = [
        record
        for record in records
        if record.method_version == METHOD_VERSION
        and (record.arm == "teacher" or record.recipe_hash == current)
    ]
    stale = len(records) - len(kept)
    sha256 = newest.recipe_config["teacher_sha256"] if newest else None
    found = [record for record in (*kept, *committed_teacher(recipe)) if record.arm == "teacher"]
    teacher = [r for r in found if sha256 is None or r.notes == weights_note(sha256)][:1]
    kept = [record for record in kept if record.arm != "teacher"] + teacher
    own = out.resolve() == COMMITTED_RESULTS
    return Results(recipe, plan, kept, stale, {} if own else committed_values(recipe))


def committed_teacher(recipe: Recipe) -> list[RunRecord]:
    """The record beside the committed teacher's weights, if it was scored on this recipe's data."""
    path = COMMITTED / (recipe.teacher.weights or "none")
    return [read_record(path.with_suffix(".json"))] if belongs(recipe, path) else []


def suffix(recipe: Recipe) -> str:
    """`digits` of `equal_time_digits`, as tables and figures are named."""
    return recipe.name.removeprefix("equal_time_").replace("_", "-")


def committed_values(recipe: Recipe) -> dict[str, float]:
    """mIoU by arm as the shipped `measured.csv` has it (a rival's is value - effect)."""
    found: dict[str, float] = {}
    for row in committed():
        if row.study == recipe.name and row.value is not None and row.effect is not None:
            found[row.arm] = row.value
            found[row.rival] = row.value - row.effect
    return found


def committed() -> list[Measured]:
    """The shipped measurements; none before the first evidence."""
    path = TABLES / "measured.csv"
    return read_measured(path) if path.is_file() else []


def measurements(all_results: Sequence[Results]) -> list[Measured]:
    """Rows of `measured.csv` for every claim, run or not."""
    # Tuning makes no claims.
    judged = [results for results in all_results if results.recipe.name in CLAIMS]
    records = [record for results in judged for record in results.judged]
    claims = [claim for claims in CLAIMS.values() for claim in claims]
    return measure(claims, judge(claims, records), records)
