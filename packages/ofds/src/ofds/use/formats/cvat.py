"""CVAT's "COCO 1.0": annotations to upload to a task, and what CVAT exports."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from ofds.use.coco import read_json
from ofds.use.dataset import Dataset, Entry, Id, key_of
from ofds.use.formats.coco import content
from ofds.use.formats.common import ofds_id, sized, stems
from ofds.use.masks import outlines
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json

FILE, LABELS = "instances_default.json", "cvat-labels.json"


def write(folder: Path, dataset: Dataset, repairs: Repairs) -> None:
    """Write `instances_default.json` to upload as COCO 1.0, and the task's labels.

    `cvat-labels.json` goes into the raw editor of labels when the task is made: without the text
    attribute `ofds_id` there, CVAT drops it. CVAT finds frames by name with sub-folders (upload the
    images as an archive, which keeps these), without the suffix. It takes whole numbers from 1 up
    as ids alone. Masks are marked `iscrowd: 1`, as CVAT marks them, so a crowd would come
    back as an object (see `without_crowds`).

    Raises:
        UserError: names that only their suffix tells apart, an image of unknown size.
    """
    stems(dataset.images, "CVAT")
    made = content(sized(dataset, None))
    images = _numbers([image.id for image in dataset.images])
    classes = _numbers([each.id for each in dataset.categories])
    if [*classes] != [*classes.values()]:
        repairs.add("class ids that CVAT cannot read: numbered from 1", repr(dataset.path.name))
    for image in made["images"]:
        image["id"] = images[image["id"]]
        image["file_name"] = image["file_name"].replace("\\", "/")
    for each in made["categories"]:
        each |= {"id": classes[each["id"]], "supercategory": str(each.get("supercategory", ""))}
    for number, entry in enumerate(made["annotations"], start=1):
        mask = entry.get("segmentation") or []
        entry |= {
            "id": number,
            "image_id": images[entry["image_id"]],
            "category_id": classes[entry["category_id"]],
            "segmentation": mask if isinstance(mask, dict) else outlines(mask),
            # As CVAT itself does; with 0, Datumaro below it makes polygons of a mask.
            "iscrowd": int(isinstance(mask, dict)),
            "attributes": {"ofds_id": ofds_id(entry)} if ofds_id(entry) else {},
        }
    atomic_write_json(folder / FILE, made)
    attribute = {"name": "ofds_id", "mutable": False, "input_type": "text", "values": [""]}
    attribute["default_value"] = ""
    labels = [{"name": each.name, "attributes": [attribute]} for each in dataset.categories]
    atomic_write_json(folder / LABELS, labels)


def _numbers(ids: list[Id]) -> dict[Id, int]:
    """Ids as they came where all are whole numbers from 1 up, else numbered from 1."""
    if all(isinstance(each, int) and each >= 1 for each in ids):
        return {each: int(each) for each in ids}
    return {each: place for place, each in enumerate(ids, start=1)}


def read(path: str | Path, repairs: Repairs) -> dict[str, Any]:
    """What CVAT exported as COCO 1.0, as a COCO file: the .zip, its folder, or the .json in it.

    CVAT numbers images, classes and annotations anew and lists all images of a task, so it does not
    say which of those without an annotation somebody looked at. Masks are objects, though it marks
    them as crowds.

    Raises:
        UserError: none or several files of instances there.
    """
    found = _content(Path(path))
    if not isinstance(found, dict) or not isinstance(found.get("annotations"), list):
        raise UserError(f"{path}: no COCO 1.0 export of CVAT: there are no `annotations`")
    listed = found.get("images")
    images = listed if isinstance(listed, list) else []
    names = {key_of(i.get("id")): i.get("file_name") for i in images if isinstance(i, dict)}
    kept = list[Entry]()
    for entry in found["annotations"]:
        if isinstance(entry, dict) and isinstance(entry.get("segmentation"), dict):
            if entry.get("iscrowd"):
                name = repr(names.get(key_of(entry.get("image_id"))))
                repairs.add("mask that CVAT marks as a crowd: taken as an object", name)
            entry = {**entry, "iscrowd": 0}
        kept.append(entry)
    return {**found, "annotations": kept}


def _content(path: Path) -> Any:
    if path.is_dir():
        return read_json(_only(path, sorted(path.rglob("instances_*.json"))))
    try:
        if not zipfile.is_zipfile(path):
            return read_json(path)
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if Path(n).match("instances_*.json")]
            return json.loads(archive.read(str(_only(path, sorted(names)))).decode("utf-8-sig"))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: a damaged archive ({error})") from None


def _only(path: Path, found: list[Any]) -> Any:
    if len(found) != 1:
        listed = ", ".join(Path(each).name for each in found) or "none"
        raise UserError(f"{path}: one file instances_*.json is needed, there is: {listed}")
    return found[0]
