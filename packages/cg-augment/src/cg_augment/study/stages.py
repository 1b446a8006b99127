"""What an arm of the studies on images does: a teacher, a judge, the biased student, every row."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cg_augment.method.groups import group_accuracy
from cg_augment.method.losses import soft_cross_entropy
from cg_augment.method.ranking import spurious_scores
from cg_augment.study.generator import WEIGHTS, Committed, sampler_of
from cg_augment.study.making import Ledger
from cg_augment.study.nets import JUDGE, STUDENT, TEACHER, Net
from cg_augment.study.rounds import Distilled, Place, distil
from cg_augment.study.rows import Row, run_row
from cg_augment.study.worlds import Opened
from cg_augment.train import Trained, fit
from cg_augment.use.classifiers import Classifier
from cg_augment.use.distillation import Distillation
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Arrays, Labels, Pictures
from cg_augment.use.scoring import probabilities
from repro_shared.runtime.files import atomic_write_text
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through
from repro_shared.timing.counts import count_operations

TAUGHT, JUDGED, STUDIED = "teacher.safetensors", "judge.safetensors", "student.safetensors"
FIRST = "first.json"  # beside a student: what its training took


@dataclass(frozen=True)
class Teach:
    """A teacher: trained on the classes of pictures of all groups."""

    training: Distillation
    net: Net = TEACHER
    empty: bool = False  # also score pictures of grounds alone

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps

    def seed(self, seed: int) -> int:
        """Of weights and order, apart from the students' and from each other's."""
        return derive_seed(seed, type(self).__name__)


@dataclass(frozen=True)
class Judge(Teach):
    """A judge of generated images: trained on groups, so that it tells class and ground."""

    net: Net = JUDGE


@dataclass(frozen=True)
class Biased:
    """The first phase that rows have in common."""

    row: Row
    net: Net = STUDENT
    empty: bool = False  # also score pictures of grounds alone

    equations = (soft_cross_entropy,)

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.row.plan.steps


@dataclass(frozen=True)
class Rowed(Biased):
    """A row.

    Attributes:
        generator: the diffusion model, for rows that generate.
    """

    generator: Committed | None = None

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:  # type: ignore[override]
        """The objective and the loss."""
        way = self.row.way
        return (*(() if way is None else (way.objective.equation,)), soft_cross_entropy)


@steps_through(fit)
def teach(config: Teach, ctx: Context) -> Outcome:
    """Train a teacher; it is left for students."""
    world: Opened = ctx.data
    seed = config.seed(ctx.seed)
    made = config.net.make(world.scene.classes, world.scene.size, seed, "teacher")
    trained = _fit(made, world.part("teacher", ctx.seed).pictures, config, ctx)
    save_weights(made, ctx.folder / TAUGHT)
    return _outcome(scores(made, world, ctx.seed, config.empty), trained)


@steps_through(fit)
def judge(config: Judge, ctx: Context) -> Outcome:
    """Train a judge on groups; it guides nothing and teaches nobody."""
    world: Opened = ctx.data
    made = config.net.make(world.names, world.scene.size, config.seed(ctx.seed), "judge")
    trained = _fit(made, _grouped_as_classes(world.part("judge", ctx.seed)), config, ctx)
    save_weights(made, ctx.folder / JUDGED)
    tested = world.part("test", ctx.seed)
    seen = _judged(made, tested.pictures)
    kinds = len(world.scene.grounds)
    found = {
        "class": 100 * float((seen // kinds == tested.pictures.targets).mean()),
        "ground": 100 * float((seen % kinds == tested.groups % kinds).mean()),
    }
    return _outcome(found, trained)


@steps_through(distil)
def biased(config: Biased, ctx: Context) -> Outcome:
    """Distil on the student's set alone; the student is left for the rows that start from it."""
    world: Opened = ctx.data
    done = run_row(
        config.row, _maker(config, ctx), _teacher(ctx), world.part("student", ctx.seed).pictures,
        ctx.seed, place=_place(ctx),
    )  # fmt: skip
    (first,) = done.phases
    save_weights(done.student, ctx.folder / STUDIED)
    about = {"seconds": first.seconds, "images": first.images}
    atomic_write_text(ctx.folder / FIRST, json.dumps(about) + "\n")
    return _finished(done, config, ctx)


@steps_through(distil)
def row(config: Rowed, ctx: Context) -> Outcome:
    """Train a row's student; from the biased one where their first phases are the same."""
    world: Opened = ctx.data
    sampler = None
    if config.generator is not None:
        given = _left(ctx, WEIGHTS)
        network = config.generator.load(given and given / WEIGHTS)
        sampler = sampler_of(network, config.generator.steps)
    # The oracle alone reads group labels, and pictures of groups that the others lack.
    whole = world.whole(ctx.seed) if config.row.sampling == "true groups" else None
    done = run_row(
        config.row, _maker(config, ctx), _teacher(ctx), world.part("student", ctx.seed).pictures,
        ctx.seed, sampler, whole, _place(ctx), _begun(config, ctx),
    )  # fmt: skip
    return _finished(done, config, ctx)


