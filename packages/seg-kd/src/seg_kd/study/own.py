"""`seg-kd train`, `distill`, `evaluate`, `calibrate` on the user's own images, configs and weights.

Images and label maps lie in one folder: `images/<split>/*` and `labels/<split>/<same name>.png`,
labels as class indices. Models are mmseg config files with a `model`, or the names `pspnet_r18` and
`pspnet_r101`. A training is an arm that the user fills in, on the stages of every other study.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_json, sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights
from repro_shared.study.alone import run_alone
from repro_shared.study.paper import Arm, Paper, Study
from repro_shared.study.publish import as_json
from repro_shared.study.results import Results
from repro_shared.study.run import context_of
from repro_shared.study.session import Session
from repro_shared.timing.calibrate import calibrate as measure
from repro_shared.timing.calibrate import iterations_for_budget, plan_iterations
from seg_kd.method.objectives import OBJECTIVES, PLAIN, Objective
from seg_kd.study import stages
from seg_kd.study.calibration import ENDLESS, REFERENCE
from seg_kd.study.stages import WEIGHTS, File, Student, Teacher, load_teacher, student_job
from seg_kd.train import Optimiser, start
from seg_kd.use import adapter
from seg_kd.use.data import LabelMaps, View
from seg_kd.use.evaluation import evaluate as score
from seg_kd.use.models import own_model

Flat = tyro.conf.OmitArgPrefixes
UNUSED = Optimiser()  # of a teacher that is not trained here
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Images:
    """The user's data and how training views are drawn.

    Attributes:
        data: folder with images/<split> and labels/<split>.
        num_classes: number of classes; label values 0 .. num_classes - 1.
        ignore: label values that count as unlabelled besides 255.
        train_split: name of the training split.
        val_split: name of the evaluation split.
        crop: training crop, height and width in pixels.
        flip: probability of a horizontal flip.
        workers: data-loading processes.
    """

    data: str = ""
    num_classes: int = 0
    ignore: tuple[int, ...] = ()
    train_split: str = "train"
    val_split: str = "val"
    crop: tuple[int, int] = (512, 512)
    flip: float = 0.5
    workers: int = 0

    def source(self) -> LabelMaps:
        """The data source.

        Raises:
            UserError: no folder, or a value out of its range.
        """
        if not self.data:
            raise UserError("no data: give the folder with --data DIR")
        if not 2 <= self.num_classes <= 254:
            raise UserError(f"--num-classes must be 2 to 254, got {self.num_classes}")
        if self.workers < 0:
            raise UserError(f"--workers must be 0 or more, got {self.workers}")
        return LabelMaps(
            name=Path(self.data).name or "data",
            classes=tuple(f"class {index}" for index in range(self.num_classes)),
            ignore_values=(*self.ignore, 255),
            train_split=self.train_split,
            test_split=self.val_split,
            own=True,
        )

    def view(self) -> View:
        """How training views are drawn."""
        return View(self.crop, flip=self.flip)


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        iterations: of the complete polynomial schedule; or give budget_seconds.
        budget_seconds: wall-clock budget; turned into iterations by timing this machine first.
        seed: initialisation, order, augmentation, dropout.
    """

    iterations: int | None = None
    budget_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations is not None and self.iterations < 1:
            raise UserError(f"--iterations must be at least 1, got {self.iterations}")


