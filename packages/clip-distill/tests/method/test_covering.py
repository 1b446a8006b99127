"""Covering arrays: every pair stands in a row, in as few rows as the paper's tool or fewer."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_distill.method.covering import (
    Rows,
    covering_array,
    fewest_rows,
    orthogonal_array,
    pairs_covered,
    with_rows,
)


def every_pair_stands(array: Rows, levels: list[int]) -> bool:
    """By writing out all pairs."""
    rows = [tuple(row) for row in array.tolist()]
    return all(
        any(row[a] == i and row[b] == j for row in rows)
        for a, b in combinations(range(len(levels)), 2)
        for i in range(levels[a])
        for j in range(levels[b])
    )


@pytest.mark.parametrize(
    ("options", "paper", "ours"), [(5, 30, 25), (10, 111, 100), (15, 265, 225)]
)
def test_fewer_rows_than_the_papers_tool(options: int, paper: int, ours: int) -> None:
    array = covering_array([options] * 4)
    assert every_pair_stands(array, [options] * 4)
    assert len(array) == ours == fewest_rows([options] * 4) <= paper


@settings(max_examples=25, deadline=None)
@given(levels=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_every_pair_stands_whatever_the_numbers(levels: list[int], seed: int) -> None:
    array = covering_array(levels, seed)
    assert array.shape[1] == len(levels)
    assert (array >= 0).all()
    assert (array < levels).all()
    assert every_pair_stands(array, levels)
    assert len(array) >= (fewest_rows(levels) if len(levels) > 1 else levels[0])
    assert np.array_equal(array, covering_array(levels, seed))


@pytest.mark.parametrize("n", [3, 4, 5, 9, 10, 12, 16, 20, 22])
def test_orthogonal_arrays_hold_every_pair_once(n: int) -> None:
    array = orthogonal_array(n)
    assert array is not None
    assert array.shape == (n * n, 4)
    for a, b in combinations(range(4), 2):
        assert len(np.unique(array[:, [a, b]], axis=0)) == n * n


def test_where_there_is_no_orthogonal_array_rows_are_searched() -> None:
    assert orthogonal_array(2) is orthogonal_array(6) is None
    assert 5 <= len(covering_array([2] * 4)) <= 6
    assert len(covering_array([6] * 4)) <= 45


def test_numbers_of_rows_of_ones_own() -> None:
    levels = [15] * 4
    array = covering_array(levels)
    first = with_rows(array, levels, 50)
    assert np.array_equal(first, array[:50])
    covered, pairs = pairs_covered(first, levels)
    assert (covered, pairs) == (300, 1350)  # of an orthogonal array no pair comes twice
    assert min(np.bincount(first[:, 0], minlength=15)) >= 1  # a fair sample, not the first option
    more = with_rows(array, levels, 265)
    assert np.array_equal(more[:225], array)
    assert len(np.unique(more, axis=0)) == 265
    counts = [np.bincount(more[:, a] * 15 + more[:, b]) for a, b in combinations(range(4), 2)]
    assert max(map(max, counts)) == 2
    with pytest.raises(ValueError, match="needs an option"):
        covering_array([3, 0])
