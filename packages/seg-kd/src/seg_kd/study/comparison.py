"""Run a recipe: teacher, calibration, plan, every missing run, second calibration."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn

from repro_shared.evidence.records import (
    RunRecord,
    path_for,
    provenance,
    read_record,
    read_records,
    recipe_hash,
    resolved_config,
    write_record,
)
from repro_shared.metrics.segmentation import SegmentationScores
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text, ensure_output_dir, sha256_file
from repro_shared.runtime.progress import say
from repro_shared.timing.calibrate import Calibration, calibrate
from seg_kd import METHOD_VERSION
from seg_kd.method.objectives import PLAIN, Objective
from seg_kd.study.plan import (
    Arm,
    Plan,
    arms,
    fits,
    make_plan,
    plan_path,
    read_plan,
    settled,
    write_plan,
)
from seg_kd.study.recipes.base import Data, Model, Optimiser, Recipe
from seg_kd.train import Job, Outcome, start, train
from seg_kd.use import adapter, teachers
from seg_kd.use.data import InMemory, open_split
from seg_kd.use.distiller import DivergedError
from seg_kd.use.evaluation import evaluate

TEACHER_ARM = "teacher"
DISTRIBUTIONS = ("seg-kd", "mmengine", "mmcv-lite", "onedl-mmsegmentation", "torchvision", "timm")


@dataclass(frozen=True)
class SetKey:
    """What all runs of one comparison share; its hash is the records' recipe hash.

    Attributes:
        ratios: the plan's costs relative to the reference; with the budget in an arm's name they
            give its iterations.
        teacher_sha256: of the teacher's file.
    """

    recipe: str
    scale: str
    data: Data
    student: Model
    optimiser: Optimiser
    objectives: tuple[Objective, ...]
    ratios: dict[str, float]
    teacher_sha256: str


@dataclass
class Comparison:
    """An open recipe: data in memory, teacher loaded, folders checked.

    Attributes:
        recipe, out: what runs and where it writes.
        train, test: images and label maps.
        teacher: frozen.
        teacher_sha256: of its file.
    """

    recipe: Recipe
    out: Path
    train: InMemory
    test: InMemory
    teacher: nn.Module
    teacher_sha256: str


def open_comparison(
    recipe: Recipe, out: Path, folder: str | None, retrain: bool = False
) -> Comparison:
    """Check the output folder and the data, load the teacher or make it, and score it once.

    Args:
        recipe: what to run.
        out: output folder.
        folder: the data set's folder, for recipes that need one.
        retrain: make the teacher here, also where there is a committed one.

    Raises:
        UserError: unusable output folder, data or teacher file.
    """
    ensure_output_dir(out)
    train_split = open_split(recipe.data, folder, "train")
    test_split = open_split(recipe.data, folder, "test")
    weights = teachers.weights_path(recipe, out, retrain)
    if weights.parent != teachers.COMMITTED and not teachers.belongs(recipe, weights):
        train_teacher(recipe, out, train_split, test_split, weights)
    teacher = teachers.load_teacher(recipe, weights)
    # Every run but a process's first comes after the evaluation of another. On CamVid's frames an
    # evaluation leaves the CPU allocator in a state in which a step with a teacher costs a tenth
    # less, and a plain step the same: calibrations and first runs must begin in that state too.
    evaluate(teacher, test_split, len(recipe.data.classes))
    return Comparison(recipe, out, train_split, test_split, teacher, sha256_file(weights))


def train_teacher(
    recipe: Recipe, out: Path, source: InMemory, test: InMemory, weights: Path
) -> RunRecord:
    """Train the teacher by its own recipe; write its weights (float16) and its record."""
    spec, key = recipe.teacher, teachers.TeacherKey(recipe.data, recipe.teacher)
    say(f"{recipe.name}: training the teacher, {spec.iterations} iterations")
    job = Job(
        student_config=adapter.model_config(spec.model, len(recipe.data.classes), recipe.data.crop),
        data=recipe.data,
        source=source,
        optimiser=spec.optimiser,
        iterations=spec.iterations,
        seed=spec.seed,
        objective=PLAIN,
        teacher=None,
        directory=work_directory(recipe, out, TEACHER_ARM, spec.seed),
        imagenet=spec.model.imagenet,
        checkpoint_interval=checkpoint_interval(spec.iterations),
        workers=recipe.workers,
        label=f"{recipe.name} teacher",
        identity=recipe_hash(key),
    )
    started = datetime.now(UTC)
    origin = provenance(DISTRIBUTIONS, __file__)
    outcome = train(job)
    sha256 = teachers.save_half(outcome.student, weights)
    # Scored as it will be used: after rounding to float16.
    scores = evaluate(teachers.load_teacher(recipe, weights), test, len(recipe.data.classes))
    record = RunRecord(
        recipe=recipe.name,
        recipe_hash=recipe_hash(key),
        recipe_config=resolved_config(key),
        arm=TEACHER_ARM,
        seed=spec.seed,
        data_name=recipe.data.name,
        data_fingerprint=data_fingerprint(source, test),
        metrics=metrics(recipe, scores, spec.iterations),
        notes=teachers.weights_note(sha256),
        **common(outcome, origin, started),
    )
    write_record(out, record)
    atomic_write_text(weights.with_suffix(".json"), record.model_dump_json(indent=2) + "\n")
    shutil.rmtree(job.directory, ignore_errors=True)
    return record


def plan_for(comparison: Comparison, recalibrate: bool = False) -> Plan:
    """The plan of an earlier call, or a new one from two calibrations that agree.

    A plan of other budgets, objectives or scale, one whose runs had another teacher, and any plan
    under `recalibrate`, is set aside with the runs made under it; a new set begins.
    """
    path = plan_path(comparison.out, comparison.recipe.name)
    try:
        plan = read_plan(path)
    except UserError:
        if not recalibrate:
            raise
        set_aside(comparison, "damaged", path)
        plan = None
    if plan is not None and (
        recalibrate or not fits(plan, comparison.recipe) or of_another_teacher(comparison)
    ):
        set_aside(comparison, plan.identity[:12], path)
        plan = None
    if plan is None:
        measure = partial(calibrate_recipe, comparison)
        # Smoke runs are too short to time anything; they show that the path works.
        smoke = comparison.recipe.scale == "smoke"
        plan = make_plan(comparison.recipe, measure() if smoke else settled(measure))
        write_plan(path, plan)
    return plan


def of_another_teacher(comparison: Comparison) -> bool:
    """Whether there are runs that learned from another teacher than this one."""
    return any(
        record.recipe_config["teacher_sha256"] != comparison.teacher_sha256
        for record in read_records(comparison.out, comparison.recipe.name)
        if record.arm != TEACHER_ARM
    )


def set_aside(comparison: Comparison, name: str, path: Path) -> None:
    """Move a plan and its runs below `superseded/`; nothing is deleted."""
    stem = comparison.out / "superseded" / f"{comparison.recipe.name}-{name}"
    tries = (stem.with_name(f"{stem.name}-{n}") if n > 1 else stem for n in count(1))
    old = next(folder for folder in tries if not folder.exists())
    for folder in ("records", "work"):
        current = comparison.out / folder / comparison.recipe.name
        for arm in sorted(current.iterdir()) if current.is_dir() else ():
            if arm.name != TEACHER_ARM:
                target = old / folder / arm.name
                target.parent.mkdir(parents=True, exist_ok=True)
                arm.replace(target)
    old.mkdir(parents=True, exist_ok=True)
    path.replace(old / "plan.json")


def calibrate_recipe(comparison: Comparison) -> Calibration:
    """Interleaved cost of whole training steps, one live trainer an objective.

    Returns:
        Seconds of every timed step (data, teacher, student, loss, backward, optimiser).
    """
    steps: dict[str, Callable[[], None]] = {}
    say(f"{comparison.recipe.name}: calibrating the objectives' step costs")
    with tempfile.TemporaryDirectory() as folder:
        for objective in comparison.recipe.objectives:
            # The schedule is long enough that no timed step lies beyond its end.
            job = student_job(comparison, Arm(objective, "time", 0, 10**6), 0, "calibration")
            job = replace(job, checkpoint_interval=0, directory=Path(folder) / objective.name)
            steps[objective.name] = start(job).step
        return calibrate(steps, warmup=5, rounds=comparison.recipe.calibration_rounds)


def run_missing(
    comparison: Comparison, plan: Plan, seeds: tuple[int, ...], controls: bool = False
) -> int:
    """Run what has no finished record yet; killed runs go on. Returns how many were made."""
    todo, made = arms(comparison.recipe, plan, controls), 0
    for seed in seeds:
        for number, arm in enumerate(todo, 1):
            path = path_for(comparison.out, comparison.recipe.name, arm.name, seed)
            if not finished(path, recipe_hash(set_key(comparison, plan)), comparison):
                say(
                    f"{comparison.recipe.name} seed {seed}, run {number} of {len(todo)}: "
                    f"{arm.name}, {arm.iterations} iterations"
                )
                if plan.last is not None:  # that calibration does not speak for this run
                    plan = replace(plan, last=None)
                    write_plan(plan_path(comparison.out, comparison.recipe.name), plan)
                run_student(comparison, plan, arm, seed)
                made += 1
    return made


def set_key(comparison: Comparison, plan: Plan) -> SetKey:
    """The identity of a comparison's runs."""
    recipe = comparison.recipe
    return SetKey(
        recipe.name,
        recipe.scale,
        recipe.data,
        recipe.student,
        recipe.optimiser,
        recipe.objectives,
        plan.ratios,
        comparison.teacher_sha256,
    )


