"""Arms and the plan: how many iterations each objective gets for the same wall-clock time.

Only ratios of step costs enter a plan. With c the median step time of an objective, a budget of n
reference iterations is B = n x c_logit, and objective m gets I_m = floor(B / c_m) iterations, each
with a complete schedule of its own. The plan is a file; runs made under one plan are never mixed
with runs made under another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from repro_shared.evidence.records import recipe_hash
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json
from repro_shared.timing.calibrate import Calibration, drift, plan_iterations
from seg_kd.method.objectives import LOGIT, Objective
from seg_kd.study.recipes.base import Recipe

REFERENCE = LOGIT.name
DRIFT_LIMIT = 0.10
SETTLED_LIMIT = 0.05
CALIBRATIONS = 5
Match = Literal["time", "iterations"]


@dataclass(frozen=True)
class Arm:
    """One row of a comparison.

    Attributes:
        objective: what the student learns from.
        match: whether the budget is time or a number of iterations.
        budget: the budget, in iterations of the reference objective.
        iterations: what that gives this objective.
        untrained_teacher: negative control: the teacher keeps its random initialisation.
    """

    objective: Objective
    match: Match
    budget: int
    iterations: int
    untrained_teacher: bool = False

    @property
    def name(self) -> str:
        """Folder name in the records, stable across plans."""
        return arm_name(self.objective.name, self.match, self.budget, self.untrained_teacher)


def arm_name(objective: str, match: Match, budget: int, untrained_teacher: bool = False) -> str:
    """`<objective>-<match>-<budget>`; the control is `<objective>-untrained-teacher-...`.

    The reference runs `budget` iterations under either match: one arm, named for time.
    """
    if objective == REFERENCE:
        match = "time"
    suffix = "-untrained-teacher" if untrained_teacher else ""
    return f"{objective}{suffix}-{match}-{budget}"


@dataclass(frozen=True)
class Plan:
    """Ratios, iterations and the machine they were measured on.

    Attributes:
        recipe: name of the recipe; scale: its scale.
        ratios: c_m / c_logit by objective.
        iterations: budget -> objective -> iterations at equal time.
        first: calibration that made the plan; last: the one after the runs, if made.
    """

    recipe: str
    scale: str
    ratios: dict[str, float]
    iterations: dict[str, dict[str, int]]
    first: dict[str, Any]
    last: dict[str, Any] | None = field(default=None)

    @property
    def identity(self) -> str:
        """Hash of what decides the runs: recipe, ratios, iterations (not the raw timings)."""
        return recipe_hash(PlanKey(self.recipe, self.scale, self.ratios, self.iterations))


@dataclass(frozen=True)
class PlanKey:
    """The part of a plan that identifies it."""

    recipe: str
    scale: str
    ratios: dict[str, float]
    iterations: dict[str, dict[str, int]]


def make_plan(recipe: Recipe, calibration: Calibration) -> Plan:
    """Turn a calibration into iterations.

    Raises:
        UserError: a budget too short for one iteration of some objective.
    """
    reference = calibration.median(REFERENCE)
    # Four digits: a plan is written, read and compared, and the timing is not that exact anyway.
    ratios = {
        objective.name: round(calibration.median(objective.name) / reference, 4)
        for objective in recipe.objectives
    }
    iterations = {
        str(budget): plan_iterations(ratios, REFERENCE, budget) for budget in budgets(recipe)
    }
    return Plan(recipe.name, recipe.scale, ratios, iterations, calibration.to_dict())


def budgets(recipe: Recipe) -> tuple[int, ...]:
    """The recipe's budgets and, last, that of the long plain control."""
    long = (recipe.long_budget,) if recipe.long_budget else ()
    return (*recipe.budgets, *(b for b in long if b not in recipe.budgets))


def arms(recipe: Recipe, plan: Plan, controls: bool) -> list[Arm]:
    """Every arm of a recipe under a plan, cheapest budgets first.

    Args:
        recipe: the recipe.
        plan: its plan.
        controls: also the plain student at the long budget, and the untrained teacher.
    """
    result: list[Arm] = []
    for budget in recipe.budgets:
        at_time = plan.iterations[str(budget)]
        for objective in recipe.objectives:
            result.append(Arm(objective, "time", budget, at_time[objective.name]))
        if budget in recipe.equal_iteration_budgets:
            result += [
                Arm(objective, "iterations", budget, budget)
                for objective in recipe.objectives
                if objective.name != REFERENCE
            ]
    if controls:
        plain = recipe.objectives[0]
        if recipe.long_budget:
            at_time = plan.iterations[str(recipe.long_budget)]
            result.append(Arm(plain, "time", recipe.long_budget, at_time[plain.name]))
        last = recipe.budgets[-1]
        result.append(Arm(LOGIT, "time", last, last, untrained_teacher=True))
    return result


def fits(plan: Plan, recipe: Recipe) -> bool:
    """Whether a plan was made for this scale, these objectives and these budgets."""
    return (
        plan.scale == recipe.scale
        and plan.ratios.keys() == {objective.name for objective in recipe.objectives}
        and plan.iterations.keys() == {str(budget) for budget in budgets(recipe)}
    )


def settled(measure: Callable[[], Calibration]) -> Calibration:
    """Two calibrations in a row whose ratios differ by at most 5 %, pooled.

    One calibration may fall on a disturbed machine, and would spoil every run made under its plan.

    Args:
        measure: makes one calibration; called two to five times.

    Raises:
        UserError: five calibrations, and no two in a row agree.
    """
    before = measure()
    for _ in range(CALIBRATIONS - 1):
        after = measure()
        moved = drift(before, after, REFERENCE)
        if max(map(abs, moved.values())) <= SETTLED_LIMIT:
            return pooled(before, after)
        before = after
    worst = max(moved, key=lambda name: abs(moved[name]))
    raise UserError(
        f"no two of {CALIBRATIONS} calibrations in a row agree within {SETTLED_LIMIT:.0%} "
        f"({worst} moved by {moved[worst]:+.0%} at the last): the machine is not quiet enough "
        "for a comparison at equal time; stop other work and try again"
    )


def pooled(one: Calibration, other: Calibration) -> Calibration:
    """The timed steps of both."""
    return replace(
        one,
        seconds={name: steps + other.seconds[name] for name, steps in one.seconds.items()},
        cpu_seconds={
            name: steps + other.cpu_seconds[name] for name, steps in one.cpu_seconds.items()
        },
        rounds=one.rounds + other.rounds,
    )


def drifted(plan: Plan) -> dict[str, float]:
    """Ratios that moved by more than 10 % between the two calibrations (relative change)."""
    if plan.last is None:
        return {}
    moved = drift(Calibration.from_dict(plan.first), Calibration.from_dict(plan.last), REFERENCE)
    return {name: change for name, change in moved.items() if abs(change) > DRIFT_LIMIT}


def plan_path(out: Path, recipe: str) -> Path:
    """Where the plan of a recipe lies below an output folder."""
    return out / "plans" / f"{recipe}.json"


def read_plan(path: Path) -> Plan | None:
    """The plan at `path`, or None.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        plan = Plan(**json.loads(path.read_text()))
        if not (isinstance(plan.ratios, dict) and isinstance(plan.iterations, dict)):
            raise TypeError("ratios and iterations must be tables")
        for calibration in (plan.first, plan.last):
            if calibration is not None:
                Calibration.from_dict(calibration)
        return plan
    except (ValueError, TypeError, UserError) as error:
        raise UserError(f"{path} is not a plan ({error}): use --recalibrate") from error


def write_plan(path: Path, plan: Plan) -> None:
    """Write atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(path, asdict(plan))
