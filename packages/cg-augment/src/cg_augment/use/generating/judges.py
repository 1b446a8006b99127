"""Who guides: a teacher and a student with the same classes in the same order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cg_augment.use.classifiers import Classifier, load_classifier
from cg_augment.use.generating.items import read_names
from cg_augment.use.teachers import load_teacher
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Judges:
    """Both classifiers, either None, and the classes that they share."""

    student: Classifier | None
    teacher: Classifier | None
    classes: tuple[str, ...]


def judges_of(
    student: str | None,
    teacher: str | None,
    classes: tuple[str, ...],
    template: tuple[str, ...],
    teacher_classes: str | None,
    device: str,
) -> Judges:
    """Both classifiers, with the student's classes or those that are given.

    Raises:
        UserError: no classes, other ones, or a classifier that cannot be loaded.
    """
    own = None
    if student is not None:
        own = load_classifier(student)[0].to(device).frozen()
        if classes and classes != own.classes:
            raise UserError(
                f"classes differ: --classes has {', '.join(classes[:4])}, the student "
                f"{', '.join(own.classes[:4])}; leave --classes out"
            )
        classes = own.classes
    if not classes and teacher is not None and Path(teacher).is_dir():
        classes = load_classifier(teacher)[0].classes
    if not classes:
        raise UserError("no classes: give --student, or --classes with their names in order")
    named = read_names(teacher_classes, "--teacher-classes")
    taught = None if teacher is None else load_teacher(teacher, classes, template, named, device)
    return Judges(own, taught, classes)
