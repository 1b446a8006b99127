"""Minima as they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ofds.method.coverage import Contract
from ofds.use.dataset import Category, Dataset, Objects
from ofds.use.minima import advice, minima, targets
from repro_shared.runtime.errors import UserError

CLASSES = ["cat", "t-shirt", "a=b"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), [1, 1, 1]),
        (("2",), [2, 2, 2]),
        (("a=b=5", "1", "cat=0"), [0, 1, 5]),
        (("cat=6",), [6, 1, 1]),
        (("0", "cat=6"), [6, 0, 0]),
    ],
)
def test_minima(given: tuple[str, ...], found: list[int]) -> None:
    assert minima(given, CLASSES, targets((), CLASSES)).tolist() == found


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("shirt=1", "no class 'shirt'; did you mean 't-shirt'?"),
        ("dog=1", "no class 'dog'; classes: cat, t-shirt, a=b"),
        ("cat", "give N for all classes, or CLASS=N for one"),
        ("cat=-1", "give N for all"),
        ("1.5", "give N for all"),
        ("", "give N for all"),
    ],
)
def test_minima_that_are_refused(given: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        minima([given], CLASSES, targets((), CLASSES))
    assert line in str(caught.value)


def advised(scores: list[float], least: int, found: int) -> list[str]:
    """Advice for one class with these scores, two objects an image."""
    n = len(scores)
    objects = Objects(
        np.arange(n) // 2, np.zeros(n, np.int64), np.array(scores), np.ones((n, 4)), np.ones(n),
        np.zeros(n, bool), np.arange(n), (), ({},) * n,
    )  # fmt: skip
    dataset = Dataset(Path("a.json"), (), (Category(1, "cat", {}),), objects, frozenset())
    contract = Contract("infeasible", np.array([least]), np.array([found]))
    return advice(dataset, objects, contract, 0.3)


def test_what_a_lower_threshold_would_bring() -> None:
    scores = [0.9, 0.2, 0.1999, 0.1, 0.29, 0.05]
    (line,) = advised(scores, 3, 1)
    assert line.startswith("cat: --threshold 0.2 would bring 2 more on 2 images, 3 in all;")
    (line,) = advised(scores, 4, 1)
    assert line.startswith("cat: --threshold 0.199 would bring 3 more on 3 images, 4 in all;")


def test_what_to_do_when_no_threshold_is_enough() -> None:
    first, second = advised([0.9, 0.25], 5, 1)
    assert "would bring 1 more on 1 image, 2 in all, still too few" in first
    assert second.startswith("cat: only 2 proposals at any score; in turn: a lower --threshold")
    for word in ("cat<tab>synonym", "--query cat=FILE", "--must"):
        assert word in second
    (line,) = advised([], 5, 0)
    assert line.startswith("cat: nothing is proposed at any score")


def test_no_advice_where_enough_is_proposed() -> None:
    assert advised([0.9, 0.8, 0.7, 0.1], 3, 1) == []  # the budget was too small, say
    assert advised([0.9, 0.1], 2, 2) == []
