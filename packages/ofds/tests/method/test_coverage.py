"""The coverage contract: minima are met where any selection meets them; else it says why."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ofds import Budget, Pool, make_pool, select_covering
from ofds.method.coverage import cheapest
from ofds.rivals.proposals import at_random


def small(seed: int) -> Pool:
    """Eight images and three classes, so that all selections can be tried."""
    g = np.random.default_rng(seed)
    owner = np.repeat(np.arange(8), g.integers(0, 5, 8))
    n = len(owner)
    return make_pool(
        [str(index) for index in range(8)], ["a", "b", "c"], [str(index) for index in owner],
        g.choice(3, n, p=[0.6, 0.3, 0.1]), np.ones(n), np.tile([0.0, 0, 4, 4], (n, 1)),
        features=g.normal(size=(n, 4)).astype(np.float32),
    )  # fmt: skip


def feasible(pool: Pool, costs: Any, amount: float, minimum: Any) -> bool:
    """Whether any set of images meets the minima, by trying all."""
    sets = itertools.product((0, 1), repeat=len(pool.images))
    chosen = np.array(list(sets))
    met = (chosen @ pool.counts >= minimum).all(axis=1)
    return bool((met & (chosen @ costs <= amount + 1e-9)).any())


def test_no_feasible_minimum_is_missed() -> None:
    missed = {"ours": 0, "random": 0}
    verdicts = {True: 0, False: 0}
    for seed in range(120):
        pool = small(seed)
        g = np.random.default_rng([seed, 1])
        amount, minimum = float(g.integers(3, 12)), g.integers(0, 3, 3)
        costs = Budget(amount).costs(pool)
        can = feasible(pool, costs, amount, minimum)
        choices, contract = select_covering(pool, costs, amount, minimum)
        assert sum(choice.cost for choice in choices) <= amount + 1e-9
        assert contract.status == ("met" if can else "infeasible")
        assert (contract.found >= minimum).all() == can
        assert bool(contract.reasons) != can
        verdicts[can] += 1
        left, found = amount, np.zeros(3, int)
        for image in at_random(pool, seed):
            if costs[image] <= left:
                left -= costs[image]
                found += pool.counts[image]
        missed["random"] += can and not (found >= minimum).all()
    assert min(verdicts.values()) > 20
    assert missed["random"] > 5  # the pools are no matter of course


@pytest.mark.parametrize(
    ("minimum", "amount", "status", "reason"),
    [
        ((1, 1, 1), 20, "met", ""),
        ((0, 0, 50), 20, "infeasible", "c: 50 wanted, "),
        ((3, 3, 1), 2, "infeasible", "the minima cost at least "),
    ],
)
def test_reasons(minimum: Any, amount: float, status: str, reason: str) -> None:
    pool = small(3)
    costs = Budget(amount).costs(pool)
    _, contract = select_covering(pool, costs, amount, np.array(minimum))
    assert contract.status == status
    assert reason in " ".join(contract.reasons)


def test_annotated_images_count_and_excluded_ones_do_not() -> None:
    pool = small(3)
    costs = Budget(4).costs(pool)
    rare = np.flatnonzero(pool.counts[:, 2])
    minimum = np.array([0, 0, int(pool.counts[:, 2].sum())])
    _, contract = select_covering(pool, costs, 1, minimum, annotated=rare.tolist())
    assert contract.status == "met"
    _, contract = select_covering(pool, costs, 99, minimum, excluded=rare.tolist())
    assert contract.status == "infeasible"


def test_true_objects_on_annotated_images_count_instead_of_predicted_ones() -> None:
    verdicts = {True: 0, False: 0}
    for seed in range(60):
        pool, g = small(seed), np.random.default_rng([seed, 2])
        costs, amount = Budget(9).costs(pool), float(g.integers(3, 12))
        minimum, have, own = g.integers(0, 4, 3), g.integers(0, 3, 3), [0, 5]
        rest = pool.where(~np.isin(pool.image, own))
        can = feasible(rest, np.where(np.isin(range(8), own), 0, costs), amount, minimum - have)
        choices, contract = select_covering(pool, costs, amount, minimum, annotated=own, have=have)
        assert contract.status == ("met" if can else "infeasible")
        chosen = pool.counts[[choice.image for choice in choices]].sum(axis=0)
        assert contract.found.tolist() == (have + chosen).tolist()
        verdicts[can] += 1
    assert min(verdicts.values()) > 10


def test_no_time_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = small(3)
    costs = Budget(4).costs(pool)
    monkeypatch.setattr("ofds.method.coverage.cheapest", lambda *_: (None, 0.0))
    _, contract = select_covering(pool, costs, 3, np.array([2, 2, 1]), seconds=0.5)
    assert contract.status == "undecided"
    assert contract.reasons == ("the integer program did not end within 0.5 s",)


def test_a_minimum_that_cannot_be_met_leaves_the_others() -> None:
    for seed in range(40):
        pool = small(seed)
        costs = Budget(6).costs(pool)
        minimum = np.array([0, 2, 1])
        if (pool.counts.sum(axis=0) < minimum).any():
            continue
        _, alone = select_covering(pool, costs, 6, minimum)
        _, both = select_covering(pool, costs, 6, minimum + np.array([99, 0, 0]))
        assert both.status == "infeasible"
        assert both.reasons[0].startswith("a: 99 wanted, ")
        assert both.found.tolist() == alone.found.tolist()
        assert ("the budget is 6" in " ".join(both.reasons)) == (alone.status != "met")


def test_minima_do_not_buy_copies_where_others_would_do() -> None:
    counts = np.array([[2, 0], [2, 0], [2, 0], [1, 0], [0, 2], [0, 1]])
    costs, minimum = np.array([2.0, 2, 3, 2, 3, 1]), np.array([3, 1])

    def pool_of(counts: Any) -> Pool:
        image, label = np.repeat(np.nonzero(counts), counts[np.nonzero(counts)], axis=1)
        n = len(image)
        return make_pool(
            [str(each) for each in range(len(counts))], ["a", "b"], image, label, np.ones(n),
            np.tile([0.0, 0, 4, 4], (n, 1)), features=np.eye(n, 8, dtype=np.float32) + 1,
            content=["same", "same", *map(str, range(2, len(counts)))],
        )  # fmt: skip

    pool = pool_of(counts)
    choices, contract = select_covering(pool, costs, 6, minimum)
    assert contract.status == "met"
    assert not {0, 1} <= {choice.image for choice in choices}
    images, bound = cheapest(counts, costs, minimum, once=pool.twin)
    assert images is not None
    assert not {0, 1} <= {*images}
    assert bound == costs[images].sum() == 5
    # Where there is no other way, a minimum is worth a copy.
    choices, contract = select_covering(pool_of(counts[[0, 1, 4]]), costs[[0, 1, 4]], 7, minimum)
    assert contract.status == "met"
    assert {choice.image for choice in choices} == {0, 1, 2}


def test_an_annotated_copy_counts_as_the_one() -> None:
    counts, costs = np.array([[1], [1], [1]]), np.array([1.0, 1, 5])
    images, _ = cheapest(counts, costs, np.array([2]), annotated=[0], once=np.array([0, 0, 1]))
    assert images == [2]
    images, _ = cheapest(counts, costs, np.array([2]), [0, 1], once=np.array([0, 0, 1]))
    assert images == [0, 1]
