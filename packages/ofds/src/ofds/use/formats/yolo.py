"""YOLO as Ultralytics has it: `data.yaml` and a text file an image below labels."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ofds.use.dataset import Dataset, Entry, Image
from ofds.use.formats.common import boxed, by_image, relative, sized, stems
from ofds.use.masks import outlines
from ofds.use.repairs import Repairs
from ofds.use.result_names import ResultNames
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text
from repro_shared.runtime.images import SUFFIXES, read_rgb

SPLITS = ("train", "val", "test")


def write(folder: Path, dataset: Dataset, repairs: Repairs, split: str) -> None:
    """Write `data.yaml` and a text file for each image, with a line an object, below `labels`.

    A line is the class, from 0 in the order of `data.yaml`, and the box's centre and size, or the
    corners of its polygon, as shares of width and height to nine digits. Ultralytics refuses a file
    that mixes the two, so beside a polygon a box is written as its four corners. Several polygons
    of an object are joined into one by lines without area. Run lengths are left out, which is
    counted; so are crowds; ids, scores, sources and areas are not kept.

    Raises:
        UserError: names that only their suffix tells apart, an image of unknown size.
    """
    dataset = sized(dataset, None)
    names = stems(dataset.images, "YOLO")
    for image, stem, own in zip(dataset.images, names, by_image(dataset), strict=True):
        if crowds := sum(entry["iscrowd"] for _, entry in own):
            repairs.add("left out: a crowd, which YOLO would learn as an object", repr(image.name),
                        crowds)  # fmt: skip
        own = [(label, entry) for label, entry in own if not entry["iscrowd"]]
        polygons = any(outlines(entry.get("segmentation")) for _, entry in own)
        path = folder / "labels" / split / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(label, entry, image, polygons, repairs) for label, entry in own]
        atomic_write_text(path, "".join(f"{line}\n" for line in lines))
    (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    classes = [
        f"  {place}: {json.dumps(each.name, ensure_ascii=False)}\n"
        for place, each in enumerate(dataset.categories)
    ]
    where = f"images/{split}"
    text = f"train: {where}\nval: {where}\nnames:\n" + "".join(classes)
    atomic_write_text(folder / "data.yaml", text)


def _line(label: int, entry: Entry, image: Image, polygons: bool, repairs: Repairs) -> str:
    mask = entry.get("segmentation")
    x, y, w, h = entry["bbox"]
    if isinstance(mask, dict) and mask:
        repairs.add("mask left out: YOLO holds no run lengths, only polygons", repr(image.name))
    parts = outlines(mask)
    if len(parts) > 1:
        repairs.add("several polygons of an object joined to one", repr(image.name))
    if polygons:
        numbers = _joined(parts) if parts else [x, y, x + w, y, x + w, y + h, x, y + h]
    else:
        numbers = [x + w / 2, y + h / 2, w, h]
    shares = [
        min(max(n / (image.height if place % 2 else image.width), 0.0), 1.0)
        for place, n in enumerate(numbers)
    ]
    return " ".join([str(label), *(f"{share:.9g}" for share in shares)])


def _joined(parts: list[list[float]]) -> list[float]:
    """One polygon that runs round each part in turn, and back along the ways between them."""
    path = list[float]()
    for part in parts:
        # All run round the same way, so that areas add up.
        corners = list(zip(part[::2], part[1::2], strict=True))
        twice = sum(
            a * d - b * c for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1], strict=True)
        )
        if twice < 0:
            corners = [corners[0], *corners[:0:-1]]
        ring = [value for corner in corners for value in corner]
        path += ring + (ring[:2] if len(parts) > 1 else [])
    for part in parts[-2:0:-1]:
        path += part[:2]
    return path


def read(path: str | Path, repairs: Repairs, known: Sequence[Image] = ()) -> dict[str, Any]:
    """A YOLO folder as a COCO file: of Ultralytics, or as CVAT and Label Studio export it.

    Classes are those of `data.yaml`, `classes.txt` or `obj.names`. A text file belongs to the image
    of its name that is known, else to the file below `images` (or beside it), which tells the size;
    folders of splits are left out where `data.yaml` names them. A line of five numbers is a box,
    one of six a box with a score, others are polygons. That there is a file does not
    say whether somebody looked.

    Args:
        path: the folder.
        repairs: books what is left out.
        known: images that the text files may be of.

    Raises:
        UserError: no such folder, no classes, no text files, a line that is none.
    """
    path = Path(path)
    classes, splits = _classes(path)
    root = next((path / n for n in ("labels", "obj_train_data") if (path / n).is_dir()), path)
    files = [f for f in sorted(root.rglob("*.txt")) if root != path or f.parent != path]
    if not files:
        raise UserError(f"{path}: no text files below {root.name}")
    of_known = [relative(image.name).with_suffix("").as_posix() for image in known]
    names, twice = ResultNames(of_known), Counter(of_known)
    images, notes = list[Entry](), list[Entry]()
    for file in files:
        stem = file.relative_to(root).with_suffix("")
        if stem.parts[0] in splits and len(stem.parts) > 1:
            stem = stem.relative_to(stem.parts[0])
        place = names.find(stem.as_posix(), path)
        if place >= 0 and twice[of_known[place]] > 1:
            stems([known[p] for p, own in enumerate(of_known) if own == of_known[place]], "YOLO")
        entry = _known(known[place]) if place >= 0 else _beside(path, root, file, stem)
        if entry is None:
            repairs.add("dropped: text file of an image that is not there", repr(str(stem)))
            continue
        images.append({"id": len(images) + 1, **entry})
        for row, line in enumerate(_lines(file), start=1):
            note = _note(f"{file}, line {row}", line, len(classes), images[-1])
            notes.append({"id": len(notes) + 1, **note})
    boxed(notes)
    categories = [{"id": place, "name": name} for place, name in enumerate(classes)]
    return {"images": images, "categories": categories, "annotations": notes}


def _classes(path: Path) -> tuple[list[str], set[str]]:
    """Names of the classes, and of the folders of splits."""
    file = next((path / n for n in ("data.yaml", "data.yml") if (path / n).is_file()), None)
    if file:
        try:  # as text, or a class "no" would be False
            data = yaml.load(file.read_text(encoding="utf-8-sig"), yaml.BaseLoader)
            names, splits = data["names"], {key for key in SPLITS if key in data}
            for where in (data[key] for key in set(splits)):
                splits |= {Path(w).stem for w in ([where] if isinstance(where, str) else where)}
            if isinstance(names, dict):
                names = [names[str(place)] for place in range(len(names))]
            if isinstance(names, list) and names and all(isinstance(n, str) for n in names):
                return names, splits
        except (yaml.YAMLError, ValueError, KeyError, TypeError):
            pass
        raise UserError(f"{file}: no `names`, a list or numbers from 0 with the names of classes")
    for name in ("classes.txt", "obj.names"):
        if (path / name).is_file():
            return _lines(path / name), set()
    raise UserError(f"{path}: no data.yaml, classes.txt or obj.names with the names of the classes")


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{file}: cannot be read as text") from None
    return [line.strip() for line in text.split("\n") if line.strip()]


def _known(image: Image) -> Entry:
    size = {"width": image.width, "height": image.height} if image.width else {}
    return {"file_name": image.name, **size}


def _beside(path: Path, root: Path, file: Path, stem: Path) -> Entry | None:
    """Name and size of the image file that a text file is of; None if there is none."""
    below = path / "images" / file.relative_to(root) if root.name == "labels" else file
    for suffix in SUFFIXES:
        for own in (suffix, suffix.upper()):
            picture = below.with_name(below.stem + own)
            if picture.is_file():
                height, width, _ = read_rgb(picture).shape
                name = f"{stem.as_posix()}{own}"
                return {"file_name": name, "width": width, "height": height}
    return None


def _note(where: str, line: str, classes: int, image: Entry) -> Entry:
    try:
        numbers = [float(value) for value in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) < 5 or not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}: no class and box or polygon: {line!r}")
    if numbers[0] not in range(classes):
        raise UserError(f"{where}: class {numbers[0]:g}; the classes are 0 to {classes - 1}")
    if not image.get("width"):
        raise UserError(f"{where}: the size of {image['file_name']!r} is not known")
    width, height = image["width"], image["height"]
    note: Entry = {"image_id": image["id"], "category_id": int(numbers[0]), "iscrowd": 0}
    numbers, score = numbers[1:], numbers[5:6] if len(numbers) == 6 else []
    if len(numbers) <= 5:
        x, y, w, h = (n * (height if place % 2 else width) for place, n in enumerate(numbers[:4]))
        note["bbox"] = [_round(x - w / 2), _round(y - h / 2), _round(w), _round(h)]
        return note | ({"score": score[0]} if score else {})
    if len(numbers) % 2:
        raise UserError(f"{where}: a polygon of {len(numbers)} numbers: {line[:40]!r}")
    corners = [_round(n * (height if p % 2 else width)) for p, n in enumerate(numbers)]
    return note | {"segmentation": [corners]}


def _round(value: float) -> float:
    """Without the noise of shares to nine digits."""
    return round(value, 5)
