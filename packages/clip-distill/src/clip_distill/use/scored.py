"""What the verbs that score have in common: the models, and the text vectors of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from clip_distill.use.class_names import FOLDERS, names_of
from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.prompts import (
    ClassTexts,
    check_template,
    chosen_texts,
    class_texts,
    templates_of,
)
from clip_distill.use.sources import texts_of
from clip_distill.use.students import check_taught_by, load_student
from clip_distill.use.teachers import Floats, Teacher, load_teacher
from clip_distill.use.zero_shot import Change, encode
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Model:
    """An image encoder that is scored.

    Attributes:
        name: in tables.
        network: images (b, 3, s, s), normalised, to features (b, width).
        preprocessing: how it takes pictures.
        about: what `student.json` says of a student.
    """

    name: str
    network: nn.Module
    preprocessing: Preprocessing
    about: Mapping[str, Any] = field(default_factory=dict)

    def encode(
        self, pictures: Pictures, workers: int, change: Change | None = None, label: str = ""
    ) -> Floats:
        """Features (n, width)."""
        label = label or f"images encoded, {self.name}"
        return encode(
            self.network, pictures, self.preprocessing, workers=workers, change=change, label=label
        )


@dataclass(frozen=True)
class Scored:
    """Models of one space.

    Attributes:
        models: students first, the teacher last.
        teacher: whose text encoder knows any class names; None where none was given.
        kept: folder or file of text vectors, where there is no teacher.
    """

    models: tuple[Model, ...]
    teacher: Teacher | None
    kept: str | None

    def texts(
        self, pictures: Pictures, template: Sequence[str] = (), file: str | None = None
    ) -> ClassTexts:
        """Text vectors in the order of the pictures' classes.

        Raises:
            UserError: no vectors of a class, or of another teacher than a student's.
        """
        source = str(getattr(pictures, "names_from", FOLDERS))
        names, source = names_of(pictures.classes, file, pictures.where, source)
        if self.teacher is not None:
            known = class_texts(self.teacher, names, templates_of(template), source)
        else:
            assert self.kept is not None
            known = chosen_texts(texts_of(self.kept), names, self.kept)
        for model in self.models:
            check_taught_by(model.about, known.teacher)
        return known


def open_models(
    student: str | None,
    teacher: str | None,
    device: str,
    workers: int,
    texts: str | None = None,
    template: Sequence[str] = (),
    before: str | None = None,
) -> Scored:
    """The models that a command names.

    Raises:
        UserError: none, flags that would be without effect, or students of other spaces.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    if student is None and teacher is None:
        raise UserError("nothing to evaluate: give a student's folder, --teacher, or both")
    if before is not None and student is None:
        raise UserError("--before is compared with --student: give both")
    check_template(template, teacher)
    if teacher is not None and texts is not None:
        raise UserError("--texts and --teacher, whose text encoder knows any name: give one")
    models = list[Model]()
    for name, folder in (("student", student), ("student before", before)):
        if folder is not None:
            network, about = load_student(folder)
            models.append(Model(name, network.to(device), network.config.preprocessing, about))
    if len({model.about["width"] for model in models}) > 1:
        raise UserError(f"{before} and {student} have spaces of other widths")
    frozen = load_teacher(teacher, device) if teacher else None
    if frozen is not None:
        models.append(Model("teacher", _Images(frozen), frozen.preprocessing))
    return Scored(tuple(models), frozen, texts or student)


def check_classes(pictures: Pictures) -> None:
    """UserError for pictures without classes."""
    if not pictures.classes or not len(pictures.targets):
        raise UserError(f"{pictures.where}: evaluation needs class folders, or .cls and --classes")


class _Images(nn.Module):
    """A teacher's image encoder, called as a student is."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.network, self._encode = teacher.network, teacher.encode

    def forward(self, images: Tensor) -> Tensor:
        return self._encode(images)
