"""Distillation: one loop for all rows, and the rounds of the method around it.

A student learns from a frozen teacher's soft labels of the same views. What a step sees depends on
the seed and the number of the step alone, so a killed run goes on to the same weights, and a
checkpoint needs no state of any generator. No group label comes in here.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from cg_augment.method.losses import feature_distance, soft_cross_entropy
from cg_augment.rivals.adversarial import Adversarial, adversarial
from cg_augment.rivals.mixing import mixed
from cg_augment.use.batches import batches
from cg_augment.use.classifiers import Classifier
from cg_augment.use.distillation import Distillation
from cg_augment.use.pictures import Pictures
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.memory import PeakMemory
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, isolated_rng

CHECKPOINT_SECONDS = 60.0  # between two checkpoints
_NAMED = 3  # pictures of a batch that an error names


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
        map: from the student's features into the teacher's, for a training that goes on; None
            where features were not distilled.
    """

    student: Classifier
    seconds: float
    images: int
    losses: list[float]
    history: NDArray[np.float32] | None
    peak_memory_mb: float | None
    map: nn.Linear | None = None


class _Learner(nn.Module):
    """All that is trained, so that DistributedDataParallel sees it as one module."""

    def __init__(
        self, student: Classifier, teacher: Classifier | None, begun: nn.Linear | None, maps: bool,
        seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.student, self.map = student, None
        if maps and teacher is not None:
            student.eval()
            with torch.no_grad(), isolated_rng(derive_seed(seed, "map")):
                device = student.mean.device
                blank = torch.zeros(1, 3, student.size, student.size, device=device)
                own, theirs = (each.features(blank).shape[1] for each in (student, teacher))
                made = begun or nn.Linear(own, theirs)
                if (made.in_features, made.out_features) != (own, theirs):
                    raise UserError(
                        f"the map of features takes {made.in_features} to {made.out_features}, "
                        f"the student has {own} and the teacher {theirs}"
                    )
                self.map = made.to(device)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and features in the teacher's space."""
        features, logits = self.student.both(images)
        return logits, None if self.map is None else self.map(features)


def fit(
    student: Classifier,
    teacher: Classifier | None,
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
    begun: nn.Linear | None = None,
) -> Trained:
    """Distil a student; under torchrun each process has its part of every batch.

    Args:
        student: as it begins, the same in all processes; trained in place.
        teacher: frozen, of the same classes; None trains on the classes alone, as teachers and
            judges are trained.
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
        begun: the map of features that an earlier phase ended with (`Trained.map`), trained on
            here; None begins with a random one.

    Raises:
        DivergedError: a loss or a gradient that is not finite; no step was made with it.
        UserError: teacher and student have other classes, a batch that does not divide, or the
            checkpoint is of another run.
    """
    check_classes(student, teacher, pictures, generated)
    if teacher is None and (config.features or config.attack or config.mixing != "none"):
        raise UserError("without a teacher there are no features, attacks or mixed images to label")
    rank, world = processes(device)
    memory = PeakMemory()
    teacher = None if teacher is None else teacher.to(device).frozen()
    learner = _Learner(student.to(device), teacher, begun, config.features > 0, seed).train()
    optimiser = config.make_optimiser(learner)
    passes = config.steps * config.batch_size // len(pictures) if history else 0
    kept = torch.zeros(passes, len(pictures))
    store = CheckpointStore(directory) if directory else None
    done, seconds, losses = _resume(store, learner, optimiser, kept, identity)
    network: nn.Module = learner
    if world > 1:
        if device == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        network = DistributedDataParallel(network)
    size = max(each.size for each in (student, teacher) if each is not None)
    stream = batches(pictures, generated, config, size, seed, done, workers, rank, world)
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
            with config.autocast(device):
                theirs = _taught(teacher, images)
                logits, mapped = network(images)
            hard = F.cross_entropy(logits.float(), targets, reduction="none")
            if theirs is None:
                each, loss = hard, hard.mean()
            else:
                features, answers = theirs
                each = soft_cross_entropy(logits, answers, config.temperature)
                loss = each.mean() + config.labels * hard.mean()
                if mapped is not None:
                    loss = loss + config.features * feature_distance(mapped, features).mean()
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
                _note(kept, each.detach(), positions, indices, world)
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
    tenths = [sum(part) / len(part) for part in _tenths(losses)]
    return Trained(
        student.eval(), seconds, done * config.batch_size, tenths,
        kept.numpy() if history else None, memory.mb(), learner.map,
    )  # fmt: skip


def check_classes(
    student: Classifier,
    teacher: Classifier | None,
    pictures: Pictures,
    generated: Pictures | None = None,
) -> None:
    """UserError unless all have the same classes in the same order."""
    for name, other in (
        ("the teacher", student.classes if teacher is None else teacher.classes),
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


def _taught(teacher: Classifier | None, images: Tensor) -> tuple[Tensor, Tensor] | None:
    """The teacher's features and logits."""
    if teacher is None:
        return None
    with torch.no_grad():
        return teacher.both(images)


def _attacked(
    images: Tensor, targets: Tensor, teacher: Classifier | None, how: Adversarial | None
) -> Tensor:
    """The batch with its first images, a share of it, made adversarial."""
    if how is None or teacher is None:
        return images
    count = max(1, round(how.share * len(images)))
    return torch.cat([adversarial(images[:count], targets[:count], teacher, how), images[count:]])


def _note(
    kept: Tensor,
    losses: Tensor,
    positions: NDArray[np.int64],
    indices: NDArray[np.int64],
    world: int,
) -> None:
    """Put losses where pass and picture have their place; an unfinished last pass has none."""
    places = torch.from_numpy(np.stack([positions, indices])).to(losses.device)
    rows = torch.cat([losses.double()[None], places.double()])  # exact up to 2^53
    if world > 1:
        every = [torch.empty_like(rows) for _ in range(world)]
        dist.all_gather(every, rows)
        rows = torch.cat(every, dim=1)
    values, place, index = rows.cpu()
    passes = place.long() // kept.shape[1]
    whole = passes < len(kept)
    kept[passes[whole], index.long()[whole]] = values.float()[whole]


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
