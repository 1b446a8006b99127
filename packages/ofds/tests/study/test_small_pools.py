"""The study of the contract: what is true is found by trying all sets."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ofds.study.small_pools import Case, Cover, SmallPools, cover, selected
from repro_shared.study.paper import Context, Outcome

DRAWER = SmallPools().open(None)


def outcome(selector: str, pools: int = 40) -> Outcome:
    context = Context(DRAWER, 100, "cpu", Path(), "key", "label")
    return cover(Cover(selector, pools), context)  # type: ignore[arg-type]


def test_trying_all_sets() -> None:
    seen = set()
    for number in range(12):
        case: Case = DRAWER.draw(100, number)
        can = any(
            (case.pool.counts[list(images)].sum(axis=0) >= case.minimum).all()
            and case.costs[list(images)].sum() <= case.amount
            for size in range(11)
            for images in itertools.combinations(range(10), size)
        )
        assert (case.feasible is not None) == can
        seen.add(can)
    assert seen == {True, False}


def test_costs_are_objects_or_given() -> None:
    even, odd = DRAWER.draw(100, 0), DRAWER.draw(100, 1)
    np.testing.assert_array_equal(even.costs, even.pool.counts.sum(axis=1))
    assert odd.costs.min() >= 1
    assert not np.array_equal(odd.costs, odd.pool.counts.sum(axis=1))


def test_the_contract_misses_nothing_and_says_nothing_wrong() -> None:
    found = outcome("contract").metrics
    assert found["met"] == 100
    assert found["missed"] == found["wrong"] == found["overspent"] == 0
    assert 10 < found["feasible"] < 35


@pytest.mark.parametrize("selector", ["turns", "balanced", "random"])
def test_others_miss_some_and_keep_the_budget(selector: str) -> None:
    found = outcome(selector).metrics
    assert found["missed"] > 0
    assert found["met"] == pytest.approx(100 * (1 - found["missed"] / found["feasible"]))
    assert found["overspent"] == 0
    assert outcome(selector).metrics == found


def test_a_selector_that_spends_too_much_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = (list(range(10)), "met")
    monkeypatch.setattr("ofds.study.small_pools.selected", lambda *_: everything)
    found = outcome("random").metrics
    assert found["overspent"] > 20
    assert found["wrong"] > 0


def test_a_pool_whose_minima_are_met_by_nothing() -> None:
    number = next(n for n in range(99) if DRAWER.draw(100, n).feasible is None)
    assert selected("exhaustive", DRAWER.draw(100, number), 0) == ([], "infeasible")
