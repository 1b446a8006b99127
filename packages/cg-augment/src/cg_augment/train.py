"""Distillation: one loop for all rows, and the rounds of the method around it.

A student learns from a frozen teacher's soft labels of the same views. What a step sees depends on
the seed and the number of the step alone, so a killed run goes on to the same weights, and a
checkpoint needs no state of any generator. No group label comes in here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from cg_augment.method.losses import feature_distance, soft_cross_entropy
from cg_augment.rivals.adversarial import Adversarial, adversarial
from cg_augment.rivals.mixing import Mixing, mixed
from cg_augment.use.classifiers import Classifier
from cg_augment.use.lessons import Batch, Lessons, View, collate
from cg_augment.use.pictures import Pictures, Union
from repro_shared.datasets.views import readable
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.checks import require
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.memory import PeakMemory
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, endless_loader, isolated_rng

CHECKPOINT_SECONDS = 60.0  # between two checkpoints
_NAMED = 3  # pictures of a batch that an error names


@dataclass(frozen=True)
class Distillation:
    """How a student is distilled: all that decides it besides pictures, teacher and seed.

    Attributes:
        steps: optimiser steps.
        batch_size: pictures a step, of all processes together.
        optimiser: AdamW, or SGD with momentum 0.9.
        learning_rate: the highest, reached after the warm-up; from there a cosine falls to 0.
        weight_decay: of weight matrices and filters; biases and normalisations have none.
        warmup: share of the steps in which the rate rises linearly.
        clip: largest norm of the gradient, 0 for any.
        amp: bfloat16 autocast.
        temperature: of both softmaxes; 1 as in the paper (second-hand).
        labels: weight of the cross-entropy with the class, beside the teacher's; 0 in the paper.
        view: what is seen of a picture.
        mixing: of the images of a batch, before the teacher labels them.
        alpha: of the mixing weight's distribution, Beta(alpha, alpha).
        features: weight of `feature_distance`, with a linear map into the teacher's space.
        attack: turn a share of each batch into adversarial images; None for none.
        generated: share of each batch that is drawn from generated images; 0 draws from the plain
            union, in which every image counts alike.
    """

    steps: int
    batch_size: int = 64
    optimiser: Literal["AdamW", "SGD"] = "AdamW"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 0.0
    amp: bool = False
    temperature: float = 1.0
    labels: float = 0.0
    view: View = field(default_factory=View)
    mixing: Mixing = "none"
    alpha: float = 1.0
    features: float = 0.0
    attack: Adversarial | None = None
    generated: float = 0.0

    def __post_init__(self) -> None:
        require(self.steps >= 1, "--steps", "at least 1", self.steps)
        require(self.batch_size >= 1, "--batch-size", "at least 1", self.batch_size)
        rate = self.learning_rate
        require(0 < rate < math.inf, "--learning-rate", "above 0", rate)
        require(0 <= self.weight_decay < math.inf, "--weight-decay", "0 or more", self.weight_decay)
        require(0 <= self.warmup < 1, "--warmup", "0 or more and below 1", self.warmup)
        require(0 <= self.clip < math.inf, "--clip", "0 or more", self.clip)
        require(0 < self.temperature < math.inf, "--temperature", "above 0", self.temperature)
        require(0 <= self.labels < math.inf, "--labels", "0 or more", self.labels)
        require(0 < self.alpha < math.inf, "--alpha", "above 0", self.alpha)
        require(0 <= self.features < math.inf, "--features", "0 or more", self.features)
        require(0 <= self.generated < 1, "--share", "0 or more and below 1", self.generated)

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
            return torch.optim.SGD(groups, self.learning_rate, momentum=0.9)
        return torch.optim.AdamW(groups, self.learning_rate)


@dataclass
class Trained:
    """A finished training.

    Attributes:
        student: in evaluation mode.
        seconds: inside steps, those of earlier processes included.
        images: seen by the student.
        losses: mean loss of each tenth of the steps.
        history: (epochs, pictures) loss of each picture in each whole pass; None where not kept.
        peak_memory_mb: of the process, or of the CUDA device.
    """

    student: Classifier
    seconds: float
    images: int
    losses: list[float]
    history: NDArray[np.float32] | None
    peak_memory_mb: float | None


class _Learner(nn.Module):
    """All that is trained, so that DistributedDataParallel sees it as one module."""

    def __init__(self, student: Classifier, teacher: Classifier, maps: bool, seed: int) -> None:
        super().__init__()
        self.student, self.map = student, None
        if maps:
            student.eval()
            with torch.no_grad(), isolated_rng(derive_seed(seed, "map")):
                device = student.mean.device
                blank = torch.zeros(1, 3, student.size, student.size, device=device)
                widths = [each.features(blank).shape[1] for each in (student, teacher)]
                self.map = nn.Linear(widths[0], widths[1]).to(device)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and features in the teacher's space."""
        features, logits = self.student.both(images)
        return logits, None if self.map is None else self.map(features)


