"""What an arm of the studies of rendered objects does: stage 1, stage 2, scores on both domains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_distill.method import losses
from clip_distill.method.objective import Objective
from clip_distill.study.embedded import Drawn, Opened, class_vectors, teach
from clip_distill.study.objects import Scenes, World, draw, render, swapped
from clip_distill.train import Trained, Training, fit
from clip_distill.use.lessons import Lessons
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.students import Student, StudentConfig, load_student, save_student
from clip_distill.use.views import Views
from clip_distill.use.zero_shot import scores, similarities
from repro_shared.runtime.rng import derive_seed, isolated_rng
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through
from repro_shared.timing.counts import count_operations

HALF = (0.5, 0.5, 0.5)
BATCH = 250  # images of an evaluation pass


@dataclass(frozen=True)
class StageOne:
    """A student of generic objects, with the feature loss, as the paper's domain-agnostic stage.

    Attributes:
        training: how long.
        backbone: timm's name.
        objective: what it minimises.
    """

    training: Training
    backbone: str = "test_efficientnet"
    objective: Objective = field(default_factory=Objective)

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The loss."""
        return self.objective.equations


@dataclass(frozen=True)
class StageTwo:
    """The same on synthetic images of the classes, from stage 1 or from scratch.

    Attributes:
        objective: what it minimises.
        training: how long.
        backbone: timm's name.
    """

    objective: Objective
    training: Training
    backbone: str = "test_efficientnet"

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The losses."""
        return self.objective.equations


@dataclass(frozen=True)
class Ceiling:
    """The teacher itself."""

    equations = (losses.unit,)


@steps_through(teach)
def teacher(config: Ceiling, ctx: Context) -> Outcome:
    """Score the teacher's own features."""
    opened: Opened = ctx.data
    found = {
        name: teach(opened.world, scenes) for name, scenes in _tests(opened.world, ctx.seed).items()
    }
    return Outcome(_metrics(opened.world, found, ctx.seed))


@steps_through(fit)
def stage_one(config: StageOne, ctx: Context) -> Outcome:
    """Distil on generic objects; the student is left for stage 2."""
    opened: Opened = ctx.data
    drawn = Drawn(opened.world, "generic", opened.world.generic, ctx.seed)
    student = _new(opened.world, config.backbone, ctx.seed)
    made = _fit(student, drawn, config.objective, config.training, ctx)
    save_student(made.student.cpu(), ctx.folder)
    return _outcome(made, opened.world, ctx)


@steps_through(fit)
def stage_two(config: StageTwo, ctx: Context) -> Outcome:
    """Distil on synthetic images of the classes that have any."""
    opened: Opened = ctx.data
    drawn = Drawn(opened.world, "synthetic", opened.world.synthetic, ctx.seed, seen_only=True)
    if ctx.starts:
        student, _ = load_student(ctx.starts[0].folder)
    else:
        student = _new(opened.world, config.backbone, ctx.seed)
    made = _fit(student, drawn, config.objective, config.training, ctx)
    return _outcome(made, opened.world, ctx)


def _new(world: World, backbone: str, seed: int) -> Student:
    prepared = Preprocessing(world.size, HALF, (0.25,) * 3)
    with isolated_rng(derive_seed(seed, "weights")):
        return Student(StudentConfig(backbone, world.width, prepared))


def _fit(
    student: Student, drawn: Drawn, objective: Objective, training: Training, ctx: Context
) -> Trained:
    world: World = ctx.data.world
    vectors = class_vectors(world)
    if drawn.targets:  # a loss over classes knows only those that it has images of
        vectors = vectors[: world.classes - world.held_out]
    lessons = Lessons(
        drawn, Views(), student.config.preprocessing,
        features=teach(world, drawn.scenes)[:, None],
        pixels=drawn.pixels[:, None],
        class_vectors=vectors,
    )  # fmt: skip
    return fit(
        student, lessons, objective, training, ctx.seed, ctx.device,
        ctx.folder / "checkpoints", ctx.key, ctx.label, ctx.workers,
    )  # fmt: skip


def _tests(world: World, seed: int) -> dict[str, Scenes]:
    """Test scenes by name, of seeds that training has none of."""
    own = derive_seed(seed, "test")
    real = draw(world, "real", world.test, own)
    synthetic = draw(world, "synthetic", world.test, own, seen_only=True)
    return {"real": real, "synthetic": synthetic, "swapped": swapped(world, synthetic)}


def _outcome(made: Trained, world: World, ctx: Context) -> Outcome:
    student = made.student.to(ctx.device)
    prepared, size = student.config.preprocessing, world.size
    found = {}
    for name, scenes in _tests(world, ctx.seed).items():
        pixels, parts = render(world, scenes), list[NDArray[np.float32]]()
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                images = torch.from_numpy(pixels[start : start + BATCH]).to(ctx.device)
                parts.append(student(prepared.normalise(images)).float().cpu().numpy())
        found[name] = np.concatenate(parts)
    macs = count_operations(student, torch.zeros(1, 3, size, size, device=ctx.device)).macs
    return Outcome(
        _metrics(world, found, ctx.seed),
        seconds=made.seconds,
        samples=made.samples,
        macs=macs,
        peak_memory_mb=made.peak_memory_mb,
    )


def _metrics(world: World, features: dict[str, NDArray[np.float32]], seed: int) -> dict[str, float]:
    """Zero-shot accuracy in percent, and the mean cosine to the teacher, by test set.

    `seen` and `unseen` are real images of classes with and without synthetic images, each named
    among all classes.
    """
    vectors, metrics = class_vectors(world), dict[str, float]()
    scenes = _tests(world, seed)
    seen = world.classes - world.held_out
    for name, rows in features.items():
        predicted = similarities(rows, vectors).argmax(axis=1)
        label = scenes[name].label
        # Synthetic images have the seen classes alone, so only these are offered.
        if name != "real":
            predicted = similarities(rows, vectors[:seen]).argmax(axis=1)
        metrics[f"accuracy/{name}"] = scores(predicted, label.tolist(), world.classes).top1
        if name == "real":
            for word, chosen in (("seen", label < seen), ("unseen", label >= seen)):
                if chosen.any():
                    metrics[f"accuracy/{word}"] = 100 * float(
                        (predicted[chosen] == label[chosen]).mean()
                    )
        theirs = teach(world, scenes[name])
        lengths = np.linalg.norm(rows, axis=1)
        metrics[f"cosine/{name}"] = float(((rows * theirs).sum(1) / lengths).mean())
    return metrics
