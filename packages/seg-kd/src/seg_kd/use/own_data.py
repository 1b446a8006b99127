"""`seg-kd train`, `distill`, `evaluate`, `calibrate` on the user's own images, configs and weights.

Images and label maps lie in one folder: `images/<split>/*` and `labels/<split>/<same name>.png`,
labels as class indices. Models are mmseg config files with a `model`, or the names `pspnet_r18` and
`pspnet_r101`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_json,
    ensure_output_dir,
    sha256_bytes,
    sha256_file,
)
from repro_shared.runtime.progress import say
from seg_kd import METHOD_VERSION
from seg_kd.method.objectives import OBJECTIVES, PLAIN, Objective
from seg_kd.study.recipes.base import Data, Model, Optimiser
from seg_kd.use.data import InMemory, open_split
from seg_kd.use.own_settings import Images, Schedule

if TYPE_CHECKING:
    from torch import nn

    from seg_kd.train import Job

BUILT_IN = {
    "pspnet_r18": Model(),
    "pspnet_r101": Model(depth=101, head_channels=512, auxiliary_channels=256),
}


Flat = tyro.conf.OmitArgPrefixes


def train(
    images: Annotated[Images, Flat] = Images(),
    schedule: Annotated[Schedule, Flat] = Schedule(),
    *,
    model: str = "pspnet_r18",
    weights: str | None = None,
    out: str = "runs/train",
    device: str = "cpu",
) -> None:
    """Train a segmentation model on a label-map folder: plain cross-entropy.

    Args:
        images: the data.
        schedule: length and optimiser.
        model: mmseg config file, or pspnet_r18 or pspnet_r101.
        weights: state_dict to start from.
        out: output folder: model.safetensors, model.pth, scores.json.
        device: cpu or cuda.
    """
    _train(images, schedule, model, weights, PLAIN, None, None, out, device)


def distill(
    images: Annotated[Images, Flat] = Images(),
    schedule: Annotated[Schedule, Flat] = Schedule(),
    *,
    teacher: str = "",
    teacher_weights: str = "",
    student: str = "pspnet_r18",
    student_weights: str | None = None,
    objective: str = "feature+logit",
    logit_weight: float | None = None,
    feature_weight: float | None = None,
    temperature: float | None = None,
    out: str = "runs/distill",
    device: str = "cpu",
) -> None:
    """Distil a trained teacher into a student on a label-map folder.

    Args:
        images: the data.
        schedule: length and optimiser.
        teacher: mmseg config file of the teacher, or a built-in name.
        teacher_weights: its state_dict (.safetensors or .pth, tensors only).
        student: mmseg config file of the student, or a built-in name.
        student_weights: state_dict to start from.
        objective: logit, feature or feature+logit.
        logit_weight: instead of the objective's own.
        feature_weight: instead of the objective's own.
        temperature: of the logit term, instead of 1.
        out: output folder: model.safetensors, model.pth, scores.json.
        device: cpu or cuda.
    """
    if objective not in OBJECTIVES:
        raise UserError(f"unknown objective {objective!r}: choose {', '.join(OBJECTIVES)}")
    chosen = OBJECTIVES[objective]
    for flag, value, term in (
        ("--logit-weight", logit_weight, chosen.logit_weight),
        ("--temperature", temperature, chosen.logit_weight),
        ("--feature-weight", feature_weight, chosen.feature_weight),
    ):
        if value is not None and not (term and value):
            raise UserError(f"objective {objective!r} takes no {flag} {value:g}: choose another")
    chosen = replace(
        chosen,
        logit_weight=chosen.logit_weight if logit_weight is None else logit_weight,
        feature_weight=chosen.feature_weight if feature_weight is None else feature_weight,
        temperature=chosen.temperature if temperature is None else temperature,
    )
    if not chosen.needs_teacher:
        raise UserError(f"objective {objective!r} has no distillation term: use `seg-kd train`")
    _train(
        images, schedule, student, student_weights, chosen, teacher, teacher_weights, out, device
    )


def evaluate(
    images: Annotated[Images, Flat] = Images(),
    *,
    model: str = "pspnet_r18",
    weights: str = "",
    device: str = "cpu",
) -> None:
    """Score a model on the evaluation split: mIoU and the IoU of each class.

    Args:
        images: the data.
        model: mmseg config file, or pspnet_r18 or pspnet_r101.
        weights: its state_dict.
        device: cpu or cuda.
    """
    spec = images.spec()
    test = open_split(spec, images.data, "test")
    network = _load(model, weights, spec, device)
    print(json.dumps(_scores(network, test, spec), indent=2))


def calibrate(
    images: Annotated[Images, Flat] = Images(),
    schedule: Annotated[Schedule, Flat] = Schedule(),
    *,
    teacher: str = "",
    teacher_weights: str = "",
    student: str = "pspnet_r18",
    rounds: int = 30,
    device: str = "cpu",
) -> None:
    """Print what a training step of each objective costs here, interleaved, and equal-time lengths.

    Args:
        images: the data.
        schedule: iterations of logit distillation that set the budget.
        teacher: mmseg config file of the teacher, or a built-in name.
        teacher_weights: its state_dict.
        student: mmseg config file of the student, or a built-in name.
        rounds: timed rounds.
        device: cpu or cuda.
    """
    import tempfile

    if schedule.budget_seconds is not None:
        raise UserError("the budget of a calibration is --iterations of logit distillation")
    spec, optimiser = images.spec(), schedule.optimiser()
    source = open_split(spec, images.data, "train")
    network = _load(teacher, teacher_weights, spec, device)
    from repro_shared.timing.calibrate import calibrate as measure
    from repro_shared.timing.calibrate import plan_iterations
    from seg_kd.train import start

    with tempfile.TemporaryDirectory() as folder:
        steps = {
            name: start(
                _job(source, spec, optimiser, 10**6, schedule.seed, student, None, each,
                     network if each.needs_teacher else None, Path(folder) / name, images.workers)
            ).step
            for name, each in OBJECTIVES.items()
        }  # fmt: skip
        result = measure(steps, rounds=rounds)
    ratios = result.ratios("logit")
    lengths = plan_iterations(ratios, "logit", schedule.iterations or 1000)
    for name, ratio in ratios.items():
        low, high = result.spread(name, "logit")
        print(f"{name:14s} {1000 * result.median(name):9.1f} ms  {ratio:.3f} x logit "
              f"[{low:.3f}, {high:.3f}]  {lengths[name]} iterations")  # fmt: skip


def _train(
    images: Images,
    schedule: Schedule,
    student: str,
    student_weights: str | None,
    objective: Objective,
    teacher: str | None,
    teacher_weights: str | None,
    out: str,
    device: str,
) -> None:
    if (schedule.iterations is None) == (schedule.budget_seconds is None):
        raise UserError("give either --iterations or --budget-seconds")
    spec, optimiser = images.spec(), schedule.optimiser()
    if schedule.amp and device != "cuda":
        raise UserError("--amp needs --device cuda")
    folder = ensure_output_dir(out)
    source, test = open_split(spec, images.data, "train"), open_split(spec, images.data, "test")
    network = None
    if teacher is not None and teacher_weights is not None:
        network = _load(teacher, teacher_weights, spec, device)
    from seg_kd.train import train as run
    from seg_kd.use import adapter, teachers

    adapter.set_device(device)
    job = _job(source, spec, optimiser, schedule.iterations or 0, schedule.seed, student,
               student_weights, objective, network, folder, images.workers)  # fmt: skip
    # Whatever decides the result: a run resumes only where nothing of it has changed.
    weights = [sha256_file(path) if path else "" for path in (teacher_weights, student_weights)]
    decisive = (
        replace(spec, name=""), optimiser, objective, schedule, job.student_config,
        source.fingerprint, test.fingerprint, _config(teacher, spec) if teacher else None,
        *weights, device, METHOD_VERSION,
    )  # fmt: skip
    identity = sha256_bytes(repr(decisive).encode())
    iterations = _iterations(folder, identity, schedule, job)
    finished = folder / "scores.json"
    if finished.is_file():
        say(f"{folder} holds this run already, finished")
        print(finished.read_text(), end="")
        return
    job = replace(
        job,
        iterations=iterations,
        checkpoint_interval=max(50, iterations // 10),
        identity=f"{identity} {iterations}",
        label=f"{objective.name} training",
    )
    outcome = run(job)
    teachers.save_plain(outcome.student, folder / "model.safetensors")
    teachers.save_torch(outcome.student, folder / "model.pth")
    scores = _scores(outcome.student, test, spec)
    scores |= {"iterations": job.iterations, "seconds": outcome.seconds}
    atomic_write_json(finished, scores)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    print(finished.read_text(), end="")


def _iterations(folder: Path, identity: str, schedule: Schedule, job: Job) -> int:
    """Length of a run: as given, or as its budget allows; kept in `run.json` for a resumed run.

    Raises:
        UserError: the folder holds another run, finished or interrupted.
    """
    path, kept = folder / "run.json", {}
    if path.is_file():
        try:
            kept = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged: remove {folder}, or give another --out") from error
    if kept.get("run") == identity:
        return int(kept["iterations"])
    if (folder / "scores.json").is_file() or any((folder / "checkpoints").glob("*")):
        raise UserError(f"{folder} holds another run: remove it, or give another --out")
    seconds = schedule.budget_seconds
    iterations = schedule.iterations or _affordable(job, seconds or 0.0)
    made = {"run": identity, "budget_seconds": seconds, "iterations": iterations}
    atomic_write_json(path, made)
    return iterations


def _affordable(job: Job, seconds: float) -> int:
    """Iterations that fit a budget, from the median of 15 steps after 5."""
    import tempfile

    from repro_shared.timing.calibrate import calibrate as measure
    from repro_shared.timing.calibrate import iterations_for_budget
    from seg_kd.train import start

    with tempfile.TemporaryDirectory() as folder:
        step = start(replace(job, iterations=10**6, directory=Path(folder))).step
        return iterations_for_budget(seconds, measure({"step": step}, rounds=15).median("step"))


def _job(
    source: InMemory,
    spec: Data,
    optimiser: Optimiser,
    iterations: int,
    seed: int,
    student: str,
    student_weights: str | None,
    objective: Objective,
    teacher: nn.Module | None,
    directory: Path,
    workers: int,
) -> Job:
    from seg_kd.train import Job
    from seg_kd.use import teachers

    return Job(
        student_config=_config(student, spec),
        data=spec,
        source=source,
        optimiser=optimiser,
        iterations=iterations,
        seed=seed,
        objective=objective,
        teacher=teacher,
        directory=directory,
        student_weights=teachers.read_weights(student_weights) if student_weights else None,
        workers=workers,
    )


def _config(name: str, spec: Data) -> dict[str, Any]:
    from seg_kd.use import adapter

    if not name:
        raise UserError("no teacher: give --teacher CONFIG.py and --teacher-weights FILE")
    if name in BUILT_IN:
        return adapter.model_config(BUILT_IN[name], len(spec.classes), spec.crop)
    if not name.endswith(".py"):
        raise UserError(f"model {name!r} is neither an mmseg config (.py) nor "
                        f"{' nor '.join(BUILT_IN)}")  # fmt: skip
    return adapter.read_model_config(name, len(spec.classes), spec.crop)


def _load(name: str, weights: str, spec: Data, device: str) -> nn.Module:
    from seg_kd.use import adapter, teachers

    config = _config(name, spec)
    if not weights:
        raise UserError(f"no weights for {name}: give --weights, or --teacher-weights, FILE")
    state = teachers.read_weights(weights)
    adapter.set_device(device)
    model = adapter.build_model(config)
    teachers.load_strictly(model, state, weights)
    return model.to(device).eval().requires_grad_(False)


def _scores(model: nn.Module, test: InMemory, spec: Data) -> dict[str, Any]:
    from seg_kd.use.evaluation import evaluate as score

    result = score(model, test, len(spec.classes))
    return {
        "miou": round(float(result.miou), 4),
        "pixel_accuracy": round(float(result.pixel_accuracy), 4),
        "iou": [None if v != v else round(float(v), 4) for v in result.iou],
        "absent_classes": list(result.absent),
        "images": len(test),
    }
