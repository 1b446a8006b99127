"""Minima as they are given."""

from __future__ import annotations

import pytest

from ofds.use.minima import minima
from repro_shared.runtime.errors import UserError

CLASSES = ["cat", "t-shirt", "a=b"]


@pytest.mark.parametrize(
    ("given", "found"),
    [((), [0, 0, 0]), (("2",), [2, 2, 2]), (("a=b=5", "1", "cat=0"), [0, 1, 5])],
)
def test_minima(given: tuple[str, ...], found: list[int]) -> None:
    assert minima(given, CLASSES).tolist() == found


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
        minima([given], CLASSES)
    assert line in str(caught.value)
