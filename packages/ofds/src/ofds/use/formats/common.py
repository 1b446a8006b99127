"""What the formats share: annotations by image, names as paths, files of images."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from ofds.use.dataset import Dataset, Entry, Image
from ofds.use.masks import extent, plain
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb

Files = Literal["none", "link", "copy"]
SUFFIX, SLASH = "it leaves out the suffix", "a backslash is written as a slash"
NO_XML = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def ofds_id(entry: Entry) -> str:
    """The id of the proposal that an annotation was made from; "" if it does not say."""
    attributes = entry.get("attributes")
    found = (attributes if isinstance(attributes, dict) else {}).get(
        "ofds_id", entry.get("ofds_id")
    )
    return found.strip() if isinstance(found, str) else ""


def by_image(dataset: Dataset) -> list[list[tuple[int, Entry]]]:
    """Place of the class and COCO entry of each annotation, by image.

    Entries are as they came but for what was put right: id, ids of image and class, box, area and
    crowd; and run lengths are never bytes.
    """
    found = list[list[tuple[int, Entry]]]([] for _ in dataset.images)
    objects = dataset.objects
    ids = objects.id or range(1, len(objects) + 1)
    for place, (own, id_) in enumerate(zip(objects.entries, ids, strict=True)):
        image, label = int(objects.image[place]), int(objects.label[place])
        entry: Entry = {
            **own,
            "id": id_,
            "image_id": dataset.images[image].id,
            "category_id": dataset.categories[label].id,
            "bbox": [_short(value) for value in objects.box[place]],
            "area": _short(objects.area[place]),
            "iscrowd": int(objects.crowd[place]),
        }
        if "segmentation" in entry:
            entry["segmentation"] = plain(entry["segmentation"])
        found[image].append((label, entry))
    return found


def without_crowds(dataset: Dataset, format_: str, repairs: Repairs) -> Dataset:
    """The same for a format in which a crowd would come back as an object; counts them."""
    for place in dataset.objects.image[dataset.objects.crowd]:
        name = repr(dataset.images[place].name)
        repairs.add(f"left out: a crowd, which {format_} would take for an object", name)
    return replace(dataset, objects=dataset.objects.take(np.flatnonzero(~dataset.objects.crowd)))


def boxed(entries: Sequence[Entry]) -> None:
    """Give annotations that have a sound mask alone the box around it."""
    for entry in entries:
        if "bbox" not in entry and entry.get("segmentation"):
            with suppress(ValueError):
                if found := extent(entry["segmentation"]):
                    entry["bbox"] = list(found.box)


def _short(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def sized(dataset: Dataset, folder: str | Path | None) -> Dataset:
    """The same with the size of every image known, read from its file if need be.

    Raises:
        UserError: an image of unknown size, and no folder that its file lies in.
    """
    images = list(dataset.images)
    for place, image in enumerate(images):
        if image.width:
            continue
        if not folder:
            raise UserError(f"the size of {image.name!r} is not known: give --folder of the images")
        height, width, _ = read_rgb(image_file(folder, image.name)).shape
        entry = {**image.entry, "width": width, "height": height}
        images[place] = Image(image.id, image.name, width, height, entry)
    return replace(dataset, images=tuple(images))


def image_file(folder: str | Path, name: str) -> Path:
    """Where an image lies; a backslash in its name is read as a slash if need be."""
    path = Path(folder) / name
    return path if path.is_file() else Path(folder) / name.replace("\\", "/")


def relative(name: str) -> PurePosixPath:
    """A name as a path below a folder, backslashes read; UserError if it leads out of there."""
    path = PurePosixPath(name.replace("\\", "/"))
    if (
        path.is_absolute()
        or ".." in path.parts
        or re.match(r"[A-Za-z]:[\\/]", name)
        or not path.name
    ):
        raise UserError(f"image {name!r}: its name must be a path below the folder of the images")
    return path


def stems(images: Sequence[Image], format_: str) -> list[PurePosixPath]:
    """Path of each image without its suffix, as formats with a file an image name them.

    Raises:
        UserError: two images that only their suffix or a backslash tells apart, both named.
    """
    seen, found = dict[PurePosixPath, str](), list[PurePosixPath]()
    for image in images:
        stem = relative(image.name).with_suffix("")
        if stem in seen:
            alike = relative(seen[stem]) == relative(image.name)
            raise _alike(format_, seen[stem], image.name, SLASH if alike else SUFFIX)
        seen[stem] = image.name
        found.append(stem)
    return found


def _alike(format_: str, one: str, two: str, why: str) -> UserError:
    return UserError(f"{format_} cannot tell {one!r} and {two!r} apart: {why}; rename one of them")


def distinct(images: Sequence[Image], keys: Sequence[str], where: str) -> None:
    """UserError that names two images of one key, their names with slashes for backslashes."""
    seen = dict[str, str]()
    for image, key in zip(images, keys, strict=True):
        if key in seen:
            raise _alike(where, seen[key], image.name, SLASH)
        seen[key] = image.name


def put_images(dataset: Dataset, folder: str | Path | None, target: Path, how: Files) -> None:
    """Copy or link the files of the images into a folder, below it as they are named."""
    if how == "none":
        return
    if not folder:
        raise UserError(f"--image-files {how} needs --folder of the images")
    goals = [str(relative(image.name)) for image in dataset.images]
    distinct(dataset.images, goals, f"--image-files {how}")
    for image in dataset.images:
        source, goal = image_file(folder, image.name), target / relative(image.name)
        if not source.is_file():
            raise UserError(f"{source}: no such file")
        goal.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            goal.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, goal)


def check_xml(names: Sequence[str]) -> None:
    """UserError for a name with a character that no XML can hold."""
    for name in names:
        if NO_XML.search(name):
            raise UserError(f"{name!r} holds a character that XML cannot")
