"""The stages of a comparison: make the teacher, train a student and score it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from repro_shared.evidence.hashing import UNRECORDED
from repro_shared.metrics.segmentation import SegmentationScores
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import read_weights, save_weights
from repro_shared.study.paper import Context, Outcome, Start
from repro_shared.study.trip import steps_through
from seg_kd.method.objectives import PLAIN, Objective
from seg_kd.study.trial import try_once
from seg_kd.train import Distiller, Job, Optimiser, train
from seg_kd.use import adapter
from seg_kd.use.data import Splits, View
from seg_kd.use.evaluation import evaluate
from seg_kd.use.models import Model, OwnModel
from seg_kd.use.weights import load_trained

Match = Literal["time", "iterations"]
COMMITTED = Path(__file__).parents[1] / "weights"
WEIGHTS = "model.safetensors"  # what a run leaves in its folder


@dataclass(frozen=True)
class File:
    """Weights of the user's: what they are, and where they lie."""

    sha256: str
    path: str = field(compare=False, metadata=UNRECORDED)


@dataclass(frozen=True)
class Teacher:
    """A teacher and how it was made: the students' data, its own length and rate.

    Attributes:
        model: architecture; classes: its outputs.
        view, optimiser, iterations: its training, long enough to converge; 0 iterations leave it
            with random weights.
        weights, sha256: file in `seg_kd/weights` of the committed teacher that this training made;
            empty if there is none.
        given: the user's weights instead of a training.
    """

    model: Model | OwnModel
    classes: int
    view: View
    optimiser: Optimiser
    iterations: int = 0
    weights: str = ""
    sha256: str = ""
    given: File | None = None

    @property
    def steps(self) -> int:
        """Iterations that are still to be trained."""
        return 0 if self.weights else self.iterations


@dataclass(frozen=True)
class Student:
    """A student, what it learns from, and for how long.

    Attributes:
        model: architecture; classes: its outputs.
        view, optimiser: the same for every objective.
        objective: what is learned besides the labels.
        match: whether the budget is time or a number of iterations.
        budget: in iterations of the reference objective: a budget of n is the time that n
            iterations of logit distillation take.
        iterations: what that gives this objective; filled in when step costs are known.
        start: weights of the user's to start from.
    """

    model: Model | OwnModel
    classes: int
    view: View
    optimiser: Optimiser
    objective: Objective
    match: Match = "iterations"
    budget: int = 0
    iterations: int = 0
    start: File | None = None

    @property
    def steps(self) -> int:
        """Training iterations."""
        return self.iterations

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The objective's terms."""
        return self.objective.equations


@steps_through(Distiller.forward)
def teacher(config: Teacher, ctx: Context) -> Outcome:
    """Take the committed teacher, the user's, a random one, or train it; score it, keep it."""
    adapter.set_device(ctx.device)
    data: Splits = ctx.data
    path = ctx.folder / WEIGHTS
    seconds, samples, memory = 0.0, 0, None
    if config.given is not None:
        given = untrained(config, ctx.seed)
        load_trained(given, read_weights(config.given.path), config.given.path)
        save_weights(given, path)
        return Outcome({"given": 1.0}, notes=f"weights sha256 {config.given.sha256}")
    if config.weights:
        shutil.copyfile(_committed_file(config), path)
    elif config.iterations == 0:
        save_weights(untrained(config, ctx.seed), path)
    else:
        done = train(job_of(config, ctx))
        save_weights(done.student, path, half=True)
        seconds, samples, memory = done.seconds, done.samples, done.peak_memory_mb
    # Scored as it will be used: after rounding to float16.
    network = _load(config, ctx.seed, path, str(path)).to(ctx.device)
    scores = evaluate(network, data.test, config.classes)
    return Outcome(
        metrics(data.classes, scores, config.iterations),
        seconds,
        samples,
        peak_memory_mb=memory,
        notes=f"weights sha256 {sha256_file(path)}",
    )


@steps_through(Distiller.forward)
def student(config: Student, ctx: Context) -> Outcome:
    """Train one student, score it on the test split, keep its weights."""
    adapter.set_device(ctx.device)
    data: Splits = ctx.data
    network = load_teacher(ctx.starts[0], ctx.seed) if ctx.starts else None
    done = train(job_of(config, ctx, network))
    scores = evaluate(done.student, data.test, config.classes) if data.test else None
    save_weights(done.student, ctx.folder / WEIGHTS)
    return Outcome(
        metrics(data.classes, scores, config.iterations),
        done.seconds,
        done.samples,
        peak_memory_mb=done.peak_memory_mb,
    )


def job_of(config: Student | Teacher, ctx: Context, network: nn.Module | None = None) -> Job:
    """The training of a run; about ten checkpoints, none more often than every 50 iterations."""
    start, objective = None, PLAIN
    if isinstance(config, Student):
        start, objective = config.start, config.objective
    job = Job(
        student_config=config.model.config(config.classes, config.view.crop),
        view=config.view,
        source=ctx.data.train,
        optimiser=config.optimiser,
        iterations=config.iterations,
        seed=ctx.seed,
        objective=objective,
        teacher=network if objective.needs_teacher else None,
        directory=ctx.folder,
        student_weights=read_weights(start.path) if start else None,
        origin=start.path if start else "",
        imagenet=config.model.imagenet,
        checkpoint_interval=max(50, config.iterations // 10),
        workers=ctx.workers,
        label=ctx.label,
        identity=ctx.key,
    )
    models = [config.model, *(start.arm.config.model for start in ctx.starts)]
    if any(isinstance(each, OwnModel) for each in models):
        try_once(job, ctx.data.test, ctx.device)
    return job


def committed(config: Teacher) -> nn.Module:
    """The teacher that comes along; UserError if its file is not what it was."""
    path = _committed_file(config)
    return _load(config, 0, path, str(path))


def _committed_file(config: Teacher) -> Path:
    path = COMMITTED / config.weights
    if not path.is_file() or sha256_file(path) != config.sha256:
        raise UserError(f"{path} is missing or damaged: restore it, or use --retrain")
    return path


def load_teacher(start: Start, seed: int) -> nn.Module:
    """The frozen teacher that a run starts from, float32, in evaluation mode."""
    own = seed if start.arm.seed is None else start.arm.seed
    path = start.folder / WEIGHTS
    return _load(start.arm.config, own, path, str(path))


def _load(config: Teacher, seed: int, path: Path, origin: str) -> nn.Module:
    model = untrained(config, seed)
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_weights(path).items()}
    load_trained(model, state, origin)
    return model.eval().requires_grad_(False)


def untrained(config: Teacher, seed: int) -> nn.Module:
    """The architecture with its seeded random initialisation."""
    with isolated_rng(seed):
        return adapter.build_model(config.model.config(config.classes, config.view.crop)).eval()


def metrics(
    classes: tuple[str, ...], scores: SegmentationScores | None, iterations: int
) -> dict[str, float]:
    """mIoU and the IoU of each class that occurs, in percent, and the iterations run.

    Without scores the iterations alone.
    """
    if scores is None:
        return {"iterations": float(iterations)}
    named = zip(classes, scores.iou, strict=True)
    return {
        "miou": float(scores.miou),
        "pixel_accuracy": float(scores.pixel_accuracy),
        "iterations": float(iterations),
        **{f"iou/{name}": float(value) for name, value in named if value == value},
    }
