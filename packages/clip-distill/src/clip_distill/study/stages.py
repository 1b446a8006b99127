"""What an arm of the studies does: a cache, stage 1, stage 2, and scores on all domains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_distill.method import losses
from clip_distill.method.objective import Objective
from clip_distill.study.contrastive import WEIGHTS
from clip_distill.study.scoring import Scoring, score
from clip_distill.study.worlds import Part, World
from clip_distill.train import Trained, fit
from clip_distill.use.build_cache import Plan, build_cache
from clip_distill.use.cache import open_cache
from clip_distill.use.lessons import Lessons
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.prompts import captions_of, encode_texts
from clip_distill.use.sanity import teacher_check
from clip_distill.use.steps import Training
from clip_distill.use.students import CONFIG, Student, StudentConfig, load_student, save_student
from clip_distill.use.teachers import Floats, encode_pixels
from clip_distill.use.views import Views
from repro_shared.runtime.rng import derive_seed, isolated_rng
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through
from repro_shared.timing.counts import count_operations

HALF = (0.45, 0.45, 0.45)
BATCH = 64  # images of a teacher's forward pass
CACHE = "cache"
VIEWS = Views(3, "random-crop", scale=(0.6, 1.0), ratio=(0.95, 1.05), mirror=0.0)
"""Of every picture: mild crops, since a narrower or mirrored object is another kind."""


@dataclass(frozen=True)
class Cached:
    """A teacher cache of the pictures that a stage learns from.

    Attributes:
        part: generic or synthetic.
        views: of each picture.
    """

    part: Part
    views: Views = VIEWS

    equations = (losses.unit,)


@dataclass(frozen=True)
class StageOne:
    """A student of generic pictures, with the feature loss, as the paper's domain-agnostic stage.

    Attributes:
        training: how long.
        backbone: timm's name.
        objective: what it minimises.
        size: of its images, in pixels.
        scoring: what it is scored on.
    """

    training: Training
    backbone: str = "test_efficientnet"
    objective: Objective = field(default_factory=Objective)
    size: int = 48
    scoring: Scoring = field(default_factory=Scoring)

    @property
    def epochs(self) -> float:
        """For the plan."""
        return self.training.epochs

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The loss."""
        return self.objective.equations


@dataclass(frozen=True)
class StageTwo(StageOne):
    """The same on synthetic images of the classes, from stage 1 or from scratch.

    Attributes:
        captions: a loss that needs a text for each picture reads the picture's own caption, as the
            authors' code reads the prompt that it was generated with, not its class's prompt.
    """

    captions: bool = False


@dataclass(frozen=True)
class LabelsAlone(StageOne):
    """Synthetic images and their labels without any teacher: what can be learned of them at all.

    Class vectors are unit axes, so the student's first numbers are its logits.
    """


@dataclass(frozen=True)
class Ceiling:
    """The teacher itself."""

    scoring: Scoring = field(default_factory=Scoring)
    equations = (losses.unit,)


@steps_through(encode_pixels)
def teacher(config: Ceiling, ctx: Context) -> Outcome:
    """Score the teacher."""
    world = world_of(ctx)
    own = world.teacher

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return encode_pixels(own, np.stack([own.preprocessing.centre(p) for p in pixels]), BATCH)

    return Outcome(score(encode, world, ctx.seed, config.scoring))


@steps_through(build_cache)
def cached(config: Cached, ctx: Context) -> Outcome:
    """Features of all views, once for all losses."""
    world = world_of(ctx)
    pictures = world.pictures(config.part, ctx.seed)
    texts = world.texts if pictures.classes else None
    checked = teacher_check(world.teacher, pictures, texts, BATCH)
    plan = Plan(config.views, batch=BATCH)
    cache = build_cache(
        ctx.folder / CACHE, world.teacher, pictures, plan, checked, texts, workers=ctx.workers
    )
    counts = {"pictures": float(len(pictures)), "views": float(cache.views.count)}
    if "right" in checked:
        counts["teacher"] = 100 * checked["right"] / checked["images"]
    return Outcome(counts)


