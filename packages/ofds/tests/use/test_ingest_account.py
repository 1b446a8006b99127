"""True cost against predicted, and what the rest pays for."""

from __future__ import annotations

import numpy as np
import pytest

from ofds.use.dataset import Objects
from ofds.use.ingest_account import judged, prefix, ratio, share


def test_the_ratio_of_sums_and_its_interval() -> None:
    found = ratio(np.array([4.0, 2.0, 6.0]), np.array([2.0, 2.0, 2.0]))
    # Equal predictions: the mean of 2, 1, 3 with the t interval of three values.
    assert found.value == 2
    half = 4.302652729911275 / 3**0.5
    assert (found.low, found.high) == pytest.approx((max(2 - half, 0), 2 + half))
    assert found.images == 3


def test_the_interval_covers() -> None:
    g, hits = np.random.default_rng(0), 0
    for _ in range(400):
        predicted = g.integers(1, 9, 25).astype(float)
        true = g.poisson(1.4 * predicted).astype(float)
        found = ratio(true, predicted)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.4 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize(
    ("true", "predicted", "value", "known"),
    [
        ([], [], 1.0, False),
        ([3.0], [2.0], 1.5, False),
        ([3.0, 1.0], [0.0, 0.0], 1.0, False),
        ([0.0, 0.0], [2.0, 1.0], 1.0, False),  # empty images do not promise that the rest is free
        ([2.0, 1.0], [2.0, 1.0], 1.0, True),
    ],
)
def test_little_to_tell(
    true: list[float], predicted: list[float], value: float, known: bool
) -> None:
    found = ratio(np.array(true), np.array(predicted))
    assert found.value == value
    assert (found.low is not None) == known
    if known:
        assert found.low == found.high == value


def test_a_few_cheap_images_do_not_open_the_purse() -> None:
    few = ratio(np.array([1.0, 1.0]), np.array([2.0, 2.0]))
    assert (few.value, few.high, few.upper) == (0.5, 0.5, 1.0)
    many = ratio(np.full(6, 1.0), np.full(6, 2.0))
    assert many.upper == many.high == 0.5
    dear = ratio(np.array([3.0]), np.array([2.0]))
    assert dear.upper == 1.5
    assert ratio(np.zeros(9), np.ones(9)).upper == 1.0


def test_how_many_the_rest_pays_for() -> None:
    costs = np.array([3.0, 4.0, 0.0, 5.0])
    assert [prefix(costs, rest) for rest in (-1, 0, 2.9, 3, 7, 12, 99)] == [0, 0, 0, 1, 3, 4, 4]
    assert prefix(np.zeros(0), 5) == 0
    assert prefix(np.full(10, 0.1), 1.0) == 10  # rounding does not take one away


def test_proposals_are_judged_by_class() -> None:
    def objects(label: list[int], crowd: list[bool] | None = None) -> Objects:
        n = len(label)
        return Objects(
            np.zeros(n, np.int64), np.array(label), np.ones(n), np.zeros((n, 4)), np.ones(n),
            np.array(crowd or [False] * n), np.arange(n), (), ({},) * n,
        )  # fmt: skip

    true = objects([0, 0, 1, 1, 2], [False, False, False, False, True])
    partner = np.array([0, 3, 1, 2, 4])
    proposals = objects([0, 1, 0, 0, 2])
    counted = np.array([True, True, True, False, True])
    found = judged(true, proposals, partner, counted, 3)
    assert found.true.tolist() == [2, 2, 0]  # a crowd is no object
    assert found.proposed.tolist() == [2, 1, 1]
    assert found.right.tolist() == [1, 1, 0]  # object 1's proposal is below the threshold
    assert found.found.tolist() == [1, 2, 0]  # object 3 was found, as another class
    assert (share(1, 3), share(0, 0)) == (0.3333, None)
