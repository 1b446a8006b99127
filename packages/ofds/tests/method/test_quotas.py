"""Shares and turns: every prefix keeps each class within one image's cost of its share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofds.method.quotas import Turns, quotas


@given(
    st.floats(0.5, 500),
    st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=8),
)
def test_quotas_share_the_budget(amount: float, available: list[float]) -> None:
    found = quotas(amount, np.array(available))
    assert found.sum() == pytest.approx(min(amount, sum(available)), rel=1e-9, abs=1e-9)
    assert (found <= np.array(available) + 1e-9).all()
    unlimited = found[np.array(available) > found + 1e-6]
    assert np.ptp(unlimited) < 1e-6 if len(unlimited) else True  # the others get the same


@settings(max_examples=200)
@given(
    st.lists(st.floats(0.05, 1), min_size=1, max_size=7),
    st.lists(st.floats(0.1, 12), min_size=40, max_size=40),
)
def test_every_prefix_is_within_one_cost_of_the_shares(
    share: list[float], costs: list[float]
) -> None:
    turns = Turns(np.array(share), np.arange(len(share)))
    for cost in costs:
        turns.charge(turns.next(float(np.mean(costs))), cost)
        apart = turns.spent - turns.share * turns.spent.sum()
        assert np.abs(apart).max() <= max(costs) * (1 + 1e-9)


def test_a_large_share_does_not_run_ahead() -> None:
    """By finishing times alone it would have twenty turns before any other class has one."""
    turns = Turns(np.array([1.0, *[0.05] * 6]), np.arange(7))
    for _ in range(60):
        turns.charge(turns.next(1.0), 1.0)
        assert np.abs(turns.spent - turns.share * turns.spent.sum()).max() <= 1


def test_the_rarest_class_is_first_and_a_retired_one_leaves_its_turns() -> None:
    turns = Turns(np.ones(3), np.array([2, 0, 1]))
    order = []
    for _ in range(6):
        order.append(turns.next(1.0))
        turns.charge(order[-1], 1.0)
    assert order == [1, 2, 0, 1, 2, 0]
    turns.retire(1)
    assert [turns.next(1.0) for _ in range(1)] == [2]
    turns.retire(0)
    turns.retire(2)
    assert turns.next(1.0) == -1
