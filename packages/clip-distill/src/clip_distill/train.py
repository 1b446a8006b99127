"""The one loop that trains students, in both stages; a killed run goes on to the same weights.

What a step sees depends on the seed and the number of the step alone, so a checkpoint needs no
state of any generator. The result is the last step's: where images are synthetic there is no real
validation split to choose by, and the test split is never looked at.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clip_distill.method.objective import Objective
from clip_distill.use.lessons import Lessons, collate
from clip_distill.use.steps import (
    Learner,
    Stepper,
    Training,
    optimiser_of,
    resumed,
    save_progress,
)
from clip_distill.use.students import Student
from repro_shared.datasets.views import readable
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.memory import PeakMemory
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, endless_loader

CHECKPOINT_SECONDS = 60.0  # between two checkpoints


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
    learner = Learner(student, objective).to(device).train()
    optimiser = optimiser_of(learner, training)
    store = CheckpointStore(directory) if directory else None
    done, seconds, losses = resumed(store, learner, optimiser, identity)
    trained: nn.Module = learner
    if world > 1:
        if device == "cuda":
            trained = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        trained = DistributedDataParallel(trained)
    loader = endless_loader(
        lessons, seed, size, done * size, workers, rank, world, collate_fn=collate
    )  # fmt: skip
    batches, last_save = readable(loader), time.perf_counter()
    stepper = Stepper(learner, trained, optimiser, lessons, objective, device, training.amp)
    with Progress(steps, label, done) as progress:
        while done < steps:
            began = time.perf_counter()
            torch.manual_seed(derive_seed(seed, "step", done, rank))
            value = stepper.step(next(batches), training.rate(done, steps), done)
            done += 1
            losses.append(value)
            seconds += time.perf_counter() - began
            progress.update(done, loss=value)
            if store and rank == 0 and done < steps and began - last_save > CHECKPOINT_SECONDS:
                last_save = began
                save_progress(store, done, learner, optimiser, identity, seconds, losses)
    if world > 1:
        dist.barrier()
    tenths = [sum(part) / len(part) for part in _tenths(losses)]
    learned = None if learner.temperature is None else float(learner.temperature().detach())
    return Trained(student.eval(), seconds, done * size, tenths, learned, memory.mb())


def _tenths(losses: list[float]) -> list[list[float]]:
    cuts = [round(len(losses) * part / 10) for part in range(11)]
    parts = [losses[a:b] for a, b in pairwise(cuts)]
    return [part for part in parts if part]
