"""Annotations and results of COCO as columns: each that can be used, the others counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ofds.use.dataset import Category, Entry, Id, Image, Objects, key_of
from ofds.use.masks import extent
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

Box = tuple[float, float, float, float]


def columns(
    path: Path,
    entries: list[Any],
    images: Sequence[Image],
    categories: Sequence[Category],
    repairs: Repairs,
    *,
    proposals: bool,
) -> Objects:
    """The entries that can be used, as columns; the others are counted, or refused."""
    places = {key_of(image.id): place for place, image in enumerate(images)}
    classes = {key_of(each.id): place for place, each in enumerate(categories)}
    kept, seen = list[tuple[int, int, float, Box, float, bool, int]](), set[Any]()
    damaged = set[int]()
    for row, entry in enumerate(entries):
        where = f"{path}: {'result' if proposals else 'annotation'} {row}"
        if not isinstance(entry, dict) or not key_of(entry.get("image_id")):
            raise UserError(f"{where} (from 0) has no image_id")
        label = classes.get(key_of(entry.get("category_id")), -1)
        if label < 0:
            given, known = entry.get("category_id"), ", ".join(classes)
            raise UserError(f"{where} (from 0) has category_id {given!r}; the classes are {known}")
        place = places.get(key_of(entry["image_id"]), -1)
        if place < 0:
            repairs.add("dropped: on an image that is not listed", f"id {entry['image_id']!r}")
            continue
        name = repr(images[place].name)
        score = _score(where, entry, name, repairs) if proposals else 1.0
        found = _place(entry, images[place], name, repairs)
        if score is None or found is None:
            continue
        box, area, sound = found
        if not sound:
            damaged.add(row)
        if proposals and (place, label, score, box) in seen:
            repairs.add("dropped: the same box, class and score on an image again", name)
            continue
        seen.add((place, label, score, box))
        kept.append((place, label, score, box, area, _flag(entry.get("iscrowd")), row))
    if entries and all(key_of(e["image_id"]) not in places for e in entries):
        raise UserError(f"{path}: no image_id, such as {entries[0]['image_id']!r}, is one listed")
    image, label_, score_, box_, area_, crowd, row_ = zip(*kept, strict=True) if kept else ((),) * 7
    own = tuple(
        {key: value for key, value in entries[row].items() if key != "segmentation"}
        if row in damaged
        else entries[row]
        for row in row_
    )
    return Objects(
        image=np.array(image, np.int64),
        label=np.array(label_, np.int64),
        score=np.array(score_, np.float64),
        box=np.array(box_, np.float64).reshape(-1, 4),
        area=np.array(area_, np.float64),
        crowd=np.array(crowd, bool),
        row=np.array(row_, np.int64),
        id=() if proposals else _ids(own, repairs),
        entries=own,
    )


def _score(where: str, entry: Entry, name: str, repairs: Repairs) -> float | None:
    score = entry.get("score")
    if score is None:
        repairs.add("proposal without a score: taken as 1", name)
        return 1.0
    if not is_number(score):
        repairs.add("dropped: score that is not a number", name)
        return None
    if not 0 <= score <= 1:
        raise UserError(f"{where} (from 0) has score {score:g}; scores must be 0 to 1")
    return float(score)


def _place(
    entry: Entry, image: Image, name: str, repairs: Repairs
) -> tuple[Box, float, bool] | None:
    """Box inside the image and area of an object, and whether its mask, if any, is sound.

    None if it has to be left out.
    """
    size, sound = (image.height, image.width) if image.width else None, True
    try:
        mask = extent(entry.get("segmentation"), size)
    except ValueError as error:
        repairs.add(f"mask left out: {error}", name)
        mask, sound = None, False
    given: Any = entry.get("bbox")
    four = isinstance(given, list) and len(given) == 4 and all(map(is_number, given))
    if given and not four:
        repairs.add("box left out: not four finite numbers", name)
    x, y, w, h = map(float, given) if four else (0.0,) * 4
    if mask and (w <= 0 or h <= 0):
        repairs.add("box missing: taken from the mask", name)
        x, y, w, h = mask.box
    if w <= 0 or h <= 0:
        repairs.add(f"dropped: {'box of zero size' if four else 'no box'} and no mask", name)
        return None
    area: Any = entry.get("area")
    area = float(area) if is_number(area) and area > 0 else mask.area if mask else w * h
    if image.width:
        left, top = min(max(x, 0.0), image.width), min(max(y, 0.0), image.height)
        right, bottom = min(x + w, float(image.width)), min(y + h, float(image.height))
        if right <= left or bottom <= top:
            repairs.add("dropped: box outside its image", name)
            return None
        if (left, top) != (x, y) or right < x + w or bottom < y + h:
            repairs.add("box that reaches outside its image: clipped", name)
            x, y, w, h = left, top, right - left, bottom - top
            area = min(area, w * h)
    return (x, y, w, h), area, sound


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number that an image could have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _flag(value: Any) -> bool:
    return str(value).lower() not in ("none", "", "0", "0.0", "false")


def _ids(entries: Sequence[Entry], repairs: Repairs) -> tuple[Id, ...]:
    """Ids of annotations; one that is missing or repeats gets a number that is free."""
    given: list[Any] = [entry.get("id") for entry in entries]
    free = 1 + max((n for n in given if isinstance(n, int)), default=0)
    seen, found = set[str](), list[Id]()
    for own in given:
        if not (key := key_of(own)) or key in seen:
            repairs.add("annotation id that is missing or repeats: numbered anew", repr(own))
            own, free = free, free + 1
            key = key_of(own)
        seen.add(key)
        found.append(own)
    return tuple(found)
