"""What Label Studio exports as JSON, as a COCO file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ofds.use.coco import read_json
from ofds.use.coco_objects import is_number
from ofds.use.dataset import Entry, Image
from ofds.use.formats import brush
from ofds.use.formats.common import boxed
from ofds.use.masks import run_lengths
from ofds.use.repairs import Repairs
from ofds.use.result_names import ResultNames
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES

MARK = re.compile(r"([0-9a-f]{8}-[0-9]+)(\.[0-9]+)?$")
LABELS = ("rectanglelabels", "polygonlabels", "brushlabels", "labels")


def read(
    path: str | Path, repairs: Repairs, known: Sequence[Image] = (), classes: Sequence[str] = ()
) -> dict[str, Any]:
    """An export of Label Studio as JSON (not JSON-MIN), as a COCO file.

    A task with an annotation is labelled, one without regions too; a task whose annotations were
    all skipped or are missing is not. Of several annotations the one marked as ground truth counts,
    else the last that was changed. Rectangles, polygons and brushes are read; a turned rectangle is
    the polygon of its corners. The image is `ofds_image` of the data where it says so, else what
    its address names.

    Args:
        path: of the .json.
        repairs: books what is left out.
        known: images that tasks may be of, for the size of those without regions.
        classes: in their order; others that occur come after them, by name.

    Raises:
        UserError: no such export, tasks that nobody annotated yet, a region that contradicts
            itself.
    """
    tasks = read_json(path)
    if isinstance(tasks, dict):
        tasks = [tasks]
    fine = isinstance(tasks, list) and all(
        isinstance(task, dict) and isinstance(task.get("data"), dict) for task in tasks
    )
    if not fine or not tasks:
        raise UserError(f"{path}: no tasks of Label Studio; export them as JSON, not as JSON-MIN")
    if not any(task.get("annotations") for task in tasks) and (
        any(task.get("predictions") for task in tasks)
        or not any("annotations" in task for task in tasks)
    ):
        raise UserError(
            f"{path}: no task has an annotation: these are tasks to import; export the project as "
            "JSON once tasks are submitted"
        )
    images, notes, names = list[Entry](), list[Entry](), ResultNames([i.name for i in known])
    for number, task in enumerate(tasks, start=1):
        name = _name(task, number, path)
        image: Entry = {"id": number, "file_name": name, "labelled": False}
        found = _annotation(task, name, repairs)
        if found is not None:
            image["labelled"] = True
            if is_number(seconds := found.get("lead_time")) and seconds > 0:
                image["seconds"] = seconds
            own = found.get("result")
            notes += _notes(own if isinstance(own, list) else [], image, path, repairs)
        place = names.find(name, path) if "width" not in image else -1
        if place >= 0 and known[place].width:
            image |= {"width": known[place].width, "height": known[place].height}
        images.append(image)
    boxed(notes)
    new = sorted({note["category_id"] for note in notes} - set(classes))
    listed = [*classes, *new]
    ids = {name: place for place, name in enumerate(listed, start=1)}
    for place, note in enumerate(notes, start=1):
        note |= {"id": place, "category_id": ids[note["category_id"]]}
    categories = [{"id": id_, "name": name} for name, id_ in ids.items()]
    return {"images": images, "categories": categories, "annotations": notes}


def _name(task: Entry, number: int, path: str | Path) -> str:
    data = task["data"]
    if isinstance(data.get("ofds_image"), str):
        return str(data["ofds_image"])
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str)]
    for text in texts:
        parts = urlsplit(text)
        name = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].lstrip("/")
        if name.lower().endswith(SUFFIXES):
            return name
    raise UserError(f"{path}: task {number} (from 1) names no image in its `data`")


def _annotation(task: Entry, name: str, repairs: Repairs) -> Entry | None:
    """The annotation that counts; None if nobody finished one."""
    listed = task.get("annotations")
    made = [a for a in listed if isinstance(a, dict)] if isinstance(listed, list) else []
    done = [a for a in made if not a.get("was_cancelled")]
    if len(made) > len(done):
        repairs.add("annotation that was skipped in Label Studio: not counted", repr(name))
    if len(done) > 1:
        repairs.add("image with several annotations: the last one counts", repr(name))
    truth = [a for a in done if a.get("ground_truth")] or done
    return max(truth, key=lambda a: str(a.get("updated_at") or ""), default=None)


def _notes(results: list[Any], image: Entry, path: str | Path, repairs: Repairs) -> list[Entry]:
    """Annotations of a task, classes by name for now; sets the size of the image."""
    found, joined = list[Entry](), dict[str, Entry]()
    name = image["file_name"]
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            continue
        key = next((k for k in LABELS if isinstance(value.get(k), list) and value[k]), "")
        if not key:
            if result.get("type") not in ("rectangle", "polygon", "brush"):  # repeated with labels
                repairs.add(f"left out: region of the type {result.get('type')}", repr(name))
            continue
        size = [result.get(f"original_{side}") for side in ("width", "height")]
        if not all(is_number(n) and n >= 1 for n in size):
            raise UserError(f"{path}: a region on {name!r} has no original_width and _height")
        width, height = (int(n) for n in size)
        if (image.get("width", width), image.get("height", height)) != (width, height):
            raise UserError(f"{path}: regions on {name!r} are of images of different sizes")
        image |= {"width": width, "height": height}
        shape = _shape(value, width, height, name, repairs)
        if shape is None:
            repairs.add("left out: region that is no rectangle, polygon or brush", repr(name))
            continue
        label, meta = str(value[key][0]), result.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        note: Entry = {"image_id": image["id"], "category_id": label, "iscrowd": 0, **shape}
        if isinstance(result.get("score"), int | float):
            note["score"] = result["score"]
        if isinstance(meta.get("source"), str):
            note["source"] = meta["source"]
        # Where a version of Label Studio has lost `meta`, the region's id still is ours.
        own = MARK.match(str(result.get("id")))
        if mark := str(meta.get("ofds_id") or (own and own[1]) or ""):
            note["attributes"] = {"ofds_id": mark}
        whole = str(meta.get("ofds_object", "")) if meta.get("ofds_parts") else ""
        first = joined.get(whole)
        if whole and first and first["category_id"] == label and "points" in value:
            first["segmentation"] += note["segmentation"]
            continue
        if whole and "points" in value:
            joined[whole] = note
        found.append(note)
    return found


def _shape(value: Entry, width: int, height: int, name: str, repairs: Repairs) -> Entry | None:
    """Box or mask of a region in pixels; None if it is of another kind."""
    try:
        if isinstance(value.get("rle"), list):
            return {"segmentation": run_lengths(brush.decode(value["rle"], height, width))}
        if isinstance(value.get("points"), list):
            corners = [_round(n * (height, width)[at == 0] / 100)
                       for point in value["points"] for at, n in enumerate(point)]  # fmt: skip
            return {"segmentation": [corners]}
        sides = [float(value[key]) for key in ("x", "y", "width", "height")]
        turn = math.radians(float(value.get("rotation") or 0))
    except (KeyError, TypeError):
        return None
    except ValueError as error:
        repairs.add(f"mask left out: {error}", repr(name))
        return {}
    if not math.isfinite(turn):
        return None
    x, y, w, h = (s * (height if place % 2 else width) / 100 for place, s in enumerate(sides))
    if not turn:
        return {"bbox": [_round(n) for n in (x, y, w, h)]}
    # Label Studio turns a rectangle about its upper left corner, clockwise.
    cos, sin = math.cos(turn), math.sin(turn)
    repairs.add("turned rectangle: taken as a polygon", repr(name))
    around = ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))
    turned = [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in around]
    return {"segmentation": [[_round(n) for corner in turned for n in corner]]}


def _round(value: float) -> float:
    """Without the noise of per cents."""
    return round(value, 6)
