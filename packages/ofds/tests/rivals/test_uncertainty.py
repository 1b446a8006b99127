"""Uncertainty of detections, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ofds.rivals.uncertainty import entropy, margin


def test_entropy() -> None:
    assert entropy([[0.5, 0.5]]) == pytest.approx(2 * math.log(2))
    assert entropy([[1.0, 0.0]]) == pytest.approx(0, abs=1e-9)
    one = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert entropy([[0.9, 0.0], [0.5, 0.0]]) == pytest.approx((one + math.log(2)) / 2)


def test_margin() -> None:
    assert margin([[0.7, 0.7, 0.1]]) == 1
    assert margin([[0.9, 0.4, 0.0]]) == pytest.approx(0.25)
    assert margin([[1.0, 0.0], [0.5, 0.5]]) == 0.5


@pytest.mark.parametrize("measure", [entropy, margin])
def test_nothing_seen_and_no_preference_for_crowds(measure) -> None:  # type: ignore[no-untyped-def]
    assert measure(np.zeros((0, 5))) == 0
    few = [[0.6, 0.3, 0.1]]
    assert measure(few * 9) == pytest.approx(measure(few))
