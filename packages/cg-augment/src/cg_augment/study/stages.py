"""What an arm of the studies on images does: a teacher, a judge, the biased student, every row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cg_augment.method.losses import soft_cross_entropy
from cg_augment.study.committed import Committed, sampler_of
from cg_augment.study.generator import WEIGHTS
from cg_augment.study.manifold import off_manifold
from cg_augment.study.nets import Net
from cg_augment.study.rounds import Distilled, Place, distil
from cg_augment.study.rows import Row, run_row
from cg_augment.study.scoring import (
    account,
    judge_scores,
    judged_classes,
    judged_pictures,
    looked_at,
    scores,
)
from cg_augment.study.worlds import Opened
from cg_augment.train import Trained, fit
from cg_augment.use.classifiers import Classifier
from cg_augment.use.distillation import Distillation
from cg_augment.use.pictures import Pictures
from repro_shared.runtime.files import atomic_write_text
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import save_weights
from repro_shared.study.paper import Context, Outcome, Start
from repro_shared.study.trip import steps_through
from repro_shared.timing.counts import count_operations

TAUGHT, JUDGED, STUDIED = "teacher.safetensors", "judge.safetensors", "student.safetensors"
FIRST = "first.json"  # beside a student: what its training took


@dataclass(frozen=True)
class Teach:
    """A teacher: trained on the classes of pictures of all groups."""

    training: Distillation
    net: Net
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
    """A judge of generated images: trained on groups, so that it tells class and ground, and on
    pictures of nothing, so that it does not have to name one."""


@dataclass(frozen=True)
class Biased:
    """The first phase that rows have in common."""

    row: Row
    net: Net
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
    return _outcome(scores(made, world, ctx.seed, config.empty, ctx.device), trained)


@steps_through(fit)
def judge(config: Judge, ctx: Context) -> Outcome:
    """Train a judge on groups and on nothing; it guides nothing and teaches nobody."""
    world: Opened = ctx.data
    made = config.net.make(judged_classes(world), world.scene.size, config.seed(ctx.seed), "judge")
    trained = _fit(made, judged_pictures(world.part("judge", ctx.seed), world, ctx.seed), config,
                   ctx)  # fmt: skip
    save_weights(made, ctx.folder / JUDGED)
    return _outcome(judge_scores(made, world, ctx.seed, ctx.device), trained)


@steps_through(distil)
def biased(config: Biased, ctx: Context) -> Outcome:
    """Distil on the student's set alone; the student is left for the rows that start from it."""
    world: Opened = ctx.data
    done = run_row(
        config.row, _maker(config, ctx), teacher_of(ctx), world.part("student", ctx.seed).pictures,
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
    sampler = network = None
    if config.generator is not None:
        network = network_of(config.generator, ctx)
        sampler = sampler_of(network, config.generator.steps, ctx.device)
    # The oracle alone reads group labels, and pictures of groups that the others lack.
    whole = world.whole(ctx.seed) if config.row.sampling == "true groups" else None
    done = run_row(
        config.row, _maker(config, ctx), teacher_of(ctx), world.part("student", ctx.seed).pictures,
        ctx.seed, sampler, whole, _place(ctx), _begun(config, ctx),
    )  # fmt: skip
    return _finished(done, config, ctx, network)


def _finished(done: Distilled, config: Biased, ctx: Context, network: Any | None = None) -> Outcome:
    world: Opened = ctx.data
    metrics = scores(done.student, world, ctx.seed, config.empty, ctx.device)
    if done.generated is not None:
        metrics |= account(done.ledgers) | images_are(done.generated, network, ctx)
    blank = torch.zeros(1, 3, world.scene.size, world.scene.size, device=ctx.device)
    macs = count_operations(done.student, blank).macs
    peaks = [each.peak_memory_mb for each in done.phases if each.peak_memory_mb is not None]
    return Outcome(
        metrics, done.seconds, done.images, macs, max(peaks, default=None),
        notes=f"{done.helper_steps} steps of a helper" if done.helper_steps else "",
    )  # fmt: skip


def images_are(made: Pictures, network: Any, ctx: Context) -> dict[str, float]:
    """What the judge says of generated images, and how far the diffusion model is from them."""
    world: Opened = ctx.data
    named = _loaded(ctx, JUDGED, judged_classes(world), "judge").to(ctx.device)
    real = world.part("test", ctx.seed).pictures
    return looked_at(made, named, world, ctx.device) | off_manifold(made, real, network, ctx.device)


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


def _left(ctx: Context, name: str) -> Start | None:
    """What the run starts from that holds such a file."""
    return next((each for each in ctx.starts if (each.folder / name).exists()), None)


def _loaded(ctx: Context, name: str, classes: Sequence[str], words: str) -> Classifier:
    """A classifier that an earlier run left, by that run's own network."""
    start = _left(ctx, name)
    assert start is not None  # the arms say what they start from
    return start.arm.config.net.load(classes, ctx.data.scene.size, start.folder / name, words)


def teacher_of(ctx: Context) -> Classifier:
    """The teacher that the run starts from."""
    return _loaded(ctx, TAUGHT, ctx.data.scene.classes, "teacher").to(ctx.device)


def student_of(ctx: Context) -> Classifier:
    """The biased student that the run starts from."""
    return _loaded(ctx, STUDIED, ctx.data.scene.classes, "student").to(ctx.device)


def network_of(generator: Committed, ctx: Context) -> Any:
    """The diffusion network that the run starts from, or that comes along."""
    start = _left(ctx, WEIGHTS)
    return generator.load(None if start is None else start.folder / WEIGHTS)


def _begun(config: Rowed, ctx: Context) -> Trained | None:
    """The first phase of the biased student, as far as a row that goes on needs it."""
    start = _left(ctx, STUDIED)
    if start is None:
        return None
    student = student_of(ctx)
    about = json.loads((start.folder / FIRST).read_text())
    student.requires_grad_(True)
    return Trained(student, about["seconds"], about["images"], [], None, None)
