"""Hours: by arithmetic they are the formula's, measured ones are the clock's."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from cg_augment.guidance import Chain, Noise, Objective, Sampling, Score, Select, Stepwise, Task
from cg_augment.method import cost
from cg_augment.use.generating import hours
from cg_augment.use.pipelines import sampler_of


@pytest.fixture
def task(tiny: Any) -> Task:
    source = (tiny.unet(), diffusers.DDIMScheduler(**tiny.vp))
    sampler = sampler_of(source, [0, 1], sampling=Sampling(4))
    return Task(sampler, Score(torch.tensor([0, 1]), *tiny.judges(), Objective()), Noise((0, 1)))


@pytest.mark.parametrize(
    "engine",
    [Stepwise(), Stepwise(jacobian=False, unguided=False), Select(3),
     Chain(rounds=2, enough=None), Chain(rounds=1, scored=9, enough=None, checkpoints=False)],
)  # fmt: skip
def test_passes_are_those_that_are_made(task: Task, engine: Any) -> None:
    found, passes = engine(task), cost.of_engine(engine, 4)
    for name in ("forward", "backward", "decodes"):
        assert getattr(found, name).tolist() == [getattr(passes, name)] * 2


def test_arithmetic(task: Task) -> None:
    network, decode = hours.macs_of(task)
    # Each judge: 8 filters of 3 x 3 x 3 at 4 x 4 places, and 8 x 2 weights.
    assert decode == 2 * (8 * 27 * 16 + 16)
    assert network > decode
    passes = cost.of_engine(Stepwise(unguided=False), 4)
    whole = 2 * (6 * network + 5 * decode) * 1000 / 3600
    assert hours.estimated(passes, (network, decode), 1e-12, 1000) == pytest.approx(whole)


def test_a_measured_pair_of_steps(task: Task) -> None:
    # Of two calls of each kind the second counts: 2, 3 and 9 s for a batch of two.
    ends = iter([0, 50, 50, 52, 52, 99, 99, 102, 110, 150, 150, 159])
    passes = cost.of_engine(Stepwise(unguided=False), 4)
    found = hours.measured(passes, task, 10, clock=lambda: float(next(ends)))
    assert found == pytest.approx(10 * (4 * 2 + 3 * 3 + 2 * (9 - 2 - 3)) / 2 / 3600)
