"""COCO files as they come: ids and names are kept, what is put right is counted, and no mapping
of classes is ever made from the annotations that happen to be there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ofds.use.dataset import Category, Dataset, Entry, Id, Image, Objects, key_of
from ofds.use.masks import extent
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

Box = tuple[float, float, float, float]


def read_dataset(path: str | Path, repairs: Repairs, annotations: bool = True) -> Dataset:
    """Read a COCO file with images, categories and (or not) annotations.

    Args:
        path: of the file.
        repairs: books what is put right or left out.
        annotations: read them, too.

    Raises:
        UserError: no COCO file, or entries that contradict each other, each named.
    """
    return dataset_of(read_json(path), path, repairs, annotations)


def dataset_of(
    content: Any, path: str | Path, repairs: Repairs, annotations: bool = True
) -> Dataset:
    """The same from what such a file holds; run lengths may be bytes there.

    Raises:
        UserError: as `read_dataset`.
    """
    path = Path(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{path}: no COCO file: an object with `images` and `categories` is needed")
    images = _images(path, content["images"], repairs)
    categories = _categories(path, content.get("categories"))
    entries = content.get("annotations") or []
    if not isinstance(entries, list):
        raise UserError(f"{path}: `annotations` is no list")
    used = entries if annotations else []
    objects = _objects(path, used, images, categories, repairs, proposals=False)
    said = {image.name: image.entry.get("labelled") for image in images}
    labelled = {name for name, own in said.items() if (bool(entries) if own is None else own)}
    return Dataset(path, images, categories, objects, frozenset(labelled))


def read_proposals(path: str | Path, dataset: Dataset, repairs: Repairs) -> tuple[Objects, int]:
    """Read a COCO list of results on the images of a data set, and how many entries the file has.

    A COCO file with scores in its annotations will do as well.

    Raises:
        UserError: no such list, a class that the data set has not, scores that are not 0 to 1.
    """
    path, content = Path(path), read_json(path)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        same_categories(dataset, path, _categories(path, content.get("categories")))
        content = content["annotations"]
    if not isinstance(content, list):
        wanted = "a list of objects with image_id, category_id, bbox and score"
        raise UserError(f"{path}: no COCO results: {wanted} is needed")
    found = _objects(path, content, dataset.images, dataset.categories, repairs, proposals=True)
    return found, len(content)


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; UserError if it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: no JSON: the text is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON ({error})") from None


def same_categories(dataset: Dataset, path: Path, categories: Sequence[Category]) -> None:
    """UserError that names a class on which two files disagree."""
    first = {key_of(each.id): each.name for each in dataset.categories}
    second = {key_of(each.id): each.name for each in categories}
    for key in sorted({*first, *second}):
        names = [names.get(key) for names in (first, second)]
        if names[0] == names[1]:
            continue
        if None in names:
            owner = path if names[0] is None else dataset.path
            raise UserError(
                f"{dataset.path} and {path} list different classes: category {key} "
                f"({names[0] or names[1]!r}) is in {owner} alone"
            )
        raise UserError(
            f"category {key} is {names[0]!r} in {dataset.path} and {names[1]!r} in {path}"
        )


def _named(path: Path, entries: Any, what: str, name: str) -> list[tuple[Id, str, Entry]]:
    """Id, name and entry of each; UserError for one without them, or with those of another."""
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: it lists no {what}")
    found, ids, names = list[tuple[Id, str, Entry]](), dict[str, str](), dict[str, Id]()
    for place, entry in enumerate(entries):
        own = entry if isinstance(entry, dict) else {}
        key, text = key_of(own.get("id")), own.get(name)
        if not key or not isinstance(text, str) or not text:
            raise UserError(f"{path}: entry {place} of the {what} has no `id` or no `{name}`")
        if key in ids:
            raise UserError(f"{path}: id {key} of the {what} is both {ids[key]!r} and {text!r}")
        if text in names:
            raise UserError(f"{path}: {text!r} has two ids, {names[text]} and {own['id']}")
        ids[key], names[text] = text, own["id"]
        found.append((own["id"], text, own))
    return found


def _images(path: Path, entries: Any, repairs: Repairs) -> tuple[Image, ...]:
    found = []
    for id_, name, entry in _named(path, entries, "images", "file_name"):
        size = [entry.get(side) for side in ("width", "height")]
        known = all(_number(n) and n >= 1 for n in size)
        if not known:
            repairs.add("image whose size is not known: its boxes were not clipped", repr(name))
        width, height = (int(n) for n in size) if known else (0, 0)  # type: ignore[arg-type]
        found.append(Image(id_, name, width, height, entry))
    return tuple(found)


def _categories(path: Path, entries: Any) -> tuple[Category, ...]:
    found = [Category(*each) for each in _named(path, entries, "categories", "name")]
    numbers = all(key_of(each.id).isdecimal() for each in found)
    return tuple(sorted(found, key=lambda c: (int(key_of(c.id)) if numbers else 0, key_of(c.id))))


def _objects(
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
    if not _number(score):
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
    four = isinstance(given, list) and len(given) == 4 and all(map(_number, given))
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
    area = float(area) if _number(area) and area > 0 else mask.area if mask else w * h
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


def _number(value: Any) -> TypeGuard[float]:
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
