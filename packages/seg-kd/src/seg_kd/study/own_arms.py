"""The arms that a user fills in: the user's images, models and weights, and how long to train."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic

from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.rng import SEED_LIMIT
from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results
from repro_shared.study.session import Session
from repro_shared.timing.calibrate import calibrate as measure
from repro_shared.timing.calibrate import iterations_for_budget
from seg_kd.method.objectives import OBJECTIVES, Objective
from seg_kd.study import stages
from seg_kd.study.calibration import check_facts, timed_step
from seg_kd.study.stages import File, Student, Teacher
from seg_kd.train import Optimiser
from seg_kd.use.data import LabelMaps, View
from seg_kd.use.models import own_model

UNUSED = Optimiser()  # of a teacher that is not trained here


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
        require(2 <= self.num_classes <= 254, "--num-classes", "2 to 254", self.num_classes)
        require(self.workers >= 0, "--workers", "0 or more", self.workers)
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
        steps, seconds = self.iterations, self.budget_seconds
        require(steps is None or steps >= 1, "--iterations", "at least 1", steps)
        require(seconds is None or 0 < seconds < math.inf, "--budget-seconds", "above 0", seconds)
        require(0 <= self.seed < SEED_LIMIT, "--seed", f"0 to {SEED_LIMIT - 1}", self.seed)


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
