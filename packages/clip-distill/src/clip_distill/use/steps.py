"""How a student is trained, and one step of it.

The loop is `clip_distill.train.fit`; benches time single steps.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clip_distill.method.objective import Objective, Temperature
from clip_distill.use.lessons import Lessons
from clip_distill.use.students import Student
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import DivergedError, UserError

_NAMED = 3  # samples of a batch that an error names


@dataclass(frozen=True)
class Training:
    """How long and how a student is trained; the defaults are the authors' code's.

    Attributes:
        epochs: passes over the pictures; a part of one is allowed.
        batch_size: pictures a step, of all processes together.
        learning_rate: of AdamW with betas (0.9, 0.98) and eps 1e-6.
        weight_decay: of weight matrices and filters; biases and normalisations have none.
        schedule: the rate stays, or falls to 0 as a cosine.
        warmup: steps in which the rate rises linearly.
        amp: bfloat16 autocast.
    """

    epochs: float = 1.0
    batch_size: int = 256
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    amp: bool = False

    def __post_init__(self) -> None:
        require(0 < self.epochs < math.inf, "--epochs", "above 0", self.epochs)
        require(self.batch_size >= 1, "--batch-size", "at least 1", self.batch_size)
        rate = self.learning_rate
        require(0 < rate < math.inf, "--learning-rate", "above 0", rate)
        require(0 <= self.weight_decay < math.inf, "--weight-decay", "0 or more", self.weight_decay)
        require(self.warmup >= 0, "--warmup", "0 or more", self.warmup)

    def steps(self, samples: int) -> int:
        """Steps over so many pictures, at least one."""
        return max(1, round(self.epochs * samples / self.batch_size))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        if self.schedule == "constant":
            return self.learning_rate
        passed = (step - self.warmup) / max(1, steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


STAGES = {
    # Domain-agnostic: one pass over web images; domain-specific: 96 over the synthetic ones.
    1: Training(epochs=1.0),
    2: Training(epochs=96.0),
}
"""As the authors' example scripts have them."""


class Learner(nn.Module):
    """All that is trained, so that DistributedDataParallel sees it as one module."""

    def __init__(self, student: Student, objective: Objective) -> None:
        super().__init__()
        self.student = student
        self.temperature = None
        if objective.learned and objective.temperature is not None:
            self.temperature = Temperature(objective.temperature)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features, and the learned temperature."""
        tau = None if self.temperature is None else self.temperature()
        return self.student(images), tau


Drawn = tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]
"""Pixels uint8 (b, s, s, 3), samples (b,) and views (b,)."""


@dataclass(frozen=True)
class Stepper:
    """Single steps of a training, for the loop and for benches.

    Attributes:
        learner: student and learned temperature.
        trained: the same, as it is called: under DistributedDataParallel, perhaps.
        optimiser: of its weights.
        lessons: what is learned.
        objective: what is minimised.
        device: cpu or cuda.
        amp: bfloat16 autocast.
    """

    learner: nn.Module
    trained: nn.Module
    optimiser: torch.optim.Optimizer
    lessons: Lessons
    objective: Objective
    device: str = "cpu"
    amp: bool = False

    @classmethod
    def of(
        cls, student: Student, lessons: Lessons, objective: Objective, training: Training
    ) -> Stepper:
        """Of one process on the student's device, from the start."""
        device = next(student.parameters()).device.type
        learner = Learner(student, objective).to(device).train()
        optimiser = optimiser_of(learner, training)
        return cls(learner, learner, optimiser, lessons, objective, device, training.amp)

    def step(self, drawn: Drawn, rate: float, number: int) -> float:
        """One step; the loss before it.

        Args:
            drawn: what is looked at.
            rate: the learning rate.
            number: of the step, from 0, for the error.

        Raises:
            DivergedError: a loss or a gradient that is not finite; no step was made with it.
        """
        pixels, samples, views = drawn
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images = self.lessons.prepared.normalise(pixels.to(self.device))
        with _autocast(self.amp, self.device):
            features, tau = self.trained(images)
        loss = self.objective.value(self.lessons.batch(features, samples, views), tau)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.get_total_norm(
            [p.grad for p in self.learner.parameters() if p.grad is not None]
        )
        value = float(loss.detach())
        if not (bool(norm.isfinite()) and math.isfinite(value)):
            named = ", ".join(self.lessons.pictures.ids[index] for index in samples[:_NAMED])
            raise DivergedError(
                f"the loss is {value:g}, its gradient {float(norm):g} at step {number + 1} "
                f"({named}, ...); try a lower learning rate or a higher temperature"
            )
        self.optimiser.step()
        return value


def optimiser_of(learner: nn.Module, training: Training) -> torch.optim.Optimizer:
    """AdamW as the authors' code has it, of all weights that are trained."""
    return adamw(learner, training.learning_rate, training.weight_decay)


def adamw(module: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
    """AdamW with betas (0.9, 0.98) and eps 1e-6; biases and normalisations do not decay."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, rate, (0.9, 0.98), 1e-6)


def save_progress(
    store: CheckpointStore, done: int, module: nn.Module, optimiser: torch.optim.Optimizer,
    identity: str, seconds: float, losses: list[float],
) -> None:  # fmt: skip
    """A checkpoint after `done` steps, as `resumed` reads it."""
    store.save(done, {
        "identity": identity, "seconds": seconds, "losses": losses,
        "weights": module.state_dict(), "optimiser": optimiser.state_dict(),
    })  # fmt: skip


def resumed(
    store: CheckpointStore | None, module: nn.Module, optimiser: torch.optim.Optimizer,
    identity: str,
) -> tuple[int, float, list[float]]:  # fmt: skip
    """Steps, seconds and losses so far; the weights are put where they belong.

    Raises:
        UserError: the checkpoint is of another run.
    """
    saved = store.load_latest() if store else None
    if store is None or saved is None:
        return 0, 0.0, []
    done, state = saved
    if state["identity"] != identity:
        raise UserError(f"{store.directory} holds another run: give another --out, or remove it")
    module.load_state_dict(state["weights"])
    optimiser.load_state_dict(state["optimiser"])
    return done, state["seconds"], list(state["losses"])


def _autocast(amp: bool, device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16) if amp else nullcontext()
