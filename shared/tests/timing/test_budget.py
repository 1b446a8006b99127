"""Iterations at equal wall-clock time never cost more than the budget, nor waste a step."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_shared.runtime.errors import UserError
from repro_shared.timing.calibrate import iterations_for_budget, plan_iterations


def test_hand_example() -> None:
    ratios = {"ce": 0.4, "logit": 1.0, "feature": 1.03, "slow": 2.5}
    assert plan_iterations(ratios, "logit", 1000) == {
        "ce": 2500,
        "logit": 1000,
        "feature": 970,
        "slow": 400,
    }


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    cost=st.floats(0.05, 20.0),
    reference_cost=st.floats(0.001, 10.0),
    iterations=st.integers(100, 100_000),
)
def test_fills_the_budget(cost: float, reference_cost: float, iterations: int) -> None:
    costs = {"a": cost * reference_cost, "logit": reference_cost}
    plan = plan_iterations(costs, "logit", iterations)
    budget = iterations * reference_cost
    assert plan["logit"] == iterations
    assert plan["a"] * costs["a"] <= budget * (1 + 1e-6)
    assert (plan["a"] + 1) * costs["a"] > budget * (1 - 1e-6)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(steps=st.integers(1, 10**6), denominator=st.integers(1, 1000))
def test_rounding_loses_no_step(steps: int, denominator: int) -> None:
    cost = 1 / denominator
    assert iterations_for_budget(steps * cost, cost) == steps


def test_floor() -> None:
    assert iterations_for_budget(10.0, 3.0) == 3
    assert iterations_for_budget(9.999, 5.0) == 1


def test_too_short_for_one_iteration() -> None:
    with pytest.raises(UserError, match="too short for one iteration of slow"):
        plan_iterations({"logit": 1.0, "slow": 3.0}, "logit", 2)
    with pytest.raises(UserError, match="too short"):
        iterations_for_budget(0.9, 1.0)
    with pytest.raises(UserError, match="positive numbers"):
        plan_iterations({"logit": 1.0}, "logit", 0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_costs_must_be_positive(bad: float) -> None:
    with pytest.raises(UserError, match="calibrate again"):
        plan_iterations({"logit": 1.0, "x": bad}, "logit", 10)
    with pytest.raises(UserError, match="positive number"):
        iterations_for_budget(bad, 1.0)
    with pytest.raises(UserError, match="positive number"):
        iterations_for_budget(1.0, bad)


def test_missing_reference() -> None:
    with pytest.raises(UserError, match="reference 'logit'"):
        plan_iterations({"ce": 1.0}, "logit", 10)