def student_job(comparison: Comparison, arm: Arm, seed: int, identity: str) -> Job:
    """The training job of one arm and seed."""
    recipe = comparison.recipe
    teacher: nn.Module | None = None
    if arm.objective.needs_teacher:
        teacher = comparison.teacher
        if arm.untrained_teacher:
            teacher = teachers.untrained_teacher(recipe)
    classes = len(recipe.data.classes)
    return Job(
        student_config=adapter.model_config(recipe.student, classes, recipe.data.crop),
        data=recipe.data,
        source=comparison.train,
        optimiser=recipe.optimiser,
        iterations=arm.iterations,
        seed=seed,
        objective=arm.objective,
        teacher=teacher,
        directory=work_directory(recipe, comparison.out, arm.name, seed),
        checkpoint_interval=checkpoint_interval(arm.iterations),
        workers=recipe.workers,
        label=f"{arm.name} seed {seed}",
        identity=f"{identity}/{METHOD_VERSION}/{arm.name}/{seed}/"
        f"{data_fingerprint(comparison.train, comparison.test)}",
    )


def run_student(comparison: Comparison, plan: Plan, arm: Arm, seed: int) -> RunRecord:
    """Train one student, score it on the test split, write its weights and its record.

    A run that diverges gets a record too, of status `failed`; the others go on.
    """
    recipe, key = comparison.recipe, set_key(comparison, plan)
    job = student_job(comparison, arm, seed, recipe_hash(key))
    of_run: dict[str, Any] = {
        "recipe": recipe.name,
        "recipe_hash": recipe_hash(key),
        "recipe_config": resolved_config(key),
        "arm": arm.name,
        "seed": seed,
        "data_name": recipe.data.name,
        "data_fingerprint": data_fingerprint(comparison.train, comparison.test),
    }
    started, origin = datetime.now(UTC), provenance(DISTRIBUTIONS, __file__)
    try:
        outcome = train(job)
    except DivergedError as error:
        say(f"{recipe.name}: {arm.name} seed {seed} failed: {error}")
        nothing = Outcome(nn.Identity(), 0.0)
        record = RunRecord(
            **of_run,
            metrics={},
            notes=str(error),
            **{**common(nothing, origin, started), "status": "failed"},
        )
    else:
        scores = evaluate(outcome.student, comparison.test, len(recipe.data.classes))
        record = RunRecord(
            **of_run,
            metrics=metrics(recipe, scores, arm.iterations),
            **common(outcome, origin, started),
        )
        teachers.save_plain(outcome.student, job.directory / "student.safetensors")
    write_record(comparison.out, record)
    shutil.rmtree(job.directory / "checkpoints", ignore_errors=True)
    return record


