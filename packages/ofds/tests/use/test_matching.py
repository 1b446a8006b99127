"""One-to-one matching by overlap and class."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofds.use.dataset import Objects
from ofds.use.matching import match, on_crowd, overlaps, pairs


def objects(rows: list[tuple[int, int, list[float]]], crowd: Any = None) -> Objects:
    image, label, box = zip(*rows, strict=True) if rows else ((), (), ())
    n = len(rows)
    boxes = np.array(box, float).reshape(-1, 4)
    return Objects(
        np.array(image, np.int64), np.array(label, np.int64), np.ones(n), boxes,
        boxes[:, 2] * boxes[:, 3], np.array(crowd or [False] * n, bool),
        np.arange(n), (), ({},) * n,
    )  # fmt: skip


def test_overlap_by_hand() -> None:
    first = np.array([[0, 0, 10, 10], [100, 100, 5, 5]], float)
    second = np.array([[5, 0, 10, 10], [0, 0, 10, 20]], float)
    np.testing.assert_allclose(overlaps(first, second), [[50 / 150, 100 / 200], [0, 0]])
    crowd = overlaps(first, second, np.array([True, True]))
    np.testing.assert_allclose(crowd, [[0.5, 1.0], [0, 0]])
    assert overlaps(first, np.zeros((0, 4))).shape == (2, 0)


def test_the_most_pairs_and_then_the_closest() -> None:
    # Taking the best pair first (0, 0) would leave one pair only.
    rows, columns = pairs(np.array([[0.9, 0.6], [0.55, 0.1]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    rows, columns = pairs(np.array([[0.6, 0.9], [0.9, 0.6]]))
    assert columns.tolist() == [1, 0]
    assert [len(side) for side in pairs(np.array([[0.49]]))] == [0, 0]
    assert [len(side) for side in pairs(np.array([[0.5]]))] == [1, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_as_trying_all(seed: int, n: int, m: int) -> None:
    overlap = np.random.default_rng(seed).uniform(size=(n, m))
    rows, columns = pairs(overlap)
    assert len(set(columns.tolist())) == len(columns)
    wide = overlap if n <= m else overlap.T
    best = max(
        (sum(v >= 0.5 for v in each), sum(v for v in each if v >= 0.5))
        for order in permutations(range(max(n, m)), min(n, m))
        for each in [[wide[i, j] for i, j in enumerate(order)]]
    )
    assert (len(rows), overlap[rows, columns].sum()) == pytest.approx(best)


def test_on_one_image_and_of_one_class() -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    first = objects([(0, 0, box), (1, 0, box), (2, 1, box), (2, 1, [1.0, 0.0, 10.0, 10.0])])
    second = objects([(0, 0, box), (1, 1, box), (2, 1, box)])
    partner, overlap = match(first, second)
    assert partner.tolist() == [0, -1, 2, -1]
    assert overlap.tolist() == [1, 0, 1, 0]
    assert match(first, second, by_class=False)[0].tolist() == [0, 1, 2, -1]
    assert match(first, objects([]))[0].tolist() == [-1] * 4


def test_a_crowd_is_no_partner() -> None:
    first = objects([(0, 0, [0.0, 0.0, 10.0, 10.0]), (0, 1, [0.0, 0.0, 10.0, 10.0])])
    second = objects([(0, 0, [0.0, 0.0, 10.0, 10.0])], crowd=[True])
    assert match(first, second)[0].tolist() == [-1, -1]
    assert on_crowd(first, second).tolist() == [True, False]
