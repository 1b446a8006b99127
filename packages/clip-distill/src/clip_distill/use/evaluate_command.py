"""`clip-distill evaluate`: zero-shot accuracy of a student or a teacher on classified images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Literal

import numpy as np

from clip_distill.use.class_names import numbered
from clip_distill.use.original_sets import LAYOUTS, SetName, set_of
from clip_distill.use.pictures import Pictures, check_same_names
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.scored import Model, Scored, check_classes, open_models
from clip_distill.use.seen import by_seen, had_captions, seen_names
from clip_distill.use.sources import pictures_of
from clip_distill.use.teachers import Floats
from clip_distill.use.zero_shot import Scores, agreement, scores, similarities
from repro_shared.evidence.cells import read_cells
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.progress import say


@dataclass(frozen=True)
class Result:
    """A model on a set of images.

    Attributes:
        model: which.
        images: "real", "synthetic", or "" where there is one set.
        cosines: (n, classes).
        scores: of the nearest classes.
        cosine: mean cosine with the teacher's features; None without one, or of the teacher.
        targets: (n,) true classes.
    """

    model: Model
    images: str
    cosines: Floats
    scores: Scores
    cosine: float | None
    targets: tuple[int, ...]


def evaluate(
    data: str,
    *,
    student: str | None = None,
    before: str | None = None,
    teacher: str | None = None,
    texts: str | None = None,
    template: tuple[str, ...] = (),
    classes: str | None = None,
    set: SetName | None = None,
    synthetic: str | None = None,
    per_class: bool = False,
    skip_bad: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Zero-shot accuracy, top-1 and mean per class, beside the teacher's and the reported ones.

    Args:
        data: test images: class folders, shards with `.cls`, whose numbers count --classes, or a
            set of the paper as its authors hand it out: pets:ROOT, flowers:ROOT, ...
        student: folder that `distill` wrote; without one the teacher alone is scored.
        before: the student that it started from, such as of stage 1, to be scored beside it.
        teacher: see `cache`; its text encoder knows any class names, and it is scored, too.
        texts: text vectors instead: a cache, a student's folder, or a .npz.
        template: prompts, several are averaged: photo, pets, ..., a text with {}, or @FILE.
        classes: file of class names: a line each, or folder, tab and name.
        set: one of the paper's data sets: its template, and the paper's numbers beside.
        synthetic: synthetic images of the same classes, to be scored beside the real ones.
        per_class: list the classes, too.
        skip_bad: leave out what truncated shards have lost.
        device: cpu or cuda.
        workers: decoding processes.
    """
    opened = open_models(student, teacher, device, workers, texts, template, before)
    pictures = pictures_of(data, skip_bad, numbered(classes), labelled=True)
    check_classes(pictures)
    sets = {"": pictures}
    if synthetic is not None:
        other = pictures_of(synthetic, skip_bad, numbered(classes), labelled=True)
        check_classes(other)
        check_same_names(other.classes, pictures.classes, other.where, pictures.where)
        sets = {"real": pictures, "synthetic": other}
    chosen = set or set_of(data)
    known = opened.texts(pictures, template or ((chosen,) if chosen else ()), classes)
    results = _results(opened, sets, known, workers)
    print(_summary(data, results, known, pictures, chosen).to_terminal())
    if (table := unseen_table(results, known)) is not None:
        print(table.to_terminal())
    if per_class:
        print(_by_class(results, known).to_terminal())


def _results(
    opened: Scored, sets: Mapping[str, Pictures], known: ClassTexts, workers: int
) -> list[Result]:
    found = list[Result]()
    for name, pictures in sets.items():
        first = next(iter(sets.values())).classes  # whose order the texts have
        targets = tuple(first.index(pictures.classes[target]) for target in pictures.targets)
        rows = {m.name: m.encode(pictures, workers) for m in opened.models}
        for model in opened.models:
            cosines = similarities(rows[model.name], known.vectors)
            cosine = None
            if model.name != "teacher" and "teacher" in rows:
                cosine = agreement(rows[model.name], rows["teacher"])
            reached = scores(cosines.argmax(axis=1), targets, len(known.names))
            found.append(Result(model, name, cosines, reached, cosine, targets))
    return found


