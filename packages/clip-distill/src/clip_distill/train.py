"""The one loop that trains students, in both stages; a killed run goes on to the same weights.

What a step sees depends on the seed and the number of the step alone, so a checkpoint needs no
state of any generator. The result is the last step's: where images are synthetic there is no real
validation split to choose by, and the test split is never looked at.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clip_distill.method.objective import Objective, Temperature
from clip_distill.use.lessons import Lessons, collate
from clip_distill.use.students import Student
from repro_shared.datasets.views import readable
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.checks import require
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.memory import PeakMemory
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, endless_loader

CHECKPOINT_SECONDS = 60.0  # between two checkpoints
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


@dataclass
class Trained:
    """A finished training.

    Attributes:
        student: in evaluation mode.
        seconds: inside steps, those of earlier processes included.
        samples: pictures seen.
        losses: mean loss of each tenth of the steps.
        temperature: the learned one; None where none was learned.
        peak_memory_mb: of the process, or of the CUDA device.
    """

    student: Student
    seconds: float
    samples: int
    losses: list[float]
    temperature: float | None
    peak_memory_mb: float | None


class _Learner(nn.Module):
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


def fit(
    student: Student,
    lessons: Lessons,
    objective: Objective,
    training: Training,
    seed: int,
    device: str = "cpu",
    directory: Path | None = None,
    identity: str = "",
    label: str = "distillation",
    workers: int = 0,
) -> Trained:
    """Train a student; under torchrun each process has its part of every batch.

    Args:
        student: initialised by the caller, the same in all processes.
        lessons: pictures and what the teacher says of them.
        objective: what is minimised.
        training: how.
        seed: of the order of the pictures and of dropout.
        device: cpu or cuda.
        directory: where checkpoints lie; None keeps none.
        identity: what must be equal for a checkpoint to be resumed.
        label: for the progress line.
        workers: decoding processes.

    Raises:
        DivergedError: a loss or a gradient that is not finite; no step was made with it.
        UserError: what the loss reads is not there; a batch too small for it; the checkpoint is of
            another run.
    """
    lessons.check(objective)
    rank, world = processes(device)
    size, steps = training.batch_size, training.steps(len(lessons))
    if size < objective.smallest_batch or size < world:
        needed = max(objective.smallest_batch, world)
        raise UserError(f"--batch-size {size}: this loss needs at least {needed} pictures a step")
    memory = PeakMemory()
    learner = _Learner(student, objective).to(device).train()
    optimiser = _optimiser(learner, training)
    store = CheckpointStore(directory) if directory else None
    done, seconds, losses = _resume(store, learner, optimiser, identity)
    trained: nn.Module = learner
    if world > 1:
        if device == "cuda":
            trained = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        trained = DistributedDataParallel(trained)
    loader = endless_loader(
        lessons, seed, size, done * size, workers, rank, world, collate_fn=collate
    )  # fmt: skip
    batches, last_save = readable(loader), time.perf_counter()
    with Progress(steps, label, done) as progress:
        while done < steps:
            began = time.perf_counter()
            torch.manual_seed(derive_seed(seed, "step", done, rank))
            pixels, samples, views = next(batches)
            for group in optimiser.param_groups:
                group["lr"] = training.rate(done, steps)
            images = lessons.prepared.normalise(pixels.to(device))
            with _autocast(training.amp, device):
                features, tau = trained(images)
            loss = objective.value(lessons.batch(features, samples, views), tau)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.get_total_norm(
                [p.grad for p in learner.parameters() if p.grad is not None]
            )
            value = float(loss.detach())
            if not (bool(norm.isfinite()) and math.isfinite(value)):
                named = ", ".join(lessons.pictures.ids[index] for index in samples[:_NAMED])
                raise DivergedError(
                    f"the loss is {value:g}, its gradient {float(norm):g} at step {done + 1} "
                    f"({named}, ...); try a lower learning rate or a higher temperature"
                )
            optimiser.step()
            done += 1
            losses.append(value)
            seconds += time.perf_counter() - began
            progress.update(done, loss=value)
            if store and rank == 0 and done < steps and began - last_save > CHECKPOINT_SECONDS:
                last_save = began
                store.save(done, {
                    "identity": identity, "seconds": seconds, "losses": losses,
                    "learner": learner.state_dict(), "optimiser": optimiser.state_dict(),
                })  # fmt: skip
    if world > 1:
        dist.barrier()
    tenths = [sum(part) / len(part) for part in _tenths(losses)]
    learned = None if learner.temperature is None else float(learner.temperature().detach())
    return Trained(student.eval(), seconds, done * size, tenths, learned, memory.mb())


def _optimiser(learner: nn.Module, training: Training) -> torch.optim.Optimizer:
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, training.learning_rate, (0.9, 0.98), 1e-6)


def _resume(
    store: CheckpointStore | None, learner: nn.Module, optimiser: Any, identity: str
) -> tuple[int, float, list[float]]:
    """Steps, seconds and losses so far; the weights are put where they belong."""
    saved = store.load_latest() if store else None
    if store is None or saved is None:
        return 0, 0.0, []
    done, state = saved
    if state["identity"] != identity:
        raise UserError(f"{store.directory} holds another run: give another --out, or remove it")
    learner.load_state_dict(state["learner"])
    optimiser.load_state_dict(state["optimiser"])
    return done, state["seconds"], list(state["losses"])


def _tenths(losses: list[float]) -> list[list[float]]:
    cuts = [round(len(losses) * part / 10) for part in range(11)]
    parts = [losses[a:b] for a, b in pairwise(cuts)]
    return [part for part in parts if part]


def _autocast(amp: bool, device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16) if amp else nullcontext()
