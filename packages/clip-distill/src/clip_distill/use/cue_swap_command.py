"""`clip-distill cue-swap`: do predictions follow the class, or a cue that goes with it?"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from clip_distill.use.class_names import numbered
from clip_distill.use.cues import Cue, Exchange, Masks, choose_donors
from clip_distill.use.original_sets import set_of
from clip_distill.use.pictures import Pictures, check_same_names
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.scored import Model, check_classes, open_models
from clip_distill.use.sources import pictures_of
from clip_distill.use.zero_shot import similarities
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes

SHOWN = 8  # pictures of the sheet


def cue_swap(
    data: str,
    *,
    student: str | None = None,
    before: str | None = None,
    teacher: str | None = None,
    texts: str | None = None,
    template: tuple[str, ...] = (),
    classes: str | None = None,
    cues: tuple[str, ...] = ("border", "colours"),
    donors: str | None = None,
    masks: str | None = None,
    donor_masks: str | None = None,
    share: float = 0.15,
    sheet: str | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Give test images a cue of another class, and count predictions that follow the cue.

    Args:
        data: test images with classes, see `evaluate`.
        student: folder that `distill` wrote; without one the teacher alone is scored.
        before: the student that it started from, to be scored beside it.
        teacher: see `cache`; it is scored, too.
        texts: text vectors instead, see `evaluate`.
        template: prompts, see `evaluate`.
        classes: file of class names, see `evaluate`.
        cues: border, colours, or background, which needs masks.
        donors: images that give the cue, such as the synthetic ones; by default the test images.
        masks: folder of masks of the test images' objects; Oxford Pets has its own.
        donor_masks: the same of the donors; by default those of the test images.
        share: width of the border as a share of the side.
        sheet: PNG file of some pictures before and after.
        seed: of which picture gets whose cue.
        skip_bad: leave out what truncated shards have lost.
        device: cpu or cuda.
        workers: decoding processes.
    """
    opened = open_models(student, teacher, device, workers, texts, template, before)
    if unknown := [cue for cue in cues if cue not in get_args(Cue)]:
        raise UserError(f"--cues {unknown[0]}: give {', '.join(get_args(Cue))}")
    require(0 < share < 0.5, "--share", "above 0 and below 0.5", share)
    require(bool(cues), "--cues", "given", "nothing")
    if masks is not None and "background" not in cues:
        raise UserError("--masks are read for the cue `background`: add it to --cues")
    pictures = pictures_of(data, skip_bad, numbered(classes), labelled=True)
    check_classes(pictures)
    others = pictures
    if donors is not None:
        others = pictures_of(donors, skip_bad, numbered(classes), labelled=True)
        check_classes(others)
        check_same_names(others.classes, pictures.classes, others.where, pictures.where)
    chosen = set_of(data)
    known = opened.texts(pictures, template or ((chosen,) if chosen else ()), classes)
    kept = donor_masks if donors is not None else masks
    pair = (Masks(pictures, masks), Masks(others, kept)) if "background" in cues else None
    swapped, own = choose_donors(pictures, others, seed)
    rows, shown = list[tuple[Cell, ...]](), list[Exchange]()
    for model in opened.models:
        plain = _nearest(model, pictures, known, workers, None)
        for cue in cues:
            change = Exchange(cue, others, swapped, model.preprocessing, share, pair)  # type: ignore[arg-type]
            shown.append(change)
            after = _nearest(model, pictures, known, workers, change)
            control = _nearest(model, pictures, known, workers, replace(change, chosen=own))
            rows.append(_row(model.name, cue, pictures, others, swapped, plain, control, after))
    if sheet:
        _sheet(Path(sheet), pictures, shown[: len(cues)], own)
    print(_table(data, rows, known, donors, len(pictures)).to_terminal())


def _nearest(
    model: Model, pictures: Pictures, known: ClassTexts, workers: int, change: Exchange | None
) -> np.ndarray:
    what = change.cue if change else "unchanged"
    rows = model.encode(pictures, workers, change, f"{model.name}, {what}")
    return similarities(rows, known.vectors).argmax(axis=1)


def _row(
    name: str,
    cue: str,
    pictures: Pictures,
    donors: Pictures,
    swapped: tuple[int, ...],
    plain: np.ndarray,
    control: np.ndarray,
    after: np.ndarray,
) -> tuple[Cell, ...]:
    true = np.asarray(pictures.targets)
    place = [pictures.classes.index(name) for name in donors.classes]
    giver = np.array([place[donors.targets[index]] for index in swapped])

    def percent(hits: np.ndarray) -> float:
        return 100 * float(hits.mean())

    right, kept, left = (percent(each == true) for each in (plain, control, after))
    follows, by_itself = percent(after == giver), percent(plain == giver)
    return (name, cue, right, kept, left, left - kept, follows, by_itself)


def _table(
    data: str, rows: list[tuple[Cell, ...]], known: ClassTexts, donors: str | None, images: int
) -> Table:
    columns = (Column("model"), Column("cue"), Column("unchanged", "%", 1),
               Column("own class's cue", "%", 1), Column("another class's cue", "%", 1),
               Column("cost of the class", "points", 1, signed=True),
               Column("follows the cue", "%", 1), Column("without it", "%", 1))  # fmt: skip
    notes = (
        f"{known}; {images} images, cues from {donors or 'each other'}.",
        "Own and another class's cue: accuracy with the cue of a picture of the same or another "
        "class; their difference is what the cue's class costs. Follows the cue: share of "
        "predictions that name the cue's class; without it: the same before the exchange.",
    )
    return Table("cue-swap", f"Exchanged cues on {data}", columns, tuple(rows), notes)


def _sheet(path: Path, pictures: Pictures, changes: list[Exchange], own: tuple[int, ...]) -> None:
    """A row a picture: as it is, then for each cue another class's and its own class's."""
    places = np.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).round().astype(int)
    lines = list[np.ndarray]()
    for place in places.tolist():
        seen = changes[0].prepared.centre(pictures.read(place))
        line = [seen]
        for change in changes:
            line += [change(seen, place), replace(change, chosen=own)(seen, place)]
        lines.append(np.concatenate(line, axis=1))
    made = io.BytesIO()
    Image.fromarray(np.concatenate(lines)).save(made, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, made.getvalue())
    print(f"written: {path}")