@steps_through(fit)
def stage_one(config: StageOne, ctx: Context) -> Outcome:
    """Distil on generic pictures; the student is left for stage 2."""
    student = new_student(config, ctx)
    made = fit_part(student, "generic", config, ctx)
    save_student(made.student.cpu(), ctx.folder)
    return _outcome(made, config, ctx)


@steps_through(fit)
def stage_two(config: StageTwo, ctx: Context) -> Outcome:
    """Distil on synthetic images of the classes that have any.

    The student stays in the run's folder, so that a score that is thought of later needs no
    training.
    """
    before = left_folder(ctx, CONFIG)
    student = load_student(before)[0] if before else new_student(config, ctx)
    made = fit_part(student, "synthetic", config, ctx, captions=config.captions)
    save_student(made.student.cpu(), ctx.folder)
    return _outcome(made, config, ctx)


@steps_through(fit)
def labels_alone(config: LabelsAlone, ctx: Context) -> Outcome:
    """Train a student as a plain classifier."""
    world, student = world_of(ctx), new_student(config, ctx)
    axes = np.eye(len(world.classes), student.config.width, dtype=np.float32)
    made = fit_part(student, "synthetic", config, ctx, vectors=axes)
    save_student(made.student.cpu(), ctx.folder)
    return _outcome(made, config, ctx, axes)


def world_of(ctx: Context) -> World:
    """The data's own world; with the teacher that was trained for the run, where one was."""
    world: World = ctx.data
    folder = left_folder(ctx, WEIGHTS)
    if folder is not None:
        world.teach_with(folder / WEIGHTS)
    world.teacher.network.to(ctx.device)
    return world


def left_folder(ctx: Context, name: str) -> Path | None:
    """The folder of what the run starts from that holds such a file."""
    return next((s.folder for s in ctx.starts if (s.folder / name).exists()), None)


def new_student(config: StageOne, ctx: Context) -> Student:
    """The same weights for every arm of a seed."""
    prepared = Preprocessing(config.size, HALF, (0.25,) * 3)
    with isolated_rng(derive_seed(ctx.seed, "weights")):
        return Student(StudentConfig(config.backbone, world_of(ctx).teacher.width, prepared))


def fit_part(
    student: Student, part: Part, config: StageOne, ctx: Context,
    vectors: Floats | None = None, captions: bool = False,
) -> Trained:  # fmt: skip
    world, folder = world_of(ctx), left_folder(ctx, CACHE)
    assert folder is not None  # every arm starts from one
    pictures = world.pictures(part, ctx.seed)
    cache = open_cache(folder / CACHE, pictures)
    classes = None
    if pictures.classes:  # a loss over classes knows only those that it has images of
        classes = (world.texts.vectors if vectors is None else vectors)[: world.seen]
    said = None
    if captions:
        own = list(map(pictures.caption, range(len(pictures))))
        said = encode_texts(world.teacher, captions_of(own, world.teacher))
    lessons = Lessons(
        pictures, cache.views, student.config.preprocessing,
        features=cache.features, class_vectors=classes, captions=said,
    )  # fmt: skip
    return fit(
        student, lessons, config.objective, config.training, ctx.seed, ctx.device,
        ctx.folder / "checkpoints", ctx.key, ctx.label, ctx.workers,
    )  # fmt: skip


def _outcome(
    made: Trained, config: StageOne, ctx: Context, vectors: Floats | None = None
) -> Outcome:
    student = made.student.to(ctx.device)
    prepared = student.config.preprocessing

    @torch.inference_mode()
    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = list[NDArray[np.float32]]()
        for start in range(0, len(pixels), BATCH):
            seen = np.stack([prepared.centre(p) for p in pixels[start : start + BATCH]])
            images = prepared.normalise(torch.from_numpy(seen).to(ctx.device))
            parts.append(student(images).float().cpu().numpy())
        return np.concatenate(parts)

    metrics = score(encode, world_of(ctx), ctx.seed, config.scoring, vectors)
    blank = torch.zeros(1, 3, config.size, config.size, device=ctx.device)
    return Outcome(
        metrics,
        seconds=made.seconds,
        samples=made.samples,
        macs=count_operations(student, blank).macs,
        peak_memory_mb=made.peak_memory_mb,
    )