def fit(
    student: Classifier,
    teacher: Classifier,
    pictures: Pictures,
    config: Distillation,
    seed: int,
    generated: Pictures | None = None,
    device: str = "cpu",
    directory: Path | None = None,
    identity: str = "",
    label: str = "distillation",
    workers: int = 0,
    history: bool = False,
) -> Trained:
    """Distil a student; under torchrun each process has its part of every batch.

    Args:
        student: as it begins, the same in all processes; trained in place.
        teacher: frozen, of the same classes.
        pictures: with their classes.
        config: how.
        seed: of order, views, mixing and dropout.
        generated: images of the same classes that are added.
        device: cpu or cuda.
        directory: where checkpoints lie; None keeps none.
        identity: what must be equal for a checkpoint to be resumed.
        label: for the progress line.
        workers: decoding processes.
        history: keep each picture's losses, for TAB; without generated images.

    Raises:
        DivergedError: a loss or a gradient that is not finite; no step was made with it.
        UserError: teacher and student have other classes, a batch that does not divide, or the
            checkpoint is of another run.
    """
    check_classes(student, teacher, pictures, generated)
    rank, world = processes(device)
    memory = PeakMemory()
    teacher = teacher.to(device).frozen()
    learner = _Learner(student.to(device), teacher, config.features > 0, seed).train()
    optimiser = config.make_optimiser(learner)
    kept = torch.zeros(config.steps * config.batch_size // len(pictures), len(pictures))
    store = CheckpointStore(directory) if directory else None
    done, seconds, losses = _resume(store, learner, optimiser, kept, identity)
    network: nn.Module = learner
    if world > 1:
        if device == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        network = DistributedDataParallel(network)
    size = max(student.size, teacher.size)
    stream = _batches(pictures, generated, config, size, seed, done, workers, rank, world)
    last_save = time.perf_counter()
    with Progress(config.steps, label, done) as progress:
        while done < config.steps:
            began = time.perf_counter()
            torch.manual_seed(derive_seed(seed, "step", done, rank))
            images, targets, positions, indices = next(stream)
            images, targets = images.to(device), targets.to(device)
            for group in optimiser.param_groups:
                group["lr"] = config.rate(done)
            images = mixed(images, config.mixing, config.alpha, derive_seed(seed, "mix", done))
            images = _attacked(images, targets, teacher, config.attack)
            with _autocast(config, device):
                with torch.no_grad():
                    theirs, answers = teacher.both(images)
                logits, mapped = network(images)
            each = soft_cross_entropy(logits, answers, config.temperature)
            loss = each.mean()
            if config.labels:
                loss = loss + config.labels * F.cross_entropy(logits.float(), targets)
            if mapped is not None:
                loss = loss + config.features * feature_distance(mapped, theirs).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(learner.parameters(), config.clip or math.inf)
            value = float(loss.detach())
            if not (bool(norm.isfinite()) and math.isfinite(value)):
                named = ", ".join(pictures.name(i) for i in indices[:_NAMED] if i < len(pictures))
                raise DivergedError(
                    f"the loss is {value:g}, its gradient {float(norm):g} at step {done + 1} "
                    f"({named}, ...); try a lower learning rate"
                )
            optimiser.step()
            if history:
                _note(kept, each.detach(), positions, indices)
            done += 1
            losses.append(value)
            seconds += time.perf_counter() - began
            progress.update(done, loss=value)
            due = done == config.steps or began - last_save > CHECKPOINT_SECONDS
            if store and rank == 0 and due:
                last_save = began
                store.save(done, {
                    "identity": identity, "seconds": seconds, "losses": losses, "history": kept,
                    "learner": learner.state_dict(), "optimiser": optimiser.state_dict(),
                })  # fmt: skip
    if world > 1:
        dist.barrier()
        if history:
            told = kept.to(device)
            dist.all_reduce(told)  # every picture of a pass was seen by one process
            kept = told.cpu()
    tenths = [sum(part) / len(part) for part in _tenths(losses)]
    return Trained(
        student.eval(), seconds, done * config.batch_size, tenths,
        kept.numpy() if history else None, memory.mb(),
    )  # fmt: skip


def check_classes(
    student: Classifier, teacher: Classifier, pictures: Pictures, generated: Pictures | None = None
) -> None:
    """UserError unless all have the same classes in the same order."""
    for name, other in (
        ("the teacher", teacher.classes),
        ("the pictures", pictures.classes),
        ("the generated images", student.classes if generated is None else generated.classes),
    ):
        if tuple(other) != tuple(student.classes):
            here, there = (
                ", ".join(each[:4]) + (", ..." if len(each) > 4 else "")
                for each in (student.classes, other)
            )
            raise UserError(
                f"classes differ: the student has {len(student.classes)} ({here}), "
                f"{name} {len(other)} ({there})"
            )


def _batches(
    pictures: Pictures,
    generated: Pictures | None,
    config: Distillation,
    size: int,
    seed: int,
    done: int,
    workers: int,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """Endless batches behind `done` steps: of one stream, or of two in fixed shares."""
    parts = [(pictures, config.batch_size, "real")]
    if generated is not None and config.generated:
        share = round(config.generated * config.batch_size)
        if not 0 < share < config.batch_size:
            raise UserError(
                f"a batch of {config.batch_size} has no share of {config.generated:g}: "
                "give a larger --batch-size"
            )
        parts = [(pictures, config.batch_size - share, "real"), (generated, share, "generated")]
    elif generated is not None:
        parts = [(Union([pictures, generated]), config.batch_size, "real")]
    streams = [
        readable(
            endless_loader(
                Lessons(part, config.view, size, derive_seed(seed, name)),
                derive_seed(seed, name), count, done * count, workers, rank, world,
                collate_fn=collate,
            )
        )
        for part, count, name in parts
    ]  # fmt: skip
    for each in zip(*streams, strict=True):
        images, targets, positions, indices = zip(*each, strict=True)
        yield (
            torch.cat(images), torch.cat(targets),
            np.concatenate(positions), np.concatenate(indices),
        )  # fmt: skip


def _attacked(
    images: Tensor, targets: Tensor, teacher: Classifier, how: Adversarial | None
) -> Tensor:
    """The batch with its first images, a share of it, made adversarial."""
    if how is None:
        return images
    count = max(1, round(how.share * len(images)))
    return torch.cat([adversarial(images[:count], targets[:count], teacher, how), images[count:]])


def _note(
    kept: Tensor, losses: Tensor, positions: NDArray[np.int64], indices: NDArray[np.int64]
) -> None:
    """Put losses where pass and picture have their place; an unfinished last pass has none."""
    passes = torch.from_numpy(positions) // kept.shape[1]
    whole = passes < len(kept)
    kept[passes[whole], torch.from_numpy(indices)[whole]] = losses.float().cpu()[whole]


def _resume(
    store: CheckpointStore | None, learner: nn.Module, optimiser: Any, kept: Tensor, identity: str
) -> tuple[int, float, list[float]]:
    """Steps, seconds and losses so far; weights and history are put where they belong."""
    saved = store.load_latest() if store else None
    if store is None or saved is None:
        return 0, 0.0, []
    done, state = saved
    if state["identity"] != identity:
        raise UserError(f"{store.directory} holds another run: give another --out, or remove it")
    learner.load_state_dict(state["learner"])
    optimiser.load_state_dict(state["optimiser"])
    kept.copy_(state["history"])
    return done, state["seconds"], list(state["losses"])


def _tenths(losses: list[float]) -> list[list[float]]:
    cuts = [round(len(losses) * part / 10) for part in range(11)]
    return [losses[a:b] for a, b in pairwise(cuts) if b > a]


def _autocast(config: Distillation, device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16) if config.amp else nullcontext()
