"""The one loop that trains detectors and segmenters; a killed run goes on to the same weights.

Every subset of a pool is trained for the same number of steps. What a step sees, its random
numbers included, depends on the seed and the number of the step alone: so arms of one seed are
paired, and a checkpoint needs no state of any generator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.memory import PeakMemory
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed

CHECKPOINT_SECONDS = 60.0  # between two checkpoints

LossFn = Callable[[Any, Any], Tensor]
DrawBatch = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Training:
    """How long and how a network is trained.

    Attributes:
        steps: optimiser steps, the same for every subset of a pool.
        batch_size: images a step; for whoever draws the batches.
        optimiser: AdamW, or SGD with momentum.
        learning_rate: the highest, reached after the warm-up; from there a cosine falls to 0.
        weight_decay: of weight matrices and filters; biases and normalisations have none.
        momentum: of SGD.
        warmup: share of the steps in which the rate rises linearly.
        clip: largest norm of the gradient, 0 for any.
        average: decay of the exponential moving average of the weights, which is then what is
            returned; 0 for none.
        amp: bfloat16 where that is safe, on a GPU.
    """

    steps: int
    batch_size: int = 16
    optimiser: Literal["AdamW", "SGD"] = "AdamW"
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    warmup: float = 0.05
    clip: float = 10.0
    average: float = 0.0
    amp: bool = False

    def __post_init__(self) -> None:
        require(self.steps >= 1, "--steps", "at least 1", self.steps)
        require(self.batch_size >= 1, "--batch-size", "at least 1", self.batch_size)
        rate = self.learning_rate
        require(0 < rate < math.inf, "--learning-rate", "above 0", rate)
        require(0 <= self.weight_decay < math.inf, "--weight-decay", "0 or more", self.weight_decay)
        require(0 <= self.warmup < 1, "--warmup", "0 or more and below 1", self.warmup)
        require(self.clip >= 0, "--clip", "0 or more", self.clip)
        require(0 <= self.average < 1, "--average", "0 or more and below 1", self.average)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = round(self.warmup * self.steps)
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        passed = (step - rise) / max(1, self.steps - rise)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))

    def make_optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """Over all weights that learn."""
        learning = [weight for weight in model.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in learning if w.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [w for w in learning if w.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.optimiser == "SGD":
            return torch.optim.SGD(groups, self.learning_rate, self.momentum)
        return torch.optim.AdamW(groups, self.learning_rate)


@dataclass
class Trained:
    """A finished training: the network in evaluation mode, and what it cost.

    Attributes:
        model: the network that was given, or a copy of it with averaged weights.
        seconds: inside steps, those of earlier processes included.
        samples: images seen.
        losses: mean loss of each tenth of the steps.
        peak_memory_mb: of the process, or of the CUDA device.
    """

    model: Any
    seconds: float
    samples: int
    losses: list[float]
    peak_memory_mb: float | None


def fit(
    model: nn.Module,
    loss_fn: LossFn,
    draw_batch: DrawBatch,
    config: Training,
    seed: int,
    device: str = "cpu",
    directory: Path | None = None,
    identity: str = "",
    label: str = "training",
) -> Trained:
    """Train a network for a fixed number of steps.

    Args:
        model: initialised by the caller, the same for all arms of a seed.
        loss_fn: of (model, batch), one number.
        draw_batch: of a generator that is new for every step: tensors, or lists, tuples and
            dictionaries of them.
        config: how.
        seed: of the batches and of dropout.
        device: of the network and the batches.
        directory: where checkpoints lie; None keeps none.
        identity: what must be equal for a checkpoint to be resumed.
        label: for the progress line.

    Raises:
        DivergedError: a loss or a gradient that is not finite.
        UserError: the checkpoint is of another run.
    """
    memory = PeakMemory()
    model.to(device).train()
    optimiser = config.make_optimiser(model)
    average = _averaged(model, config.average)
    store = CheckpointStore(directory) if directory else None
    done, seconds, losses = 0, 0.0, list[float]()
    saved = store.load_latest() if store else None
    if saved is not None:
        done, state = saved
        if state["identity"] != identity:
            raise UserError(f"{directory} holds another run: give another --out, or remove it")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        if average is not None:
            average.load_state_dict(state["average"])
        seconds, losses = state["seconds"], list(state["losses"])
    last_save = time.perf_counter()
    with Progress(config.steps, label, done) as progress:
        while done < config.steps:
            began = time.perf_counter()
            torch.manual_seed(derive_seed(seed, "step", done))
            batch = moved(draw_batch(np.random.default_rng([seed, done])), device)
            for group in optimiser.param_groups:
                group["lr"] = config.rate(done)
            with _autocast(config, device):
                loss = loss_fn(model, batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf)
            value = float(loss.detach())
            if not (math.isfinite(value) and bool(norm.isfinite())):
                problem = f"the loss is {value:g}, its gradient {float(norm):g} at step {done + 1}"
                raise DivergedError(f"{problem}; try a lower learning rate")
            optimiser.step()
            if average is not None:
                average.update_parameters(model)
            done += 1
            losses.append(value)
            seconds += time.perf_counter() - began
            progress.update(done, loss=value)
            if store and done < config.steps and began - last_save > CHECKPOINT_SECONDS:
                last_save = began
                store.save(done, {
                    "identity": identity, "seconds": seconds, "losses": losses,
                    "model": model.state_dict(), "optimiser": optimiser.state_dict(),
                    "average": average.state_dict() if average is not None else None,
                })  # fmt: skip
    final = model if average is None else average.module
    tenths = [float(np.mean(part)) for part in np.array_split(losses, 10) if len(part)]
    return Trained(final.eval(), seconds, done * config.batch_size, tenths, memory.mb())


def moved(batch: Any, device: str) -> Any:
    """A batch on a device: tensors in lists, tuples and dictionaries of any depth."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, device) for value in batch)
    return batch


def _averaged(model: nn.Module, decay: float) -> AveragedModel | None:
    """The moving average of weights and of batch norm's statistics."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _autocast(config: Training, device: str) -> AbstractContextManager[Any]:
    if config.amp and device.startswith("cuda"):
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
