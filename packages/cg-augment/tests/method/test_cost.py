"""Costs: arithmetic of engines with views and blind steps, and what a conversion gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cg_augment.method import cost
from cg_augment.method.chain import Chain
from cg_augment.method.cost import Passes
from cg_augment.method.schedule import Schedule, Step
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.method.views import Views


def test_of_each_engine() -> None:
    whole = Stepwise(share=1.0, unguided=False)
    assert cost.of_engine(whole, 12) == Passes(12, 12, 13, 12)
    assert cost.of_engine(whole, 12, blind=1) == Passes(12, 11, 12, 11)
    assert cost.of_engine(replace(whole, views=Views(4)), 12, 1) == Passes(12, 11, 12, 11, 33)
    assert cost.of_engine(replace(whole, share=0.5), 12, 1) == Passes(12, 6, 7, 6)
    assert cost.of_engine(replace(whole, unguided=True), 12, 1) == Passes(24, 11, 13, 11)
    assert cost.of_engine(Select(8), 12) == Passes(96, 0, 8, 0)
    chain = Chain(10, checkpoints=False, views=Views(4))
    assert cost.of_engine(chain, 12, 1) == Passes(132, 120, 41, 30, 90)


def test_in_passes_forward() -> None:
    passes = Passes(10, 5, 3, 2, 4)
    assert passes.forwards(2.0) == 20
    # 3 decodes and 4 further views forward, 2 and 4 backward, each a tenth of a pass.
    assert passes.forwards(2.0, 0.1) == pytest.approx(10 + 0.7 + 2 * (5 + 0.6))


def test_blind_steps_are_those_without_a_signal() -> None:
    steps = tuple(Step(float(i), alpha, 0.9, alpha, 0.5) for i, alpha in enumerate((1e-5, 0.1, 1)))
    assert Schedule("DDIM", "sample", steps).blind == 1
    assert Schedule("DDIM", "sample", steps[1:]).blind == 0
