"""What the runs of a comparison are of: teachers, students, kept outputs; all that decides them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from repro_shared.evidence.hashing import UNRECORDED
from seg_kd.method.objectives import Objective
from seg_kd.train import Optimiser
from seg_kd.use.data import View
from seg_kd.use.models import Model, OwnModel

Match = Literal["time", "iterations"]
Role = Literal["compared", "warm start", "length", "try", "cold start"]


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
