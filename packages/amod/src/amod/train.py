"""The trainer: fine-tuning and transfer as the paper names them; one process resumes to the byte.

`Trainer` reads from top to bottom: build, run, step, evaluate, save, restore. torchrun starts it on
several processes, with DistributedDataParallel.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from amod.use.schedule import Schedule, autocast, mixing
from repro_shared.datasets.views import (
    PLAIN,
    Labelled,
    Source,
    View,
    Views,
    batches,
    readable,
)
from repro_shared.metrics.classification import top_accuracy
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.memory import PeakMemory
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import (
    capture_rng,
    derive_seed,
    endless_loader,
    restore_rng,
    seed_everything,
)


@dataclass
class Job:
    """One training run.

    Attributes:
        model: trained in place; returned weights are the averaged ones where `ema` is set.
        train, test: pictures; without a test set the curve holds losses only.
        schedule: how.
        seed: of data order, views, mixup and stochastic depth; initialisation is the caller's.
        view, test_view: how pictures become tensors.
        directory: where checkpoints lie; None keeps none.
        identity: what must be equal for a checkpoint to be resumed.
        evaluate_every: steps between evaluations; 0 evaluates at the end only.
        checkpoint_every: steps between checkpoints.
        workers, device, label: as they say.
        best: called with the model whenever an evaluation scores higher than all before.
    """

    model: Any
    train: Source
    test: Source | None
    schedule: Schedule
    seed: int
    view: View = PLAIN
    test_view: View = PLAIN
    directory: Path | None = None
    identity: str = ""
    evaluate_every: int = 0
    checkpoint_every: int = 500
    workers: int = 0
    device: str = "cpu"
    label: str = "training"
    best: Callable[[nn.Module], None] | None = None


@dataclass
class Outcome:
    """What a run left: the trained model, its curve, and what it cost."""

    model: Any
    seconds: float
    samples: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    peak_memory_mb: float | None = None


class Trainer:
    """A job in progress: everything that a checkpoint holds, and one step."""

    def __init__(self, job: Job) -> None:
        schedule, (self.rank, self.world) = job.schedule, processes(job.device)
        self.memory = PeakMemory()
        self.job = job
        local = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        self.device = torch.device(local if job.device == "cuda" else job.device)
        self.model = job.model.to(self.device).train()
        self.model.set_grad_checkpointing(schedule.checkpointing)
        self.optimiser = create_optimizer_v2(
            self.model,
            schedule.optimiser,
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            momentum=schedule.momentum,
        )
        self.average = ModelEmaV3(self.model, decay=schedule.ema) if schedule.ema else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=schedule.amp == "float16")
        self.mixing = mixing(schedule, len(job.train.classes), self.world)
        smoothing = 0.0 if self.mixing else schedule.label_smoothing  # else mixup smooths
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.done, self.seconds, self.loss_sum, self.loss_count = 0, 0.0, 0.0, 0
        self.curve: list[dict[str, Any]] = []
        seed_everything(derive_seed(job.seed, "training", self.rank))
        self.store = CheckpointStore(job.directory) if job.directory else None
        saved = self.store.load_latest() if self.store else None
        if saved is not None:
            self.restore(*saved)
        wrap = self.world > 1
        self.network: nn.Module = DistributedDataParallel(self.model) if wrap else self.model

    def run(self) -> Outcome:
        """All steps that are left, with evaluations and checkpoints between them."""
        job, steps = self.job, self.job.schedule.steps
        seed, size = derive_seed(job.seed, "views"), job.schedule.batch_size
        loader = endless_loader(
            Views(job.train, Labelled(job.view), seed), seed, size, self.done * size, job.workers,
            self.rank, self.world, pin_memory=self.device.type == "cuda",
        )  # fmt: skip
        stream = readable(loader)
        with Progress(steps, job.label, self.done) as progress:
            while self.done < steps:
                began = time.perf_counter()
                loss = self.step(*next(stream))
                self.seconds += time.perf_counter() - began
                if self.rank == 0:
                    progress.update(self.done, loss=loss)
                last = self.done == steps
                if last or (job.evaluate_every and self.done % job.evaluate_every == 0):
                    self.evaluate(progress)
                if not last and self.done % job.checkpoint_every == 0:
                    self.save()
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        self.model.eval()
        return Outcome(
            self.model,
            self.seconds,
            steps * job.schedule.batch_size,
            self.curve,
            self.memory.mb(),
        )

    def step(self, images: Tensor, targets: Tensor) -> float:
        """One optimiser step; returns the loss."""
        schedule = self.job.schedule
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.rate(self.done) * group.get("lr_scale", 1.0)
        images = images.to(self.device, non_blocking=True)
        targets = targets.to(self.device, non_blocking=True)
        if self.mixing is not None:
            images, targets = self.mixing(images, targets)
        with autocast(schedule, self.device):
            loss = self.criterion(self.network(images), targets)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if schedule.clip:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), schedule.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        value = float(loss.detach())
        if not math.isfinite(value):
            problem = f"the loss is {value} at step {self.done + 1}"
            raise DivergedError(f"{problem}; try a lower learning rate")
        if self.average is not None:
            self.average.update(self.model, step=self.done)
        self.done += 1
        self.loss_sum, self.loss_count = self.loss_sum + value, self.loss_count + 1
        return value

    def evaluate(self, progress: Progress) -> None:
        """Add a point to the curve: mean loss since the last one, accuracy of the weights kept."""
        point: dict[str, Any] = {"step": self.done, "loss": self.loss_sum / self.loss_count}
        if self.job.test is not None:
            scored = self.average.module if self.average is not None else self.model
            loader = batches(
                self.job.test, self.job.test_view,
                workers=self.job.workers, rank=self.rank, world=self.world,
            )  # fmt: skip

            def tell(step: int, **_: float) -> None:
                if self.rank == 0:
                    progress.update(self.done, evaluated=f"{step}/{len(loader)} batches")

            point["accuracy"] = top_accuracy(scored, loader, tell, self.world)[0]
            before = max((known["accuracy"] for known in self.curve), default=-1.0)
            if self.job.best is not None and point["accuracy"] > before:
                self.job.best(scored)
        self.curve.append(point)
        self.loss_sum, self.loss_count = 0.0, 0

    def save(self) -> None:
        """A checkpoint, by the first process."""
        if self.store is None or self.rank != 0:
            return
        state = {
            "identity": self.job.identity,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.module.state_dict() if self.average is not None else None,
            "random": capture_rng(),
            "seconds": self.seconds,
            "loss": [self.loss_sum, self.loss_count],
            "curve": self.curve,
        }
        self.store.save(self.done, state)

    def restore(self, done: int, state: dict[str, Any]) -> None:
        """The inverse of `save`.

        Raises:
            UserError: the checkpoint is of another run.
        """
        if state["identity"] != self.job.identity:
            where = self.job.directory
            raise UserError(f"{where} holds another run: give another --out, or remove it")
        self.done = done
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.seconds, self.curve = state["seconds"], list(state["curve"])
        self.loss_sum, self.loss_count = state["loss"]
        if self.world == 1:
            restore_rng(state["random"])
        else:  # only the first process's stream was saved: all begin new ones
            seed_everything(derive_seed(self.job.seed, "training", self.rank, done))


def train(job: Job) -> Outcome:
    """Train to the end, going on from the last checkpoint of the same identity.

    Raises:
        UserError: a checkpoint of another run, a batch that does not divide over the processes.
        DivergedError: the loss is not finite.
    """
    return Trainer(job).run()
