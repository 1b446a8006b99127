"""The trainer: schedules, exact resume, mixing, averages, precision; DDP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

import amod
from amod.train import Job, Trainer, train
from amod.use.schedule import Schedule
from repro_shared.datasets.views import Arrays, Shift, batches
from repro_shared.metrics.classification import top_accuracy
from repro_shared.runtime.errors import DivergedError, UserError


def pictures(n: int = 24, seed: int = 0) -> Arrays:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    pixels = rng.integers(0, 100, (n, 16, 16, 3)) + 120 * targets[:, None, None, None]
    return Arrays(pixels.astype(np.uint8), targets, ("dark", "bright"), f"made {n} {seed}")


def vit(**changes: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=24, depth=4, num_heads=2,
        num_classes=2, **changes,
    )  # fmt: skip
    return amod.convert(model, capacity=0.5)


def job(**changes: Any) -> Job:
    schedule = Schedule(steps=20, batch_size=8, learning_rate=3e-3)
    base = Job(vit(), pictures(), pictures(10, 1), schedule, 0, Shift(1, mirror=True))
    return replace(base, **changes)


def scored(model: Any) -> float:
    """Accuracy on the test pictures of `job`."""
    return top_accuracy(model, batches(pictures(10, 1)))[0]


def test_rate_rises_linearly_and_falls_along_a_cosine() -> None:
    schedule = Schedule(steps=100, learning_rate=2.0, warmup=0.1)
    assert [schedule.rate(s) for s in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert schedule.rate(55) == pytest.approx(1.0)
    assert schedule.rate(99) == pytest.approx(2 * 0.5 * (1 + np.cos(np.pi * 89 / 90)))
    assert Schedule(steps=5, learning_rate=1.0, warmup=0.0).rate(0) == 1.0


def test_schedules_out_of_range_are_refused() -> None:
    for wrong in ({"steps": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"ema": 1.0}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} .* out of range"):
            replace(job().schedule, **wrong)


def test_learns_and_evaluates() -> None:
    outcome = train(job(evaluate_every=10))
    assert [point["step"] for point in outcome.curve] == [10, 20]
    assert outcome.curve[-1]["loss"] < outcome.curve[0]["loss"]
    assert outcome.curve[-1]["accuracy"] == scored(outcome.model) >= 90
    assert (outcome.samples, outcome.model.training) == (160, False)


@pytest.mark.parametrize(
    ("changes", "workers"),
    [
        ({}, 0),
        ({}, 2),
        (
            {"ema": 0.9, "mixup": 0.4, "cutmix": 0.5, "label_smoothing": 0.1, "optimiser": "sgd"},
            0,
        ),
        ({"clip": 1.0, "checkpointing": True, "amp": "bfloat16"}, 0),
    ],
)
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, changes: dict[str, Any], workers: int
) -> None:
    schedule = replace(job().schedule, **changes)
    whole = train(job(model=vit(drop_path_rate=0.2), schedule=schedule, evaluate_every=7))
    stopped = job(
        model=vit(drop_path_rate=0.2), schedule=schedule, evaluate_every=7, workers=workers,
        directory=tmp_path, checkpoint_every=5, identity="one",
    )  # fmt: skip
    trainer = Trainer(stopped)
    step, calls = trainer.step, iter(range(13))

    def interrupted(*batch: Any) -> float:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return step(*batch)

    trainer.step = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    torch.manual_seed(99)
    again = Trainer(replace(stopped, model=vit(drop_path_rate=0.2)))
    assert again.done == 10
    resumed = again.run()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    assert resumed.curve == whole.curve
    with pytest.raises(UserError, match="holds another run"):
        Trainer(replace(stopped, identity="other"))


def test_averaged_weights_are_the_ones_kept_and_scored() -> None:
    outcome = train(job(schedule=replace(job().schedule, ema=0.99)))
    plain = train(job())
    near = outcome.model.state_dict()["head.weight"] - vit().state_dict()["head.weight"]
    far = plain.model.state_dict()["head.weight"] - vit().state_dict()["head.weight"]
    assert near.norm() < 0.5 * far.norm()
    assert outcome.curve[-1]["accuracy"] == scored(outcome.model)


def test_a_diverged_run_stops() -> None:
    model = vit()
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(DivergedError, match="step 1"):
        train(job(model=model))
    with pytest.raises(UserError, match="odd"):
        train(job(schedule=replace(job().schedule, mixup=0.5, batch_size=7)))


def mislabelled() -> Arrays:
    """Nine pictures, of which one that has learned `pictures` gets 5 right."""
    return replace(pictures(9, 1), targets=np.arange(9) // 5)


DDP = """
import json, sys, torch
sys.path.insert(0, sys.argv[1])
from test_train import job, mislabelled
from amod.train import train
from repro_shared.runtime.distributed import processes
torch.set_num_threads(1)
outcome = train(job(test=mislabelled()))
rank = processes()[0]
if rank == 0:
    torch.save(outcome.model.state_dict(), sys.argv[2] + "/weights.pt")
with open(f"{sys.argv[2]}/{rank}.json", "w") as file:
    json.dump(outcome.curve[-1]["accuracy"], file)
torch.distributed.destroy_process_group()
"""


def test_two_processes_train_the_same_model_as_one(tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(DDP)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        str(script), str(Path(__file__).parent), str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone = train(job(test=mislabelled()))
    together = torch.load(tmp_path / "weights.pt", weights_only=True)
    for key, value in alone.model.state_dict().items():
        torch.testing.assert_close(together[key], value, rtol=1e-3, atol=1e-4)
    for rank in (0, 1):  # 3 of 5 and 2 of 4 pictures are right: both processes know of all
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found == alone.curve[-1]["accuracy"] == pytest.approx(100 * 5 / 9)
