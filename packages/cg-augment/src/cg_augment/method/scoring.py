"""Both classifiers' confidences in images, and the objective of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cg_augment.method.objectives import Objective, confidence
from cg_augment.method.views import Views
from repro_shared.runtime.errors import UserError

Logits = Callable[[Tensor], Tensor]


class Scored(NamedTuple):
    """Of each image (n,): the objective, and both confidences in the label, 0 to 1.

    A classifier that is not there has NaN.
    """

    value: Tensor
    teacher: Tensor
    student: Tensor

    def of(self, chosen: Tensor) -> Scored:
        """Of some images."""
        return Scored(*(each[chosen] for each in self))

    def put(self, rows: Tensor, found: Scored) -> None:
        """Write those of some images."""
        for mine, new in zip(self, found, strict=True):
            mine[rows] = new.detach().to(mine)

    @classmethod
    def nothing(cls, count: int) -> Scored:
        """Of images that are not there yet: NaN."""
        return cls(*(torch.full((count,), torch.nan, dtype=torch.float64) for _ in range(3)))


@dataclass(frozen=True)
class Score:
    """Images to the objective, differentiable.

    Attributes:
        labels: int64 (n,), of all images.
        teacher, student: images (n, 3, h, w), about 0 to 1, to logits (n, classes); each resizes
            and normalises for itself. One that the objective does not ask for may be None.
        objective: of both confidences.
    """

    labels: Tensor
    teacher: Logits | None
    student: Logits | None
    objective: Objective

    def __post_init__(self) -> None:
        parts, one, other = self.objective.parts, self.teacher, self.student
        if (one is None and parts != "student") or (other is None and parts != "teacher"):
            missing = "teacher" if one is None else "student"
            raise UserError(
                f"the objective needs a {missing}: give one, or ask for the other part alone"
            )
        mine, theirs = (tuple(getattr(each, "classes", ())) for each in (one, other))
        if mine and theirs and mine != theirs:
            named = " and ".join(
                f"{', '.join(map(str, names[:4]))} ({len(names)})" for names in (mine, theirs)
            )
            raise UserError(f"teacher and student have different classes: {named}")

    def __call__(self, images: Tensor, rows: Tensor) -> Scored:
        """Of images whose places among all are `rows`."""
        labels = self.labels[rows.to(self.labels.device)].to(images.device)
        found = [None if each is None else each(images) for each in (self.teacher, self.student)]
        if found[0] is not None and found[1] is not None and found[0].shape != found[1].shape:
            raise UserError(
                f"teacher and student have different classes: {found[0].shape[1]} and "
                f"{found[1].shape[1]} of them"
            )
        teacher, student = (None if each is None else confidence(each, labels) for each in found)
        value = self.objective(teacher, student)
        unknown = torch.full_like(value, torch.nan)
        return Scored(
            value,
            unknown if teacher is None else teacher.label.exp(),
            unknown if student is None else student.label.exp(),
        )

    def viewed(
        self, images: Tensor, rows: Tensor, views: Views, seeds: tuple[int, ...], place: int
    ) -> Tensor:
        """The objective (n,), its mean over views of each image."""
        if not views:
            return self(images, rows).value
        values = [
            self(views.of(images, rows, seeds, place, number), rows).value
            for number in range(views.count)
        ]
        return torch.stack(values).mean(dim=0)
