"""COCO files as they come: ids and names are kept, what is put right is counted, and no mapping
of classes is ever made from the annotations that happen to be there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ofds.use.coco_objects import columns, is_number
from ofds.use.dataset import Category, Dataset, Entry, Id, Image, Objects, key_of
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError


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
    objects = columns(path, used, images, categories, repairs, proposals=False)
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
    found = columns(path, content, dataset.images, dataset.categories, repairs, proposals=True)
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
        known = all(is_number(n) and n >= 1 for n in size)
        if not known:
            repairs.add("image whose size is not known: its boxes were not clipped", repr(name))
        width, height = (int(n) for n in size) if known else (0, 0)  # type: ignore[arg-type]
        found.append(Image(id_, name, width, height, entry))
    return tuple(found)


def _categories(path: Path, entries: Any) -> tuple[Category, ...]:
    found = [Category(*each) for each in _named(path, entries, "categories", "name")]
    numbers = all(key_of(each.id).isdecimal() for each in found)
    return tuple(sorted(found, key=lambda c: (int(key_of(c.id)) if numbers else 0, key_of(c.id))))