@dataclass(frozen=True)
class Affordable:
    """The preparation of a training under a budget: its length, measured once.

    Attributes:
        seconds: the budget.
    """

    seconds: float

    def measure(
        self, study: Study, session: Session, facts: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Iterations that fit, from the median of 15 steps after 5."""
        return facts or {"iterations": affordable(study, session, self.seconds)}

    def fill(self, study: Study, facts: dict[str, Any] | None) -> Study:
        """The student with its length."""
        *others, arm = study.arms
        known = facts["iterations"] if facts else 0
        arm = replace(arm, config=replace(arm.config, iterations=known))
        return replace(study, arms=(*others, arm))

    def concerns(self, arm: Arm) -> bool:
        """Nothing follows the run."""
        return False

    def close(self, study: Study, session: Session, facts: dict[str, Any]) -> dict[str, Any]:
        """Nothing to add."""
        return facts

    def refuse(self, results: Results) -> None:
        """Nothing to refuse."""


def affordable(study: Study, session: Session, seconds: float) -> int:
    """Iterations of the last arm that fit a budget in seconds."""
    arm = study.arms[-1]
    with tempfile.TemporaryDirectory() as folder:
        ctx = context_of(session, arm, 0, Path(folder))
        network = load_teacher(ctx.starts[0], 0) if ctx.starts else None
        config = replace(arm.config, iterations=ENDLESS)
        job = student_job(config, ctx, config.objective, network)
        step = start(replace(job, checkpoint_interval=0)).step
        return iterations_for_budget(seconds, measure({"step": step}, rounds=15).median("step"))


@dataclass(frozen=True)
class Own:
    """The verbs on the user's own data, for a `Paper`."""

    paper: Paper

    def train(
        self,
        images: Annotated[Images, Flat] = Images(),
        optimiser: Annotated[Optimiser, Flat] = Optimiser(),
        length: Annotated[Length, Flat] = Length(),
        *,
        model: str = "pspnet_r18",
        weights: str | None = None,
        out: str = "runs/train",
        device: Device = "cpu",
    ) -> None:
        """Train a segmentation model on a label-map folder: plain cross-entropy.

        Args:
            images: the data.
            optimiser: SGD and its schedule.
            length: how long.
            model: mmseg config file, or pspnet_r18 or pspnet_r101.
            weights: state_dict to start from.
            out: output folder: model.safetensors, model.pth, scores.json.
            device: cpu or cuda.
        """
        self._run(images, optimiser, length, model, weights, PLAIN, None, out, device)

    def distill(
        self,
        images: Annotated[Images, Flat] = Images(),
        optimiser: Annotated[Optimiser, Flat] = Optimiser(),
        length: Annotated[Length, Flat] = Length(),
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
        device: Device = "cpu",
    ) -> None:
        """Distil a trained teacher into a student on a label-map folder.

        Args:
            images: the data.
            optimiser: SGD and its schedule.
            length: how long.
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
        chosen = changed(objective, logit_weight, feature_weight, temperature)
        source = images.source()
        made = given_teacher(images, source, teacher, teacher_weights)
        self._run(images, optimiser, length, student, student_weights, chosen, made, out, device)

    def evaluate(
        self,
        images: Annotated[Images, Flat] = Images(),
        *,
        model: str = "pspnet_r18",
        weights: str = "",
        device: Device = "cpu",
    ) -> None:
        """Score a model on the evaluation split: mIoU and the IoU of each class.

        Args:
            images: the data.
            model: mmseg config file, or pspnet_r18 or pspnet_r101.
            weights: its state_dict.
            device: cpu or cuda.
        """
        adapter.set_device(device)
        source = images.source()
        config = own_model(model, images.num_classes, images.crop)
        if not weights:
            raise UserError(f"no weights for {model}: give --weights FILE")
        state = read_weights(weights)
        test = source.open(Path(images.data)).test
        network = adapter.build_model(config.config(images.num_classes, images.crop))
        load_strictly(network, state, weights)
        result = score(network.to(device).eval(), test, images.num_classes)
        shown = {
            "miou": round(float(result.miou), 4),
            "pixel_accuracy": round(float(result.pixel_accuracy), 4),
            "iou": [None if v != v else round(float(v), 4) for v in result.iou],
            "absent_classes": list(result.absent),
            "images": len(test),
        }
        print(as_json(shown))

    def calibrate(
        self,
        images: Annotated[Images, Flat] = Images(),
        optimiser: Annotated[Optimiser, Flat] = Optimiser(),
        *,
        iterations: int = 1000,
        teacher: str = "",
        teacher_weights: str = "",
        student: str = "pspnet_r18",
        rounds: int = 30,
        device: Device = "cpu",
    ) -> None:
        """Print what a step of each objective costs here, interleaved, and equal-time lengths.

        Args:
            images: the data.
            optimiser: SGD and its schedule.
            iterations: of logit distillation; they set the budget.
            teacher: mmseg config file of the teacher, or a built-in name.
            teacher_weights: its state_dict.
            student: mmseg config file of the student, or a built-in name.
            rounds: timed rounds.
            device: cpu or cuda.
        """
        adapter.set_device(device)
        source = images.source()
        made = given_teacher(images, source, teacher, teacher_weights)
        with tempfile.TemporaryDirectory() as folder:
            steps = {}
            for name, each in OBJECTIVES.items():
                study = own_study(images, source, optimiser, student, None, each, made, ENDLESS)
                session = Session(
                    self.paper, study, Path(folder) / name, Path(images.data), device,
                    images.workers,
                )  # fmt: skip
                arm = study.arms[-1]
                ctx = context_of(session, arm, 0, Path(folder) / name)
                network = load_teacher(ctx.starts[0], 0) if ctx.starts else None
                job = student_job(arm.config, ctx, each, network)
                steps[name] = start(replace(job, checkpoint_interval=0)).step
            result = measure(steps, rounds=rounds)
        ratios = result.ratios(REFERENCE)
        lengths = plan_iterations(ratios, REFERENCE, iterations)
        for name, ratio in ratios.items():
            low, high = result.spread(name, REFERENCE)
            print(f"{name:14s} {1000 * result.median(name):9.1f} ms  {ratio:.3f} x logit "
                  f"[{low:.3f}, {high:.3f}]  {lengths[name]} iterations")  # fmt: skip

    def _run(
        self,
        images: Images,
        optimiser: Optimiser,
        length: Length,
        model: str,
        weights: str | None,
        objective: Objective,
        teacher: Arm | None,
        out: str,
        device: Device,
    ) -> None:
        if (length.iterations is None) == (length.budget_seconds is None):
            raise UserError("give either --iterations or --budget-seconds")
        if optimiser.amp and device != "cuda":
            raise UserError("--amp needs --device cuda")
        check_device(device)
        adapter.set_device(device)
        source = images.source()
        study = own_study(
            images, source, optimiser, model, weights, objective, teacher, length.iterations or 0
        )
        if length.budget_seconds is not None:
            study = replace(study, prepare=Affordable(length.budget_seconds))
        folder = Path(out)
        session = Session(self.paper, study, folder, Path(images.data), device, images.workers)
        record, made = run_alone(session, length.seed)
        publish_model(made / WEIGHTS, folder)
        scores = {
            "miou": round(record.metrics["miou"], 4),
            "pixel_accuracy": round(record.metrics["pixel_accuracy"], 4),
            "iou": {k[4:]: round(v, 4) for k, v in record.metrics.items() if k.startswith("iou/")},
            "iterations": int(record.metrics["iterations"]),
            "seconds": record.seconds,
        }
        atomic_write_json(folder / "scores.json", scores)
        print(as_json(scores))


def own_study(
    images: Images,
    source: LabelMaps,
    optimiser: Optimiser,
    model: str,
    weights: str | None,
    objective: Objective,
    teacher: Arm | None,
    iterations: int,
) -> Study:
    """A study of one student, the user's, with the user's teacher where there is one."""
    config = Student(
        own_model(model, images.num_classes, images.crop),
        images.num_classes,
        images.view(),
        optimiser,
        objective,
        iterations=iterations,
        start=given_file(weights) if weights else None,
    )
    starts = (teacher,) if teacher is not None and objective.needs_teacher else ()
    arm = Arm(f"{objective.name} student", config, stages.student, starts_from=starts)
    name = "train" if teacher is None else "distill"
    return Study(name, "cpu", source, (*starts, arm), (0,))


def given_teacher(images: Images, source: LabelMaps, name: str, weights: str) -> Arm:
    """The user's teacher as an arm.

    Raises:
        UserError: no teacher, no weights, or a file that is not there.
    """
    if not name:
        raise UserError("no teacher: give --teacher CONFIG.py and --teacher-weights FILE")
    model = own_model(name, images.num_classes, images.crop)
    if not weights:
        raise UserError(f"no weights for {name}: give --teacher-weights FILE")
    config = Teacher(model, images.num_classes, images.view(), UNUSED, given=given_file(weights))
    return Arm("the user's teacher", config, stages.teacher, seed=0)


def given_file(path: str) -> File:
    """Weights of the user's; UserError if there is no such file."""
    if not Path(path).is_file():
        raise UserError(f"no weights at {path}")
    return File(sha256_file(path), path)


def changed(
    objective: str,
    logit_weight: float | None,
    feature_weight: float | None,
    temperature: float | None,
) -> Objective:
    """A preset with the user's settings.

    Raises:
        UserError: no such objective, one without distillation, or a setting without a term.
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
    return chosen


def publish_model(made: Path, folder: Path) -> None:
    """Write model.safetensors and, as mmseg's `load_checkpoint` reads it, model.pth."""
    there = all((folder / name).is_file() for name in ("model.safetensors", "model.pth"))
    if there or not made.is_file():  # finished earlier, and its working files may be gone
        return
    atomic_write_bytes(folder / "model.safetensors", made.read_bytes())
    atomic_write_bytes(folder / "model.pth", adapter.checkpoint_bytes(read_weights(made)))
