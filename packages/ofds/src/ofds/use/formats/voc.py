"""Pascal VOC: an XML file an image below `Annotations`, lists below `ImageSets/Main`."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ofds.use.dataset import Dataset, Entry, Image
from ofds.use.formats.common import by_image, check_xml, ofds_id, relative, sized, stems
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_text
from repro_shared.runtime.images import SUFFIXES

CLASSES = "labelmap.txt"
HEADER = "# label:color_rgb:parts:actions\n"


def write(folder: Path, dataset: Dataset, repairs: Repairs, split: str) -> None:
    """Write annotations, the list of a split, and the classes as `labelmap.txt`, as CVAT has it.

    Boxes are in whole pixels, counted from 1, both ends within: the box x 0, y 0, width 10, height
    5 is `xmin` 1, `ymin` 1, `xmax` 10, `ymax` 5. So a box is rounded, which is counted, and one of
    less than a pixel grows to one; a box of one pixel alone is taken for a click by the reader.
    Crowds are `difficult`. `iscrowd` (of crowds), `score`, `source` and `ofds_id` stand in elements
    of these names, which other readers pass over. Masks and ids are left out.

    Raises:
        UserError: names that only their suffix tells apart, an image of unknown size.
    """
    dataset = sized(dataset, None)
    names = stems(dataset.images, "VOC")
    check_xml([*(image.name for image in dataset.images), *(c.name for c in dataset.categories)])
    for image, stem, own in zip(dataset.images, names, by_image(dataset), strict=True):
        root = ET.Element("annotation")
        _add(root, "folder", "JPEGImages")
        _add(root, "filename", relative(image.name))
        size = ET.SubElement(root, "size")
        for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
            _add(size, key, value)
        _add(root, "segmented", 0)
        for label, entry in own:
            _object(root, dataset.categories[label].name, entry, image, repairs)
        ET.indent(root)
        path = folder / "Annotations" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, ET.tostring(root, encoding="utf-8") + b"\n")
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True)
    atomic_write_text(main / f"{split}.txt", "".join(f"{stem}\n" for stem in names))
    lines = [f"{each.name}:::\n" for each in dataset.categories]
    atomic_write_text(folder / CLASSES, HEADER + "".join(lines))


def _object(root: ET.Element, name: str, entry: Entry, image: Image, repairs: Repairs) -> None:
    x, y, w, h = entry["bbox"]
    if any(not float(value).is_integer() for value in (x, y, w, h)):
        repairs.add("box rounded to whole pixels", repr(image.name))
    if entry.get("segmentation"):
        repairs.add("mask left out: VOC's XML holds boxes alone", repr(image.name))
    own = ET.SubElement(root, "object")
    _add(own, "name", name)
    _add(own, "pose", "Unspecified")
    _add(own, "truncated", 0)
    _add(own, "difficult", int(bool(entry["iscrowd"] or entry.get("difficult"))))
    more = {"iscrowd": entry["iscrowd"] or None, **{k: entry.get(k) for k in ("score", "source")}}
    for key, value in more.items():
        if value is not None:
            _add(own, key, value)
    if ofds_id(entry):
        _add(own, "ofds_id", ofds_id(entry))
    box = ET.SubElement(own, "bndbox")
    left, right = _ends(x, w, image.width)
    top, bottom = _ends(y, h, image.height)
    for key, end in (("xmin", left), ("ymin", top), ("xmax", right), ("ymax", bottom)):
        _add(box, key, end)


def _ends(start: float, length: float, side: int) -> tuple[int, int]:
    """First and last pixel, from 1, within the image, at least one of them."""
    first = min(math.floor(start + 0.5) + 1, side)
    return first, max(min(math.floor(start + length + 0.5), side), first)


def _add(parent: ET.Element, key: str, value: object) -> None:
    ET.SubElement(parent, key).text = str(value)


def read(path: str | Path, repairs: Repairs, known: Sequence[Image] = ()) -> dict[str, Any]:
    """A VOC folder as a COCO file; all XML files below `Annotations`, or below the folder.

    An image is named after its XML file, with the suffix of the image file that is there, of the
    image that is known, or of `filename`. Classes are those of `labelmap.txt`; without one they are
    those that occur, by name. `difficult` objects are objects, flagged in their entries, but for
    those with our `iscrowd`. A box of which both ends are the same point is a click and no box
    (BCCD has two).

    Args:
        path: the folder.
        repairs: books what is left out.
        known: images that annotations may be of.

    Raises:
        UserError: no such folder, no XML file, or one that cannot be read.
    """
    path = Path(path)
    root = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(root.rglob("*.xml"))
    if not files:
        raise UserError(f"{path}: no folder with Annotations/*.xml")
    suffixes = {relative(i.name).with_suffix(""): relative(i.name).suffix for i in known}
    images, notes, names = list[Entry](), list[Entry](), dict[str, None]()
    for number, file in enumerate(files, start=1):
        tree, stem = _tree(file), file.relative_to(root).with_suffix("").as_posix()
        there = [s for s in SUFFIXES if (path / "JPEGImages" / f"{stem}{s}").is_file()]
        said = Path((tree.findtext("filename") or "").replace("\\", "/")).suffix
        own = suffixes.get(relative(stem))
        name = stem + (there[0] if there else said or ".jpg" if own is None else own)
        size = {side: _number(tree.findtext(f"size/{side}")) for side in ("width", "height")}
        whole = {side: int(n) for side, n in size.items() if n and n >= 1}
        found = [_note(each, name, number, repairs) for each in tree.iter("object")]
        notes += [each for each in found if each]
        names |= dict.fromkeys(each["category_id"] for each in found if each)
        images.append({"id": number, "file_name": name, **whole})
    listed = _classes(path / CLASSES)
    if not listed:
        repairs.add("no labelmap.txt: the classes are those that occur", repr(path.name))
    classes = listed or sorted(names)
    if lost := sorted(set(names) - set(classes)):
        raise UserError(f"{path}: class {lost[0]!r} is not in {CLASSES}")
    categories = [{"id": place, "name": name} for place, name in enumerate(classes, start=1)]
    ids = {each["name"]: each["id"] for each in categories}
    for place, note in enumerate(notes, start=1):
        note |= {"id": place, "category_id": ids[note["category_id"]]}
    return {"images": images, "categories": categories, "annotations": notes}


def _tree(file: Path) -> ET.Element:
    try:
        return ET.fromstring(file.read_bytes())
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{file}: no XML that can be read ({error})") from None


def _note(element: ET.Element, name: str, image: int, repairs: Repairs) -> Entry | None:
    """The annotation of an object, its class by name for now."""
    class_ = (element.findtext("name") or "").strip()
    ends = [_number(element.findtext(f"bndbox/{e}")) for e in ("xmin", "ymin", "xmax", "ymax")]
    if not class_:
        repairs.add("dropped: object without a name", repr(name))
        return None
    box: list[float] = []
    if None not in ends:
        left, top, right, bottom = ends
        box = [left - 1, top - 1, right - left + 1, bottom - top + 1]  # type: ignore[operator]
        if (left, top) == (right, bottom):
            box[2:] = [0, 0]
    crowd = int(element.findtext("iscrowd") == "1")
    note: Entry = {"image_id": image, "category_id": class_, "bbox": box, "iscrowd": crowd}
    if not crowd and (element.findtext("difficult") or "").strip() == "1":
        note["difficult"] = 1
    if (score := _number(element.findtext("score"))) is not None:
        note["score"] = score
    if source := element.findtext("source"):
        note["source"] = source
    if mine := element.findtext("ofds_id"):
        note["attributes"] = {"ofds_id": mine}
    return note


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return (int(value) if value.is_integer() else value) if math.isfinite(value) else None


def _classes(file: Path) -> list[str]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return [each.rsplit(":", 3)[0] for each in lines if each.strip() and each + "\n" != HEADER]
