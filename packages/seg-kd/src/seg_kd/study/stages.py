"""The stages of a comparison: make the teacher, train a student and score it."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from repro_shared.evidence.hashing import UNRECORDED
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, sha256_file
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import read_weights, save_weights
from repro_shared.study.paper import Context, Outcome, Start
from repro_shared.study.trip import steps_through
from seg_kd.method.objectives import PLAIN, Objective
from seg_kd.study.scoring import all_scores
from seg_kd.study.trial import try_once
from seg_kd.train import Distiller, Job, Optimiser, train
from seg_kd.use import adapter
from seg_kd.use.data import Splits, View
from seg_kd.use.evaluation import evaluate
from seg_kd.use.fixed import FixedViews, few_labels
from seg_kd.use.heads import needs_edges
from seg_kd.use.kept import Kept, keep
from seg_kd.use.models import Model, OwnModel
from seg_kd.use.weights import load_trained

Match = Literal["time", "iterations"]
Role = Literal["compared", "warm start", "length", "try", "cold start"]
COMMITTED = Path(__file__).parents[1] / "weights"
WEIGHTS, SCORE = "model.safetensors", "score.json"  # what a run leaves in its folder
SHA256 = "weights sha256 "  # before the sum, in the notes of a teacher's record
ENOUGH = 1.0  # mIoU that twice the length must not gain at a plateau
SCORED = 0.005  # of the labelled training pixels: classes with a smaller share are not scored


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
        scored: see `Student`.
    """

    model: Model | OwnModel
    classes: int
    view: View
    optimiser: Optimiser
    iterations: int = 0
    weights: str = ""
    sha256: str = ""
    given: File | None = None
    scored: float = 0.0

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
        role: `compared`; `warm start`: others begin where it ends; `length`: whether a plain
            student is at its plateau; `try`: of a learning rate; `cold start`: from random weights.
        views: fixed views of an image, see `Cache`; 0: every view is drawn anew.
        labels: share of the training images that have labels. Without a teacher the others are
            left out; with one they teach by its outputs alone.
        teaching: whose outputs a view is taught by; those of another image are a control.
        scored: classes with a smaller share of the labelled training pixels are left out of
            `miou`, which is of all classes where this is 0.
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
    role: Role = "compared"
    views: int = 0
    labels: float = 1.0
    teaching: Literal["own image", "another image"] = "own image"
    scored: float = 0.0

    @property
    def steps(self) -> int:
        """Training iterations."""
        return self.iterations

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The objective's terms."""
        return self.objective.equations


@dataclass(frozen=True)
class Cache:
    """What a network gives for fixed views of the training images, made once for all runs.

    Attributes:
        view: how views are drawn; views: of an image.
        names: of the outputs, see `keep`; `stages` are a frozen student's, others a teacher's.
        grid: height and width that larger maps are resized to; None: as they are.
    """

    view: View
    views: int
    names: tuple[str, ...]
    grid: tuple[int, int] | None = None


@steps_through(keep)
def cache(config: Cache, ctx: Context) -> Outcome:
    """Keep what the network that it starts from gives for all fixed views."""
    adapter.set_device(ctx.device)
    (start,) = ctx.starts
    network = load_teacher(start, ctx.seed).to(ctx.device)
    model = start.arm.config
    edges = needs_edges(model.model.config(model.classes, config.view.crop))
    transform = adapter.training_transform(config.view, edges)
    views = FixedViews(ctx.data.train, transform, 0, config.views)
    fingerprint = ctx.data.train.fingerprint
    began = time.perf_counter()
    rows = keep(network, views, config.names, ctx.folder, fingerprint, config.grid)
    size = sum(path.stat().st_size for path in ctx.folder.glob("*.npy"))
    return Outcome(
        {"views": float(rows), "megabytes": size / 1e6}, time.perf_counter() - began, rows
    )


@steps_through(evaluate)
def scored_again(config: Teacher, ctx: Context) -> Outcome:
    """Score the teacher that it starts from, so that it has a row for every seed."""
    adapter.set_device(ctx.device)
    network = load_teacher(ctx.starts[0], ctx.seed).to(ctx.device)
    return Outcome(all_scores(network, ctx.data, config.classes, config.scored, config.iterations))


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
        return Outcome({"given": 1.0}, notes=f"{SHA256}{config.given.sha256}")
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
    return Outcome(
        all_scores(network, data, config.classes, config.scored, config.iterations),
        seconds,
        samples,
        peak_memory_mb=memory,
        notes=f"{SHA256}{sha256_file(path)}",
    )


@steps_through(Distiller.forward)
def student(config: Student, ctx: Context) -> Outcome:
    """Train one student, score it on the test split, keep its weights."""
    adapter.set_device(ctx.device)
    data: Splits = ctx.data
    config = with_best_rate(config, ctx)
    done = train(job_of(config, ctx, teacher_of(ctx)))
    found = all_scores(done.student, data, config.classes, config.scored, config.iterations)
    save_weights(done.student, ctx.folder / WEIGHTS)
    if config.role in ("try", "length"):
        atomic_write_json(ctx.folder / SCORE, found)
    return Outcome(
        {**found, **({"learning_rate": config.optimiser.learning_rate} if config.scored else {})},
        done.seconds,
        done.samples,
        peak_memory_mb=done.peak_memory_mb,
    )