def _summary(
    data: str,
    results: list[Result],
    known: ClassTexts,
    pictures: Pictures,
    chosen: SetName | None,
) -> Table:
    """All models and sets, and the reported numbers."""
    sets = results[0].images != ""
    columns = [Column("model"), *[Column("images of")] * sets, Column("top-1", "%", 2),
               Column("mean per class", "%", 2), Column("images")]  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (r.model.name, *[r.images] * sets, r.scores.top1, r.scores.mean_per_class, len(r.targets))
        for r in results
    ]
    notes = [f"{known}.", *_empty(pictures, results[0].scores)]
    notes += [
        f"Cosine of {r.model.name} and teacher on {r.images or 'these'} images: {r.cosine:.3f}."
        for r in results
        if r.cosine is not None
    ]
    real = {r.model.name: r.scores.top1 for r in results if r.images != "synthetic"}
    if real.get("teacher") and "student" in real:
        share = real["student"] / real["teacher"]
        notes.append(f"Share of the teacher's top-1 kept: {share:.1%}.")
    for result in results:
        if result.images == "synthetic":
            gap = result.scores.top1 - real[result.model.name]
            notes.append(f"Synthetic minus real, {result.model.name}: {gap:+.2f} points of top-1.")
    if chosen is not None and not data.partition(":")[0].endswith("-train"):
        rows += reported(LAYOUTS[chosen].title, [None] * sets)
        notes.append("Reported: one prompt a class; read off the authors' teaser, see `cite`.")
    return Table("zero-shot", f"Zero-shot on {data}", tuple(columns), tuple(rows), tuple(notes))


def unseen_table(results: list[Result], known: ClassTexts) -> Table | None:
    """Seen and unseen class names apart; None if the student is not known to lack any."""
    students = [r.model for r in results if r.model.name == "student"]
    if students and had_captions(students[0].about):
        say("the student learned from captions: which class names it has never seen is not known")
    seen = seen_names(students[0].about) if students else None
    new = np.array([seen is not None and name not in seen for name in known.names])
    if not new.any():
        return None
    rows = list[tuple[Cell, ...]]()
    for result in results:
        if result.images != "synthetic":
            each = by_seen(result.cosines, result.targets, new)
            rows.append((result.model.name, each.seen, each.unseen, each.harmonic, each.among,
                         *each.images))  # fmt: skip
    columns = (Column("model"), Column("seen classes", "%", 2), Column("unseen classes", "%", 2),
               Column("harmonic mean", "%", 2), Column("unseen, among themselves", "%", 2),
               Column("seen images"), Column("unseen images"))  # fmt: skip
    notes = (
        f"The student was trained with the names of {int((~new).sum())} of these classes; it has "
        f"never seen those of {int(new.sum())}, such as {known.names[int(new.argmax())]!r}.",
        "Seen and unseen: all names are offered; among themselves: unseen names alone.",
    )
    return Table("unseen-classes", "Classes with and without images in training", columns,
                 tuple(rows), notes)  # fmt: skip


def reported(dataset: str, before: Sequence[Cell] = ()) -> list[tuple[Cell, ...]]:
    """The paper's pair for a data set, as rows; some cells may stand before the numbers."""
    with as_file(files("clip_distill") / "tables" / "reported.csv") as path:
        cells = read_cells(path)
    return [
        (f"reported: {cell.row}", *before, cell.value, None, None)
        for cell in cells
        if cell.dataset == dataset
    ]


def _by_class(results: list[Result], known: ClassTexts) -> Table:
    heads = [Column("class")]
    heads += [Column(f"{r.model.name}{r.images and f', {r.images}'}", "%", 1) for r in results]
    rows = tuple(
        (name, *(r.scores.recalls[place] for r in results), int(results[0].scores.images[place]))
        for place, name in enumerate(known.names)
    )
    return Table("classes", "Right by class", (*heads, Column("images")), rows)


def _empty(pictures: Pictures, found: Scores) -> list[str]:
    missing = [pictures.classes[i] for i, count in enumerate(found.images) if not count]
    if not missing:
        return []
    return [f"{len(missing)} classes without images, such as {missing[0]!r}, are in no mean."]