def finish(comparison: Comparison, plan: Plan) -> Plan:
    """Calibrate a second time and keep it in the plan file."""
    plan = replace(plan, last=calibrate_recipe(comparison).to_dict())
    write_plan(plan_path(comparison.out, comparison.recipe.name), plan)
    return plan


def finished(path: Path, key: str, comparison: Comparison) -> bool:
    """Whether the record at `path` is complete, of this set, this method and these data."""
    if not path.is_file():
        return False
    record = read_record(path)
    return (
        record.status == "complete"
        and record.recipe_hash == key
        and record.method_version == METHOD_VERSION
        and record.data_fingerprint == data_fingerprint(comparison.train, comparison.test)
    )


def metrics(recipe: Recipe, scores: SegmentationScores, iterations: int) -> dict[str, float]:
    """mIoU and the IoU of each class that occurs, in percent, and the iterations run."""
    named = zip(recipe.data.classes, scores.iou, strict=True)
    return {
        "miou": float(scores.miou),
        "pixel_accuracy": float(scores.pixel_accuracy),
        "iterations": float(iterations),
        **{f"iou/{name}": float(value) for name, value in named if value == value},
    }


def common(outcome: Outcome, origin: dict[str, Any], started: datetime) -> dict[str, Any]:
    """The fields of a record that every finished training fills alike."""
    return {
        "method_version": METHOD_VERSION,
        "curve": outcome.curve,
        "seconds": outcome.seconds,
        "samples_seen": outcome.samples,
        "peak_memory_mb": outcome.peak_memory_mb,
        "provenance": origin,
        "started": started,
        "finished": datetime.now(UTC),
        "status": "complete",
    }


def data_fingerprint(source: InMemory, test: InMemory) -> str:
    """Of training and test images together."""
    return f"{source.fingerprint[:32]}+{test.fingerprint[:32]}"


def work_directory(recipe: Recipe, out: Path, arm: str, seed: int) -> Path:
    """Checkpoints and, in the end, weights of one run; not evidence, safe to delete."""
    return out / "work" / recipe.name / arm / f"seed-{seed}"


def checkpoint_interval(iterations: int) -> int:
    """About ten checkpoints a run, none more often than every 50 iterations."""
    return max(50, iterations // 10)
