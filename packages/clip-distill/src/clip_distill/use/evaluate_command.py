"""`clip-distill evaluate`: zero-shot accuracy of a student or a teacher on class folders."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Literal

from torch import Tensor, nn

from clip_distill.use.class_names import names_of, numbered
from clip_distill.use.pictures import Pictures
from clip_distill.use.prompts import (
    ClassTexts,
    check_template,
    chosen_texts,
    class_texts,
    templates_of,
)
from clip_distill.use.sources import pictures_of, texts_of
from clip_distill.use.students import check_taught_by, load_student
from clip_distill.use.teachers import Floats, Teacher, load_teacher
from clip_distill.use.zero_shot import Scores, agreement, encode, scores, similarities
from repro_shared.evidence.cells import read_cells
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError

SETS = {
    "pets": "Oxford Pets",
    "flowers": "Flowers-102",
    "cars": "Stanford Cars",
    "food": "Food-101",
    "aircraft": "FGVC Aircraft",
    "textures": "DTD",
}
"""The paper's data sets by the names of their templates."""
SetName = Literal["pets", "flowers", "cars", "food", "aircraft", "textures"]


def evaluate(
    data: str,
    *,
    student: str | None = None,
    teacher: str | None = None,
    texts: str | None = None,
    template: tuple[str, ...] = (),
    classes: str | None = None,
    set: SetName | None = None,
    per_class: bool = False,
    skip_bad: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Zero-shot accuracy, top-1 and mean per class, beside the teacher's and the reported ones.

    Args:
        data: class folders of test images, or shards with `.cls`, whose numbers count --classes.
        student: folder that `distill` wrote; without one the teacher alone is scored.
        teacher: see `cache`; its text encoder knows any class names, and it is scored, too.
        texts: text vectors instead: a cache, a student's folder, or a .npz.
        template: prompts, several are averaged: photo, pets, ..., a text with {}, or @FILE.
        classes: file of class names: a line each, or folder, tab and name.
        set: one of the paper's data sets: its template, and the paper's numbers beside.
        per_class: list the classes, too.
        skip_bad: leave out what truncated shards have lost.
        device: cpu or cuda.
        workers: decoding processes.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    if student is None and teacher is None:
        raise UserError("nothing to evaluate: give a student's folder, --teacher, or both")
    check_template(template, teacher)
    if teacher is not None and texts is not None:
        raise UserError("--texts and --teacher, whose text encoder knows any name: give one")
    pictures = pictures_of(data, skip_bad, numbered(classes), labelled=True)
    if not pictures.classes:
        raise UserError(f"{data}: evaluation needs class folders, or .cls and --classes")
    frozen = load_teacher(teacher, device) if teacher else None
    known = _texts(pictures, frozen, texts or student, template or ((set,) if set else ()), classes)
    found, rows_of = dict[str, Scores](), dict[str, Floats]()
    if student is not None:
        model, about = load_student(student)
        check_taught_by(about, known.teacher)
        prepared = model.config.preprocessing
        rows_of["student"] = encode(model.to(device), pictures, prepared, workers=workers)
    if frozen is not None:
        prepared = frozen.preprocessing
        rows_of["teacher"] = encode(_Images(frozen), pictures, prepared, workers=workers)
    for name, features in rows_of.items():
        found[name] = _score(features, known, pictures)
    rows: list[tuple[Cell, ...]] = [
        (name, each.top1, each.mean_per_class, len(pictures)) for name, each in found.items()
    ]
    if set is not None:
        rows += reported(SETS[set])
    columns = (Column("model"), Column("top-1", "%", 2), Column("mean per class", "%", 2),
               Column("images"))  # fmt: skip
    notes = [f"{known}.", *_empty(pictures, next(iter(found.values())))]
    if len(found) == 2:
        cosine = agreement(rows_of["student"], rows_of["teacher"])
        notes.append(f"Cosine of student and teacher on these images: {cosine:.3f}.")
        if kept := found["teacher"].top1:
            notes.append(f"Share of the teacher's top-1 kept: {found['student'].top1 / kept:.1%}.")
    if set is not None:
        notes.append("Reported: one prompt a class; read off the authors' teaser, see `cite`.")
    print(Table("zero-shot", f"Zero-shot on {data}", columns, tuple(rows), tuple(notes))
          .to_terminal())  # fmt: skip
    if per_class:
        listed = tuple(
            (name, *(each.recalls[place] for each in found.values()), int(count))
            for place, (name, count) in enumerate(
                zip(known.names, next(iter(found.values())).images, strict=True)
            )
        )
        heads = (Column("class"), *(Column(name, "%", 1) for name in found), Column("images"))
        print(Table("classes", "Right by class", heads, listed).to_terminal())


def reported(dataset: str) -> list[tuple[Cell, ...]]:
    """The paper's pair for a data set, as rows."""
    with as_file(files("clip_distill") / "tables" / "reported.csv") as path:
        cells = read_cells(path)
    return [
        (f"reported: {cell.row}", cell.value, None, None)
        for cell in cells
        if cell.dataset == dataset
    ]


def _texts(
    pictures: Pictures,
    teacher: Teacher | None,
    kept: str | None,
    template: tuple[str, ...],
    file: str | None,
) -> ClassTexts:
    """Text vectors in the order of the pictures' classes."""
    names, source = names_of(pictures.classes, file, pictures.where)
    if teacher is not None:
        return class_texts(teacher, names, templates_of(template), source)
    assert kept is not None
    return chosen_texts(texts_of(kept), names, kept)


def _score(features: Floats, known: ClassTexts, pictures: Pictures) -> Scores:
    predicted = similarities(features, known.vectors).argmax(axis=1)
    return scores(predicted, pictures.targets, len(known.names))


def _empty(pictures: Pictures, found: Scores) -> list[str]:
    missing = [pictures.classes[i] for i, count in enumerate(found.images) if not count]
    if not missing:
        return []
    return [f"{len(missing)} classes without images, such as {missing[0]!r}, are in no mean."]


class _Images(nn.Module):
    """A teacher's image encoder, called as a student is."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.network, self._encode = teacher.network, teacher.encode

    def forward(self, images: Tensor) -> Tensor:
        return self._encode(images)
