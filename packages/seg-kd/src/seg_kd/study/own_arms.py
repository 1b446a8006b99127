"""The arms that a user fills in: the user's images, models and weights, and how long to train."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic
import tyro

from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.rng import SEED_LIMIT
from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results
from repro_shared.study.session import Session
from repro_shared.timing.calibrate import calibrate as measure
from repro_shared.timing.calibrate import iterations_for_budget
from seg_kd.method.objectives import Objective
from seg_kd.study import stages
from seg_kd.study.calibration import check_facts, timed_step
from seg_kd.study.configs import File, Student, Teacher
from seg_kd.study.training import Settled
from seg_kd.train import Optimiser
from seg_kd.use import adapter
from seg_kd.use.data import LabelMaps, View
from seg_kd.use.formats import changed as changed_form
from seg_kd.use.formats import find_form
from seg_kd.use.models import own_model
from seg_kd.use.network import Network
from seg_kd.use.palettes import read_palette

HOW_MANY = "how many classes? Give --num-classes N, or --classes with their names"
TEACHER = "the user's teacher"
OneOf = Annotated[str | Network, tyro.conf.arg(constructor=str)]  # a name, or in Python a network
UNUSED = Optimiser()  # of a teacher that is not trained here


@dataclass(frozen=True)
class Images:
    """The user's data and how training views are drawn.

    Attributes:
        data: folder with images/<split> and labels/<split>, or of Cityscapes', ADE20K's, Pascal
            VOC's or mmseg's form.
        num_classes: number of classes; left out, as many as --classes, --palette or the form has.
        classes: their names, or one text file with a name a line.
        ignore: label values that count as unlabelled besides 255.
        map: VALUE=CLASS for label values that are not their class, e.g. 255=1.
        reduce_zero_label: value 0 is unlabelled, and value v is class v - 1.
        palette: for label maps in colours: text file with a line `R G B name` for each value.
        allow_absent_classes: train although a class never occurs in the training labels.
        format: form of the folder: cityscapes, ade20k, voc, mmseg, labels, annotations or masks
            (beside images), split/labels or split/masks; left out, the first that fits.
        image_suffix: what names of images end in, e.g. _rgb or _rgb.png.
        label_suffix: what names of label maps end in; what stands before is the image's name.
        train_split: name of the training split.
        val_split: name of the evaluation split; none: train without scoring.
        crop: training crop, height and width in pixels; left out, the config's, else 512 x 512.
        flip: probability of a horizontal flip; left out, the config's, else 0.5.
        workers: data-loading processes.
        eval_batch_size: images that are scored together; 16, or fewer where they are large.
    """

    data: str = ""
    num_classes: int = 0
    classes: tuple[str, ...] = ()
    ignore: tuple[int, ...] = ()
    map: tuple[str, ...] = ()
    reduce_zero_label: bool = False
    palette: str = ""
    allow_absent_classes: bool = False
    format: str = ""
    image_suffix: str = ""
    label_suffix: str = ""
    train_split: str = "train"
    val_split: str = "val"
    crop: tuple[int, int] | None = None
    flip: float | None = None
    workers: int = 0
    eval_batch_size: int | None = None

    def __post_init__(self) -> None:
        names = self._names()
        if not self.num_classes and self.data:
            count = len(names) or find_form(Path(self.data), self.format).num_classes
            object.__setattr__(self, "num_classes", count)
        if len({*names}) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"class name {twice!r} stands for two classes: give each its own")
        if names and len(names) != self.num_classes and self.data:
            where = "--classes" if self.classes else f"--palette {self.palette}"
            found = f"{len(names)} classes, --num-classes says {self.num_classes}"
            raise UserError(f"{where} names {found}: they must agree")

    def source(self) -> LabelMaps:
        """The data source.

        Raises:
            UserError: no folder, or a value out of its range.
        """
        if not self.data:
            raise UserError("no data: give the folder with --data DIR")
        if not self.num_classes:
            raise UserError(HOW_MANY)
        require(2 <= self.num_classes <= 254, "--num-classes", "2 to 254", self.num_classes)
        require(self.workers >= 0, "--workers", "0 or more", self.workers)
        size = self.eval_batch_size
        require(size is None or size >= 1, "--eval-batch-size", "at least 1", size)
        form = find_form(Path(self.data), self.format)
        mapped = tuple(_value_to_class(text) for text in self.map)
        names = self._names()
        if not names and self.num_classes == form.num_classes:
            names = tuple(adapter.framework().utils.get_classes(form.name))
        return LabelMaps(
            name=Path(self.data).name or "data",
            classes=names or tuple(f"class {index}" for index in range(self.num_classes)),
            ignore_values=(*self.ignore, 255),
            train_split=self.train_split,
            test_split="" if self.val_split == "none" else self.val_split,
            own=True,
            form=changed_form(
                form, self.image_suffix, self.label_suffix, mapped, self.reduce_zero_label
            ),
            palette=read_palette(self.palette)[0] if self.palette else (),
            absent=self.allow_absent_classes,
            batch_size=size,
        )

    def _names(self) -> tuple[str, ...]:
        """Class names that were given, or those of the palette."""
        if len(self.classes) == 1 and Path(self.classes[0]).is_file():
            lines = Path(self.classes[0]).read_text("utf-8", "replace").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
        if self.classes or not self.palette:
            return self.classes
        names = read_palette(self.palette)[1]
        classes = [i for i in range(len(names)) if i not in self.ignore]
        return names[: self.num_classes or len(classes)]


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        iterations: of the complete schedule; or give budget_seconds; left out, the config's.
        budget_seconds: wall-clock budget; turned into iterations by timing this machine first.
        seed: initialisation, order, augmentation, dropout.
    """

    iterations: int | None = None
    budget_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        steps, seconds = self.iterations, self.budget_seconds
        require(steps is None or steps >= 1, "--iterations", "at least 1", steps)
        require(seconds is None or 0 < seconds < math.inf, "--budget-seconds", "above 0", seconds)
        require(0 <= self.seed < SEED_LIMIT, "--seed", f"0 to {SEED_LIMIT - 1}", self.seed)

    def or_config(self, settled: Settled) -> Length:
        """This length, or the config's where none was given; UserError without either."""
        given = (self.iterations, self.budget_seconds)
        if given == (None, None) and settled.iterations is not None:
            return replace(self, iterations=settled.iterations)
        if (self.iterations is None) == (self.budget_seconds is None):
            raise UserError("give either --iterations or --budget-seconds")
        return self


