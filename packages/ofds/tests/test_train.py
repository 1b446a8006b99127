"""The loop: it learns, resumes to the same weights, stops at NaN, and pairs arms by seed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ofds import train
from ofds.train import Training, fit, moved
from repro_shared.runtime.errors import DivergedError, UserError


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
    )


def draw(generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(generator.normal(size=(16, 4))).float()
    return x, x.sum(dim=1, keepdim=True)


def squared(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    return ((model(batch[0]) - batch[1]) ** 2).mean()


class KilledError(Exception):
    pass


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_it_learns() -> None:
    done = fit(network(), squared, draw, Training(200, learning_rate=1e-2), seed=0)
    assert len(done.losses) == 10
    assert done.losses[-1] < 0.5 * done.losses[0]
    assert done.samples == 200 * 16
    assert not done.model.training


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("optimiser", ["AdamW", "SGD"])
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float, optimiser: Any
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -math.inf)  # after every step
    config = Training(12, optimiser=optimiser, average=average)
    whole = fit(network(), squared, draw, config, seed=5)
    steps = 0

    def until(model: Any, batch: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KilledError
        return squared(model, batch)

    with pytest.raises(KilledError):
        fit(network(), until, draw, config, 5, directory=tmp_path, identity="a")
    seen = list[int]()

    def counted(model: Any, batch: Any) -> Tensor:
        seen.append(1)
        return squared(model, batch)

    again = fit(network(), counted, draw, config, 5, directory=tmp_path, identity="a")
    assert len(seen) == 5
    assert all(
        torch.equal(a, b) for a, b in zip(weights(whole.model), weights(again.model), strict=True)
    )
    assert again.losses == whole.losses
    with pytest.raises(UserError, match="holds another run"):
        fit(network(), squared, draw, config, 5, directory=tmp_path, identity="b")


def test_arms_of_a_seed_see_the_same_draws() -> None:
    drawn: dict[int, list[float]] = {}
    for arm in (0, 1):

        def noted(generator: np.random.Generator, arm: int = arm) -> tuple[Tensor, Tensor]:
            x, y = draw(generator)
            drawn.setdefault(arm, []).append(float(x[0, 0]))
            return x, y

        fit(network(), squared, noted, Training(4 + arm), seed=7)
    assert drawn[0] == drawn[1][:4]
    assert len(set(drawn[1])) == 5


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nan_stops_with_one_line(where: str) -> None:
    def broken(model: Any, batch: Any) -> Tensor:
        loss = squared(model, batch)
        if where == "loss":
            return loss * math.nan
        return loss + (model[0].weight.sum() * 0).sqrt()  # the gradient of a root at 0

    with pytest.raises(DivergedError, match="at step 1; try a lower learning rate"):
        fit(network(), broken, draw, Training(3), seed=0)


def test_schedule_and_groups() -> None:
    config = Training(100, learning_rate=1.0, warmup=0.1)
    rates = [config.rate(step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
    groups = config.make_optimiser(network()).param_groups
    assert [len(group["params"]) for group in groups] == [2, 4]
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


@pytest.mark.parametrize(
    ("field", "value"), [("steps", 0), ("learning_rate", 0.0), ("warmup", 1.0), ("average", 1.0)]
)
def test_settings_that_cannot_be(field: str, value: float) -> None:
    with pytest.raises(UserError, match="must be"):
        replace(Training(10), **{field: value})  # type: ignore[arg-type]


def test_batches_of_any_depth_move() -> None:
    batch = (torch.zeros(1), [{"boxes": torch.zeros(2, 4), "name": "a"}])
    there = moved(batch, "meta")
    assert there[0].device.type == there[1][0]["boxes"].device.type == "meta"
    assert there[1][0]["name"] == "a"
