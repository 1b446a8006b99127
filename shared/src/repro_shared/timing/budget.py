"""How many iterations each method gets for the same wall-clock time."""

import math

from repro_shared.runtime.errors import UserError

# 3 x 0.1 / 0.1 is a hair below 3 in floating point; one part in 10**9 of a step is not a step.
_ROUNDING = 1e-9


def plan_iterations(
    ratios: dict[str, float], reference: str, reference_iterations: int
) -> dict[str, int]:
    """Iterations by method at equal wall-clock time, each for a complete schedule of that length.

    B = I_ref x c_ref and I_m = floor(B / c_m), costs in units of the reference's step (ours). A
    longer schedule stopped at time B would punish a slow method twice: its learning rate never
    decays.

    Args:
        ratios: Cost of a step relative to the reference's, by method, > 0; from `calibrate`.
        reference: The method whose iterations set the budget.
        reference_iterations: Its iterations, >= 1.

    Returns:
        Iterations by method, >= 1, in the order of `ratios`.

    Raises:
        UserError: The reference is missing, a ratio is not a positive number, or the budget is too
            short for one iteration.
    """
    if reference not in ratios:
        raise UserError(f"no cost for the reference {reference!r}; calibrate it with the others")
    for name, ratio in ratios.items():
        if not (math.isfinite(ratio) and ratio > 0):
            raise UserError(
                f"the cost of {name} is {ratio}, not a positive number; calibrate again"
            )
    if reference_iterations < 1:
        raise UserError(
            f"a budget of {reference_iterations} iterations of {reference} is too short; "
            "give at least 1"
        )
    budget = reference_iterations * ratios[reference]
    return {name: _whole_steps(budget, ratio, name) for name, ratio in ratios.items()}


def iterations_for_budget(budget_seconds: float, seconds_per_step: float) -> int:
    """floor(budget / step): whole steps that fit a wall-clock budget.

    Args:
        budget_seconds: Seconds, > 0.
        seconds_per_step: Median seconds of a step, > 0.

    Raises:
        UserError: Not positive numbers, or the budget is too short for one step.
    """
    for name, value in (("budget", budget_seconds), ("cost of a step", seconds_per_step)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"the {name} is {value} seconds; give a positive number")
    return _whole_steps(budget_seconds, seconds_per_step, "a step")


def _whole_steps(budget: float, cost: float, name: str) -> int:
    steps = math.floor(budget / cost * (1 + _ROUNDING))
    if steps < 1:
        raise UserError(
            f"the budget is too short for one iteration of {name}: it costs {cost / budget:.2f} "
            "times the budget; raise the budget"
        )
    return steps
