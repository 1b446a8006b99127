"""`clip-distill corruptions`: zero-shot accuracy on noisy, blurred and weathered images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clip_distill.use.class_names import numbered
from clip_distill.use.corruptions import KINDS, SEVERITIES, corrupt
from clip_distill.use.original_sets import set_of
from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Pixels
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.scored import Model, check_classes, open_models
from clip_distill.use.sources import pictures_of
from clip_distill.use.zero_shot import scores, similarities
from repro_shared.evidence.tables import Cell, Column, Table, csv_text
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text


@dataclass(frozen=True)
class Corrupted:
    """What `encode` does to each picture; noise is the picture's own, the same for all models."""

    kind: str
    severity: int
    ids: tuple[str, ...]

    def __call__(self, pixels: Pixels, index: int) -> Pixels:
        """The picture, uint8 (s, s, 3), with the corruption."""
        return corrupt(pixels, self.kind, self.severity, self.ids[index])


def corruptions(
    data: str,
    *,
    student: str | None = None,
    before: str | None = None,
    teacher: str | None = None,
    texts: str | None = None,
    template: tuple[str, ...] = (),
    classes: str | None = None,
    kinds: tuple[str, ...] = (),
    severities: tuple[int, ...] = SEVERITIES,
    out: str | None = None,
    skip_bad: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Zero-shot accuracy by kind and severity of common corruptions.

    Args:
        data: test images with classes, see `evaluate`.
        student: folder that `distill` wrote; without one the teacher alone is scored.
        before: the student that it started from, to be scored beside it.
        teacher: see `cache`; it is scored, too.
        texts: text vectors instead, see `evaluate`.
        template: prompts, see `evaluate`.
        classes: file of class names, see `evaluate`.
        kinds: gaussian-noise, motion-blur, fog, jpeg, ...; all by default.
        severities: 1 to 5.
        out: CSV file of all numbers.
        skip_bad: leave out what truncated shards have lost.
        device: cpu or cuda.
        workers: decoding processes.
    """
    opened = open_models(student, teacher, device, workers, texts, template, before)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"--kinds {unknown[0]}: unknown; known are {', '.join(KINDS)}")
    fine = bool(severities) and {*severities} <= {*SEVERITIES}
    require(fine, "--severities", "among 1 to 5", severities)
    pictures = pictures_of(data, skip_bad, numbered(classes), labelled=True)
    check_classes(pictures)
    chosen = set_of(data)
    known = opened.texts(pictures, template or ((chosen,) if chosen else ()), classes)
    found = {
        model.name: _accuracies(model, pictures, known, kinds or tuple(KINDS), severities, workers)
        for model in opened.models
    }
    for name, values in found.items():
        print(_table(data, name, values, severities, str(known)).to_terminal())
    if out:
        heads = ("model", "kind", "severity", "top-1 (%)", "images")
        cells = (
            (name, kind, str(severity), f"{value:.4f}", str(len(pictures)))
            for name, values in found.items()
            for (kind, severity), value in values.items()
        )
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(out, csv_text(heads, cells))


def _accuracies(
    model: Model,
    pictures: Pictures,
    known: ClassTexts,
    kinds: tuple[str, ...],
    severities: tuple[int, ...],
    workers: int,
) -> dict[tuple[str, int], float]:
    """Top-1 in percent by kind and severity; that of clean images is ("clean", 0)."""
    found = dict[tuple[str, int], float]()
    for kind, severity in [("clean", 0), *((k, s) for k in kinds for s in severities)]:
        change = Corrupted(kind, severity, tuple(pictures.ids)) if severity else None
        rows = model.encode(pictures, workers, change, f"{model.name}, {kind} {severity or ''}")
        nearest = similarities(rows, known.vectors).argmax(axis=1)
        found[kind, severity] = scores(nearest, pictures.targets, len(known.names)).top1
    return found


def _table(
    data: str,
    name: str,
    values: dict[tuple[str, int], float],
    severities: tuple[int, ...],
    texts: str,
) -> Table:
    clean = values["clean", 0]
    kinds = list(dict.fromkeys(kind for kind, severity in values if severity))
    grid = np.array([[values[kind, severity] for severity in severities] for kind in kinds])
    rows: list[tuple[Cell, ...]] = [
        (kind, *map(float, line), float(line.mean()), float(line.mean()) - clean)
        for kind, line in zip(kinds, grid, strict=True)
    ]
    rows.append(("mean", *map(float, grid.mean(0)), float(grid.mean()), float(grid.mean()) - clean))
    by_severity = (Column(f"severity {s}", "%", 1) for s in severities)
    difference = Column("against clean", "points", 1, signed=True)
    columns = (Column("corruption"), *by_severity, Column("mean", "%", 1), difference)
    kept = f", {grid.mean() / clean:.1%} of it kept under corruptions" if clean else ""
    notes = (
        f"Clean images: {clean:.2f} % top-1{kept}. {texts}.",
        "Parameters of ImageNet-C at 224 pixels; lengths in pixels grow with the image. Frost, "
        "which needs photographs of frost, is left out; nothing is saved as JPEG in between.",
    )
    return Table("corruptions", f"{name} on {data}, corrupted", columns, tuple(rows), notes)
