"""Results of annotators in any format, on the images and classes of a pool."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from ofds.use.coco import dataset_of, read_json
from ofds.use.coco_objects import is_number
from ofds.use.dataset import Dataset, Entry, key_of
from ofds.use.formats import cvat, label_studio_export, voc, yolo
from ofds.use.repairs import Repairs
from ofds.use.result_names import ResultNames
from repro_shared.runtime.errors import UserError

Format = Literal["coco", "voc", "yolo", "label-studio", "cvat"]
LISTED: tuple[Format, ...] = ("coco", "yolo", "cvat")  # that list all classes, used or not


def read_content(
    path: str | Path, format_: Format, repairs: Repairs, pool: Dataset | None = None
) -> Entry:
    """A file or folder of results as a COCO file holds it, with names and ids of its own.

    Args:
        path: of the file or folder.
        format_: that it is in.
        repairs: books what is put right or left out.
        pool: whose images they may be: where a format says no size or suffix, it does.
    """
    known = pool.images if pool else ()
    match format_:
        case "coco":
            found: Any = read_json(path)
            if not isinstance(found, dict) or not isinstance(found.get("annotations"), list):
                raise UserError(f"{path}: no COCO file with `annotations`")
            return found
        case "cvat":
            return cvat.read(path, repairs)
        case "voc":
            return voc.read(path, repairs, known)
        case "yolo":
            return yolo.read(path, repairs, known)
        case "label-studio":
            classes = [each.name for each in pool.categories] if pool else []
            return label_studio_export.read(path, repairs, known, classes)


def on_pool(content: Entry, path: str | Path, pool: Dataset, repairs: Repairs) -> Entry:
    """The same with the images, the classes and the ids of a pool.

    Tools number both anew, so images are found by name (see `ResultNames`), classes by name alone.
    All images of the pool are listed; one that the results have not is not labelled. A size that
    the pool does not know is as the results have it.

    Raises:
        UserError: two images that are the same one of the pool, an image of another size, a class
            that the pool has not, each named.
    """
    names = ResultNames([image.name for image in pool.images])
    images, own = list[Entry](), dict[str, int]()
    for image in pool.images:
        kept = {key: value for key, value in image.entry.items() if key != "labelled"}
        images.append({**kept, "labelled": False})
    seen = dict[int, str]()
    for entry in _dicts(content.get("images")):
        name = str(entry.get("file_name"))
        place = names.find(name, path)
        if place < 0:
            repairs.add("image of the results that is not in the pool", repr(name))
            continue
        if place in seen:
            raise UserError(
                f"{path}: {seen[place]!r} and {name!r} are both {pool.images[place].name!r}"
            )
        seen[place], own[key_of(entry.get("id"))] = name, place
        _same_size(entry, pool, place, path)
        if not pool.images[place].width:
            images[place] |= {side: entry.get(side) for side in ("width", "height")}
        said = entry.get("labelled")
        images[place]["labelled"] = bool(said) if isinstance(said, int) else None
        if is_number(entry.get("seconds")):
            images[place]["seconds"] = float(entry["seconds"])
    if not seen:
        first = next((repr(e.get("file_name")) for e in _dicts(content.get("images"))), "none")
        raise UserError(f"{path}: none of its images, such as {first}, is in the pool")
    labels = {key_of(e.get("id")): str(e.get("name")) for e in _dicts(content.get("categories"))}
    classes = {each.name: each.id for each in pool.categories}
    notes = list[Entry]()
    for row, entry in enumerate(_dicts(content.get("annotations"))):
        place = own.get(key_of(entry.get("image_id")), -1)
        if place < 0:
            repairs.add("dropped: annotation on an image that is not in the pool", f"number {row}")
            continue
        label = labels.get(key_of(entry.get("category_id")))
        if label not in classes:
            near = difflib.get_close_matches(str(label), classes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its classes: {', '.join(classes)}"
            raise UserError(f"{path}: class {label!r} is none of the pool; {hint}")
        ids = {"image_id": pool.images[place].id, "category_id": classes[label]}
        notes.append({**entry, **ids})
    categories = [{**c.entry, "id": c.id, "name": c.name} for c in pool.categories]
    return {"images": images, "categories": categories, "annotations": notes}


def same_names(content: Entry, path: str | Path, pool: Dataset) -> None:
    """UserError that names a class which a file of results or the pool lists alone."""
    if not isinstance(content.get("categories"), list):
        raise UserError(f"{path}: no COCO file with `categories`")
    labels = {str(each.get("name")) for each in _dicts(content["categories"])}
    if differ := sorted(labels ^ {each.name for each in pool.categories}):
        owner = path if differ[0] in labels else pool.path
        raise UserError(
            f"{pool.path} and {path} list different classes: {differ[0]!r} is in {owner} alone"
        )


def _dicts(entries: Any) -> list[Entry]:
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _same_size(entry: Entry, pool: Dataset, place: int, path: str | Path) -> None:
    image = pool.images[place]
    theirs, ours = (entry.get("width"), entry.get("height")), (image.width, image.height)
    if all(theirs) and all(ours) and theirs != ours:
        raise UserError(
            f"{path}: {image.name!r} is {theirs[0]} x {theirs[1]}, in {pool.path} {ours[0]} x "
            f"{ours[1]}: the boxes would not fit"
        )


def read_results(path: str | Path, format_: Format, repairs: Repairs) -> Dataset:
    """A data set of its own in one of the formats, not tied to any pool."""
    return dataset_of(read_content(path, format_, repairs), path, repairs)
