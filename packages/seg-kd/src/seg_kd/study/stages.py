"""The stages of a comparison: make the teacher, train a student and score it."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.files import atomic_write_json, sha256_file
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import read_weights, save_weights
from repro_shared.study.paper import Context, Outcome, Start
from repro_shared.study.trip import steps_through
from seg_kd.method.objectives import PLAIN
from seg_kd.study.configs import Cache, Student, Teacher
from seg_kd.study.scoring import all_scores
from seg_kd.study.trial import try_once
from seg_kd.train import Distiller, Job, train
from seg_kd.use import adapter
from seg_kd.use.data import Splits
from seg_kd.use.evaluation import evaluate
from seg_kd.use.fixed import FixedViews, few_labels
from seg_kd.use.heads import needs_edges
from seg_kd.use.kept import Kept, keep
from seg_kd.use.models import Model
from seg_kd.use.weights import load_trained

COMMITTED = Path(__file__).parents[1] / "weights"
WEIGHTS, SCORE = "model.safetensors", "score.json"  # what a run leaves in its folder
SHA256 = "weights sha256 "  # before the sum, in the notes of a teacher's record
ENOUGH = 1.0  # mIoU that twice the length must not gain at a plateau
GAP = 5.0  # mIoU that a teacher must be above plain training at its plateau
SCORED = 0.005  # of the labelled training pixels: classes with a smaller share are not scored


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
    found = all_scores(network, data, config.classes, config.scored, config.iterations)
    atomic_write_json(ctx.folder / SCORE, found)
    return Outcome(
        found,
        seconds,
        samples,
        peak_memory_mb=memory,
        notes=f"{SHA256}{sha256_file(path)}",
    )


@steps_through(Distiller.forward)
def student(config: Student, ctx: Context) -> Outcome:
    """Train one student, score it on the test split, keep its weights.

    A try of a learning rate that diverges has an mIoU of 0: the others of its objective go on.
    """
    adapter.set_device(ctx.device)
    data: Splits = ctx.data
    config = with_best_rate(config, ctx)
    try:
        done = train(job_of(config, ctx, teacher_of(ctx)))
    except DivergedError as error:
        if config.role != "try":
            raise
        atomic_write_json(ctx.folder / SCORE, {"miou": 0.0})
        rate = config.optimiser.learning_rate
        return Outcome({"miou": 0.0, "learning_rate": rate}, notes=str(error))
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
    """Take over the student of the shortest length at which it is at its plateau.

    Raises:
        UserError: none of several lengths is a plateau, or the teacher is not accepted.
    """
    plain = [start for start in ctx.starts if isinstance(start.arm.config, Student)]
    folders = {start.arm.config.iterations: start.folder for start in plain}
    scores = {length: read_scores(folder / SCORE) for length, folder in folders.items()}
    chosen = plateau_of({length: found["miou"] for length, found in scores.items()})
    if len(scores) > 1:
        (above,) = (each for each in ctx.starts if isinstance(each.arm.config, Teacher))
        taught = read_scores(above.folder / SCORE)
        problem = poor(taught, scores[chosen], above.arm.config.scored)
        if chosen == max(scores):
            problem = f"plain training still gains {ENOUGH:g} mIoU after {chosen} iterations"
        if problem:
            raise UserError(f"the gate is closed: {problem}; change what the protocol says of it")
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


def poor(teacher: Mapping[str, float], plain: Mapping[str, float], scored: float) -> str:
    """Why a teacher is not accepted, or "".

    It must be 5 mIoU above plain training at its plateau, and below it in no scored class.

    Args:
        teacher, plain: metrics of both on the same images.
        scored: the least share of a class that is scored; 0 where all are.
    """
    gap = teacher["miou"] - plain["miou"]
    if gap < GAP:
        return f"the teacher is {gap:.1f} mIoU above plain training at its plateau, not {GAP:g}"
    worse = [
        key.removeprefix("iou/")
        for key in sorted(teacher)
        if key.startswith("iou/")
        and teacher.get(f"scored/{key[4:]}", float(scored == 0))
        and teacher[key] < plain.get(key, 0.0)
    ]
    return f"the teacher is worse than plain training at {', '.join(worse)}" if worse else ""


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