def teacher_of(ctx: Context) -> nn.Module | None:
    """The frozen teacher among what a run starts from, if there is one."""
    start = next((each for each in ctx.starts if isinstance(each.arm.config, Teacher)), None)
    return load_teacher(start, ctx.seed) if start else None


@steps_through(Distiller.forward)
def at_plateau(config: Student, ctx: Context) -> Outcome:
    """Take over the student of the shortest length at which it is at its plateau."""
    folders = {start.arm.config.iterations: start.folder for start in ctx.starts}
    scores = {length: read_scores(folder / SCORE) for length, folder in folders.items()}
    chosen = plateau_of({length: found["miou"] for length, found in scores.items()})
    shutil.copyfile(folders[chosen] / WEIGHTS, ctx.folder / WEIGHTS)
    return Outcome(scores[chosen])


def plateau_of(scores: Mapping[int, float]) -> int:
    """The shortest length of which the next, twice as long, gains under 1 mIoU; else the longest.

    Args:
        scores: mIoU by iterations.
    """
    for shorter, longer in itertools.pairwise(sorted(scores)):
        if scores[longer] - scores[shorter] < ENOUGH:
            return shorter
    return max(scores)


def with_best_rate(config: Student, ctx: Context) -> Student:
    """The student with the rate of the best of the tries that it starts from, if any; ties: first.

    Raises:
        UserError: a try whose score is missing or damaged.
    """
    best: tuple[float, float] | None = None
    for start in ctx.starts:
        tried = start.arm.config
        if isinstance(tried, Student) and tried.role == "try":
            score = read_scores(start.folder / SCORE)["miou"]
            if best is None or score > best[0]:
                best = score, tried.optimiser.learning_rate
    if best is None:
        return config
    return replace(config, optimiser=replace(config.optimiser, learning_rate=best[1]))


def read_scores(path: Path) -> dict[str, float]:
    """The metrics that a try left; UserError if they are not there."""
    try:
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(found[name]) for name in ("miou", *found)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: missing or damaged: remove {path.parent}") from error


def job_of(
    config: Student | Teacher,
    ctx: Context,
    network: nn.Module | None = None,
    online: bool = False,
) -> Job:
    """The training of a run; about ten checkpoints, none more often than every 50 iterations.

    With `online` the teacher is run in each step even if its outputs were kept: what a step costs.
    """
    start, objective, source = None, PLAIN, ctx.data.train
    weights, origin, views, taught, backbone = None, "", 0, None, None
    if isinstance(config, Student):
        start, objective, views = config.start, config.objective, 0 if online else config.views
        if config.labels < 1:
            source = few_labels(source, config.labels, hide=objective.needs_teacher)
        if start:
            weights, origin = read_weights(start.path), start.path
        for each in ctx.starts:
            before = each.arm.config
            if isinstance(before, Student) and before.role == "warm start":
                origin = str(each.folder / WEIGHTS)
                weights = read_weights(origin)
            if isinstance(before, Cache) and not online:
                kept = Kept.read(each.folder, ctx.data.train.fingerprint)
                if "stages" in before.names:
                    backbone = kept
                elif objective.needs_teacher:
                    kept = kept.shifted() if config.teaching == "another image" else kept
                    taught = taught.beside(kept) if taught else kept
    job = Job(
        student_config=config.model.config(config.classes, config.view.crop),
        view=config.view,
        source=source,
        optimiser=config.optimiser,
        iterations=config.iterations,
        seed=ctx.seed,
        objective=objective,
        teacher=network if objective.needs_teacher else None,
        directory=ctx.folder,
        student_weights=weights,
        origin=origin,
        imagenet=config.model.imagenet,
        checkpoint_interval=max(50, config.iterations // 10),
        workers=ctx.workers,
        label=ctx.label,
        identity=ctx.key,
        views=views,
        taught=taught,
        backbone=backbone,
    )
    models = [config.model, *(e.arm.config.model for e in ctx.starts if _has_model(e.arm.config))]
    if not all(isinstance(each, Model) for each in models):
        try_once(job, ctx.data.test, ctx.device)
    return job


def _has_model(config: Any) -> bool:
    return isinstance(config, Student | Teacher)


def shipped(config: Teacher, name: str) -> Teacher:
    """The teacher as the one that comes along, if one of that name does."""
    path = COMMITTED / f"{name}.json"
    if not path.is_file():
        return config
    notes: str = json.loads(path.read_text(encoding="utf-8"))["record"]["notes"]
    sha256 = notes.removeprefix(SHA256)
    return replace(config, weights=f"{name}.safetensors", sha256=sha256)


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
