"""`clip-distill probe`: what a linear classifier can read off frozen features, on the CPU."""

from __future__ import annotations

from typing import Literal

import numpy as np

from clip_distill.use.class_names import numbered
from clip_distill.use.pictures import Pictures, check_same_names
from clip_distill.use.probe import Ints, few_shot, full_probe, hidden, prepared
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.scored import Scored, check_classes, open_models
from clip_distill.use.sources import pictures_of
from clip_distill.use.teachers import Floats
from clip_distill.use.zero_shot import scores, similarities
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import check_seeds, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress


def probe(
    data: str,
    test: str,
    *,
    student: str | None = None,
    before: str | None = None,
    teacher: str | None = None,
    texts: str | None = None,
    template: tuple[str, ...] = (),
    classes: str | None = None,
    shots: tuple[int, ...] = (1, 2, 4, 8, 16),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    full: bool = True,
    held_out: float = 0.2,
    skip_bad: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Linear and few-shot probes of frozen features, beside zero-shot accuracy.

    The penalty is chosen on held-out training images; test images are looked at once.

    Args:
        data: training images with classes, see `evaluate`.
        test: test images of the same classes.
        student: folder that `distill` wrote.
        before: the student that it started from, to be scored beside it.
        teacher: see `cache`; it is scored, too.
        texts: text vectors for the zero-shot column instead of the student's own.
        template: prompts of the zero-shot column, see `evaluate`.
        classes: file of class names, see `evaluate`.
        shots: images a class.
        seeds: of which images are drawn; two or more give an interval.
        full: fit to all training images, too.
        held_out: share of the training images that the penalty is chosen on.
        skip_bad: leave out what truncated shards have lost.
        device: of the encoders; the probes run on the CPU.
        workers: decoding processes.
    """
    opened = open_models(student, teacher, device, workers, texts, template, before)
    check_seeds(seeds)
    require(min(shots, default=1) >= 1, "--shots", "1 or more", shots)
    require(0 < held_out < 1, "--held-out", "between 0 and 1", held_out)
    require(bool(shots) or full, "--shots", "given, or the full probe taken", "nothing")
    train, tests = (pictures_of(d, skip_bad, numbered(classes), True) for d in (data, test))
    check_classes(train)
    check_classes(tests)
    check_same_names(train.classes, tests.classes, train.where, tests.where)
    known = _texts(opened, tests, template, classes)
    order = [tests.classes.index(name) for name in train.classes]
    targets = np.array([order[target] for target in train.targets], np.int64)
    _check_counts(train, shots)
    columns = [Column("model"), Column("zero-shot", "%", 2)]
    columns += [Column(f"{k} shot{'s' * (k > 1)}", "%", 2) for k in shots]
    columns += [Column("all", "%", 2)] * full + [Column("penalty")] * full
    rows, notes, summary = list[tuple[Cell, ...]](), list[str](), dict[str, tuple[float, float]]()
    for model in opened.models:
        features = model.encode(train, workers, label=f"training images, {model.name}")
        others = model.encode(tests, workers, label=f"test images, {model.name}")
        zero = None
        if known is not None:
            nearest = similarities(others, known.vectors).argmax(axis=1)
            zero = scores(nearest, tests.targets, len(tests.classes)).top1
        cells, failed, last = _probes(
            prepared(features), targets, prepared(others), tests, shots, seeds,
            held_out if full else None, model.name,
        )  # fmt: skip
        rows.append((model.name, zero, *cells))
        if zero is not None:
            summary[model.name] = (zero, last)
        if failed:
            notes.append(f"{model.name}: {failed} fits reached their step limit.")
    notes += _notes(known, seeds, train, full, held_out, summary)
    table = Table("probe", f"Probes on {data}, scored on {test}", tuple(columns), tuple(rows),
                  tuple(notes))  # fmt: skip
    print(table.to_terminal())


def _probes(
    train: Floats,
    targets: Ints,
    test: Floats,
    tests: Pictures,
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    held_out: float | None,
    name: str,
) -> tuple[list[Cell], int, float]:
    """Cells of a row, how many fits did not come to their end, and the last probe's accuracy."""
    true, cells, failed, last = np.asarray(tests.targets), list[Cell](), 0, float("nan")
    with Progress(len(shots) * len(seeds) + (held_out is not None), f"probes, {name}") as progress:
        done = 0
        for k in shots:
            values = list[float]()
            for seed in seeds:
                made = few_shot(train, targets, test, k, seed)
                values.append(100 * float((made.predicted == true).mean()))
                failed += not made.converged
                done += 1
                progress.update(done)
            cells.append(interval(values))
            last = float(np.mean(values))
        if held_out is not None:
            made = full_probe(train, targets, test, held_out)
            last = 100 * float((made.predicted == true).mean())
            failed += not made.converged
            progress.update(done + 1)
            cells += [last, f"1e{made.decade:g}"]
    return cells, failed, last


def _texts(
    opened: Scored, tests: Pictures, template: tuple[str, ...], classes: str | None
) -> ClassTexts | None:
    """Of the zero-shot column; None for a student that keeps none of these classes."""
    if opened.teacher is not None:
        return opened.texts(tests, template, classes)
    try:
        return opened.texts(tests, template, classes)
    except UserError as error:
        if "no text vectors" in str(error):
            return None
        raise


def _check_counts(train: Pictures, shots: tuple[int, ...]) -> None:
    """UserError, with its name, for a class with fewer training images than are to be drawn."""
    counts = np.bincount(np.asarray(train.targets, np.int64), minlength=len(train.classes))
    most = max(shots, default=1)
    if counts.min() < most:
        name = train.classes[int(counts.argmin())]
        raise UserError(
            f"--shots {most}: class {name!r} of {train.where} has {int(counts.min())} images"
        )


def _notes(
    known: ClassTexts | None,
    seeds: tuple[int, ...],
    train: Pictures,
    full: bool,
    held_out: float,
    summary: dict[str, tuple[float, float]],
) -> list[str]:
    texts = "no text vectors of these classes" if known is None else str(known)
    notes = [
        f"Zero-shot: {texts}. Few-shot: mean and 95 % t interval over {len(seeds)} draws; penalty "
        "by folds of the drawn images, 1 for one image a class."
    ]
    if full:
        notes.append(
            f"All: {len(train)} training images, the penalty chosen on {held_out:.0%} of them."
        )
    if "student" in summary and "teacher" in summary:
        zero, probed = zip(summary["student"], summary["teacher"], strict=True)
        if (share := hidden(zero, probed)) is not None:
            notes.append(
                f"The probe hides {min(share, 1):.0%} of the student's zero-shot gap to its "
                f"teacher ({zero[1] - zero[0]:.1f} points): its features hold the classes, their "
                "names do not reach them. Judge it by zero-shot."
            )
    return notes
