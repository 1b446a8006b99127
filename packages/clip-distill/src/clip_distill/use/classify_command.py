"""`clip-distill classify`: name the pictures of a folder with a student."""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from clip_distill.use.cost import card_line, cost_card
from clip_distill.use.pictures import Folder
from clip_distill.use.prompts import (
    ClassTexts,
    check_template,
    chosen_texts,
    class_texts,
    read_names,
    templates_of,
)
from clip_distill.use.sources import texts_of
from clip_distill.use.students import check_taught_by, load_student, ratios
from clip_distill.use.teachers import Floats, load_teacher
from clip_distill.use.zero_shot import encode, similarities
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_text
from repro_shared.runtime.images import read_rgb
from repro_shared.runtime.progress import say

SCALE = 100.0  # of cosines, for probabilities
TILE, COLUMNS, MOST = 128, 6, 120  # of the contact sheet


def classify(
    folder: str,
    *,
    student: str = "",
    classes: str | None = None,
    teacher: str | None = None,
    template: tuple[str, ...] = (),
    out: str | None = None,
    sheet: str | None = None,
    top: int = 3,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Name the pictures of a folder: a CSV with the best classes, and a contact sheet.

    Args:
        folder: pictures, at any depth.
        student: folder that `distill` wrote.
        classes: file of class names, one a line; without it those kept with the student.
        teacher: see `cache`; needed for names that are not kept with the student.
        template: prompts: photo, pets, ..., a text with {}, or @FILE.
        out: CSV file; by default it is printed.
        sheet: PNG file of the pictures with their names.
        top: classes listed of each picture.
        device: cpu or cuda.
        workers: decoding processes.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    require(bool(student), "--student", "a folder that `distill` wrote", "nothing")
    require(top >= 1, "--top", "at least 1", top)
    check_template(template, teacher)
    model, about = load_student(student)
    texts = _texts(student, classes, teacher, template, device)
    check_taught_by(about, texts.teacher)
    pictures = Folder(folder, classes=False)
    began = time.perf_counter()
    features = encode(model.to(device), pictures, model.config.preprocessing, workers=workers)
    rate = len(pictures) / (time.perf_counter() - began)
    cosines = similarities(features, texts.vectors)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    logits = SCALE * (cosines - cosines.max(axis=1, keepdims=True))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    text = _csv(pictures, texts, best, shares, cosines)
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(out, text)
        print(f"written: {out}, {len(pictures)} pictures, {texts}")
    else:
        sys.stdout.write(text)
    if sheet:
        _sheet(Path(sheet), pictures, [texts.names[row[0]] for row in best])
    say(f"{card_line(cost_card(model, device))}; {rate:.0f} pictures/s with reading them")
    if (whole := about.get("teacher_parameters")) is not None:
        say(ratios(model, whole["whole"], whole["image_tower"]))


def _texts(
    student: str, file: str | None, teacher: str | None, template: tuple[str, ...], device: str
) -> ClassTexts:
    if teacher is not None:
        if file is None:
            raise UserError("--teacher encodes the names of --classes FILE: give both")
        frozen = load_teacher(teacher, device)
        return class_texts(frozen, read_names(file), templates_of(template), Path(file).name)
    known = texts_of(student)
    if file is None:
        return known
    return chosen_texts(known, read_names(file), "the student", Path(file).name)


def _csv(
    pictures: Folder, texts: ClassTexts, best: np.ndarray, shares: Floats, cosines: Floats
) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    ranks = range(1, best.shape[1] + 1)
    writer.writerow(["picture", *(f"{word}{rank}" for rank in ranks
                                  for word in ("class", "share", "cosine"))])  # fmt: skip
    for row, name in enumerate(pictures.ids):
        cells = [(texts.names[c], f"{shares[row, c]:.4f}", f"{cosines[row, c]:.4f}")
                 for c in best[row]]  # fmt: skip
        writer.writerow([name, *(value for cell in cells for value in cell)])
    return made.getvalue()


def _sheet(path: Path, pictures: Folder, names: list[str]) -> None:
    shown = min(len(pictures), MOST)
    rows = -(-shown // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (TILE + 8), rows * (TILE + 24)), "white")
    draw = ImageDraw.Draw(page)
    for place in range(shown):
        image = Image.fromarray(read_rgb(pictures.paths[place]))
        image.thumbnail((TILE, TILE))
        left, top = place % COLUMNS * (TILE + 8) + 4, place // COLUMNS * (TILE + 24) + 4
        page.paste(image, (left, top))
        draw.text((left, top + TILE + 2), names[place][:20], fill="black")
    made = io.BytesIO()
    page.save(made, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, made.getvalue())
    more = f" of {len(pictures)}" if shown < len(pictures) else ""
    print(f"written: {path}, {shown}{more} pictures")