def flags(images: Images, length: Length) -> dict[str, Any]:
    """What of these a config may say as well; see `settle`."""
    return {
        "crop": images.crop,
        "flip": images.flip,
        "iterations": None if length.budget_seconds else length.iterations,
        "budget_seconds": length.budget_seconds,
    }


class Measured(pydantic.BaseModel):
    """What is found, as `prepared.json` keeps it."""

    iterations: pydantic.PositiveInt


@dataclass(frozen=True)
class Affordable:
    """The preparation of a training under a budget: its length, measured once.

    Attributes:
        seconds: the budget.
    """

    seconds: float

    def check(self, facts: dict[str, Any]) -> None:
        """ValueError, with a short reason, for facts that are not this preparation's."""
        check_facts(Measured, facts)

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
    with tempfile.TemporaryDirectory() as folder:
        step = timed_step(session, study.arms[-1], Path(folder))
        return iterations_for_budget(seconds, measure({"step": step}, rounds=15).median("step"))


def _value_to_class(text: str) -> tuple[int, int]:
    value, sign, target = text.partition("=")
    if not (sign and value.isdecimal() and target.isdecimal()):
        raise UserError(f"--map {text}: give VALUE=CLASS, e.g. 255=1")
    return int(value), int(target)


def model_of(
    model: str | Network, num_classes: int, crop: tuple[int, int], trained: bool = False
) -> Any:
    """What a user names or gives as a model, see `own_model`."""
    known = isinstance(model, Network)
    return model if known else own_model(str(model), num_classes, crop, trained)


def own_study(
    images: Images,
    source: LabelMaps,
    settled: Settled,
    model: str | Network,
    weights: str | None,
    objective: Objective,
    teacher: Arm | None,
    iterations: int,
) -> Study:
    """A study of one student, the user's, with the user's teacher where there is one."""
    config = Student(
        model_of(model, images.num_classes, settled.view.crop),
        images.num_classes,
        settled.view,
        settled.optimiser,
        objective,
        iterations=iterations,
        start=given_file(weights) if weights else None,
    )
    starts = (teacher,) if teacher is not None and objective.needs_teacher else ()
    arm = Arm(f"{objective.name} student", config, stages.student, starts_from=starts)
    name = "train" if teacher is None else "distill"
    return Study(name, "cpu", source, (*starts, arm), (0,))


def given_teacher(images: Images, view: View, name: str | Network, weights: str) -> Arm:
    """The user's teacher as an arm.

    Raises:
        UserError: no teacher, no weights, or a file that is not there.
    """
    if not name:
        raise UserError("no teacher: give --teacher CONFIG.py and --teacher-weights FILE")
    model = model_of(name, images.num_classes, view.crop, trained=True)
    if not weights:
        raise UserError(f"no weights for {name}: give --teacher-weights FILE")
    config = Teacher(model, images.num_classes, view, UNUSED, given=given_file(weights))
    return Arm(TEACHER, config, stages.teacher, seed=0)


def given_file(path: str) -> File:
    """Weights of the user's; UserError if there is no such file."""
    if not Path(path).is_file():
        raise UserError(f"no weights at {path}")
    return File(sha256_file(path), path)