def scores(student: Classifier, world: Opened, seed: int, empty: bool) -> dict[str, float]:
    """Accuracies in percent, and with `empty` what grounds alone are taken for."""
    tested = world.part("test", seed)
    rows = probabilities(student, tested.pictures)
    right = rows.argmax(axis=1) == tested.pictures.targets
    found = group_accuracy(right, tested.groups, tested.names)
    kinds = len(world.scene.grounds)
    own = tested.groups // kinds == tested.groups % kinds
    metrics = {
        "worst-group": 100 * (found.worst_group_accuracy.value or 0.0),
        "mean-group": 100 * (found.mean_group_accuracy.value or 0.0),
        "in-distribution": 100 * float(right[own].mean()),
    }
    if empty:
        # Positives as they are in training: on their class's own ground.
        shown = world.empty(seed).pictures
        spurious = spurious_scores(
            rows[own], tested.pictures.targets[own], probabilities(student, shown), shown.targets
        )
        metrics["spurious-map"] = 100 * spurious.spurious_map
        metrics["spurious-auroc"] = 100 * spurious.spurious_auroc
    return metrics


def looked_at(made: Pictures, named: Classifier, world: Opened) -> dict[str, float]:
    """Shares of generated images in percent, as the judge sees them."""
    seen, kinds = _judged(named, made), len(world.scene.grounds)
    valid = seen // kinds == made.targets
    minority = seen % kinds != made.targets
    return {
        "valid": 100 * float(valid.mean()),
        "minority": 100 * float(minority.mean()),
        "valid-minority": 100 * float((valid & minority).mean()),
    }


def account(ledgers: list[Ledger]) -> dict[str, float]:
    """Passes an image, confidences and seconds of generation."""
    asked = sum(each.asked for each in ledgers)
    kept = [each for each in ledgers if each.kept]
    return {
        "forward": sum(each.forward for each in ledgers) / asked,
        "backward": sum(each.backward for each in ledgers) / asked,
        "decodes": sum(each.decodes for each in ledgers) / asked,
        "kept": 100 * sum(each.kept for each in ledgers) / asked,
        "teacher": 100 * float(np.mean([each.teacher for each in kept])),
        "student": 100 * float(np.mean([each.student for each in kept])),
        "generation": sum(each.seconds for each in ledgers),
    }


def _finished(done: Distilled, config: Biased, ctx: Context) -> Outcome:
    world: Opened = ctx.data
    metrics = scores(done.student, world, ctx.seed, config.empty)
    if done.generated is not None:
        folder = _left(ctx, JUDGED)
        assert folder is not None  # rows that generate start from a judge
        named = JUDGE.load(world.names, world.scene.size, folder / JUDGED, "judge")
        metrics |= account(done.ledgers) | looked_at(done.generated, named, world)
    blank = torch.zeros(1, 3, world.scene.size, world.scene.size, device=ctx.device)
    macs = count_operations(done.student, blank).macs
    peaks = [each.peak_memory_mb for each in done.phases if each.peak_memory_mb is not None]
    return Outcome(
        metrics, sum(each.seconds for each in done.phases), done.images, macs,
        max(peaks, default=None),
        notes=f"{done.helper_steps} steps of a helper" if done.helper_steps else "",
    )  # fmt: skip


def _outcome(metrics: dict[str, float], trained: Trained) -> Outcome:
    return Outcome(metrics, trained.seconds, trained.images, peak_memory_mb=trained.peak_memory_mb)


def _fit(made: Classifier, pictures: Pictures, config: Teach, ctx: Context) -> Trained:
    place = _place(ctx)
    seed = config.seed(ctx.seed)
    return fit(made, None, pictures, config.training, seed, **place.phase("first"))


def _place(ctx: Context) -> Place:
    return Place(ctx.device, ctx.folder / "checkpoints", ctx.key, ctx.label, ctx.workers)


def _maker(config: Biased, ctx: Context) -> Callable[[], Classifier]:
    """The same weights at every call, and for every row of a seed."""
    scene, seed = ctx.data.scene, derive_seed(ctx.seed, "student")
    return lambda: config.net.make(scene.classes, scene.size, seed, "student")


def _left(ctx: Context, name: str) -> Path | None:
    """The folder of what the run starts from that holds such a file."""
    return next((s.folder for s in ctx.starts if (s.folder / name).exists()), None)


def _teacher(ctx: Context) -> Classifier:
    folder, scene = _left(ctx, TAUGHT), ctx.data.scene
    assert folder is not None  # every row starts from one
    return TEACHER.load(scene.classes, scene.size, folder / TAUGHT, "teacher")


def _begun(config: Rowed, ctx: Context) -> Trained | None:
    """The first phase of the biased student, as far as a row that goes on needs it."""
    folder, scene = _left(ctx, STUDIED), ctx.data.scene
    if folder is None:
        return None
    student = config.net.load(scene.classes, scene.size, folder / STUDIED, "student")
    about = json.loads((folder / FIRST).read_text())
    student.requires_grad_(True)
    return Trained(student, about["seconds"], about["images"], [], None, None)


def _grouped_as_classes(grouped: Grouped) -> Arrays:
    pictures = grouped.pictures
    assert isinstance(pictures, Arrays)
    return Arrays(pictures.pixels, grouped.groups, grouped.names)


def _judged(named: Classifier, pictures: Pictures) -> Labels:
    """Group (n,) that the judge sees in each picture."""
    return probabilities(named, pictures).argmax(axis=1)
