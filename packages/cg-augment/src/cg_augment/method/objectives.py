"""What guidance maximises: the teacher is sure of the class, the student is not.

`t` is the teacher's softmax confidence in the label, `f` the student's. All forms are computed from
logits in the logarithm, so that none loses its digits where a confidence is close to 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from repro_shared.runtime.errors import UserError

Form = Literal["pow", "log", "difference"]
Parts = Literal["both", "teacher", "student"]


class Confidence(NamedTuple):
    """Logarithms of the confidence in the label and of all other classes together, each (n,)."""

    label: Tensor
    others: Tensor


def confidence(logits: Tensor, labels: Tensor) -> Confidence:
    """log p(label) and log(1 - p(label)) of logits (n, classes), labels int64 (n,).

    Raises:
        UserError: one class only, or a label that is none of the classes.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise UserError("a classifier of one class is always sure of it: two classes are needed")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UserError(f"labels reach from {int(labels.min())} to {int(labels.max())}, but the "
                        f"classifier has {classes} classes: 0 to {classes - 1}")  # fmt: skip
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
    whole = logits.logsumexp(dim=1)
    others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    return Confidence(logits.gather(1, labels[:, None])[:, 0] - whole, others - whole)


def power(teacher: Confidence | None, student: Confidence | None, gamma: float) -> Tensor:
    """J = t^gamma + (1 - f)^gamma (arXiv 2506.02294, the objective, second-hand), 0 to 2.

    Its gradient has the factor f (1 - f)^gamma with respect to the student's logits: it vanishes
    where the student is sure, which is where a biased student is.
    """
    return _sum(
        None if teacher is None else (gamma * teacher.label).exp(),
        None if student is None else (gamma * student.others).exp(),
    )


def logarithm(teacher: Confidence | None, student: Confidence | None) -> Tensor:
    """log t + log(1 - f) (ours), at most 0: its gradient has the factors 1 - t and f.

    DiG-IN's log t - log f (arXiv 2311.17833) has 1 - f in the place of f, and vanishes with it.
    """
    return _sum(
        None if teacher is None else teacher.label, None if student is None else student.others
    )


def difference(teacher: Confidence | None, student: Confidence | None) -> Tensor:
    """t - f, -1 to 1 (`conf` of DiG-IN, arXiv 2311.17833)."""
    return _sum(
        None if teacher is None else teacher.label.exp(),
        None if student is None else -student.label.exp(),
    )


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor:
    if one is None or other is None:
        found = one if other is None else other
        assert found is not None
        return found
    return one + other


@dataclass(frozen=True)
class Objective:
    """Which form, and of whose confidences.

    Attributes:
        form: `pow` is the paper's.
        gamma: exponent of `pow`; 2 is called best (second-hand).
        parts: of both, of the teacher alone (an image of the class) or of the student alone (an
            image that it gets wrong, of the class or not).
    """

    form: Form = "pow"
    gamma: float = 2.0
    parts: Parts = "both"

    def __post_init__(self) -> None:
        if self.form not in ("pow", "log", "difference") or not self.gamma > 0:
            raise UserError(f"unknown objective: form {self.form!r}, gamma {self.gamma}")
        if self.parts not in ("both", "teacher", "student"):
            raise UserError(f"unknown parts of the objective: {self.parts!r}")

    @property
    def vanishes(self) -> bool:
        """Whether the gradient vanishes where the student is sure: then it has to be normalised."""
        return self.form != "log"

    @property
    def equation(self) -> Callable[..., Tensor]:
        """The form's function."""
        if self.form == "pow":
            return power
        return logarithm if self.form == "log" else difference

    def __call__(self, teacher: Confidence | None, student: Confidence | None) -> Tensor:
        """The value for each image (n,); a part that is not asked for may be None."""
        teacher = None if self.parts == "student" else teacher
        student = None if self.parts == "teacher" else student
        more = (self.gamma,) if self.form == "pow" else ()
        return self.equation(teacher, student, *more)
