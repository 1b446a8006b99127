"""Label Studio: tasks with predictions to import, and its export as JSON."""

from __future__ import annotations

import colorsys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from ofds.use.dataset import Dataset, Entry, Image
from ofds.use.formats import brush
from ofds.use.formats.common import by_image, check_xml, distinct, ofds_id, sized
from ofds.use.masks import outlines, pixels
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_json

TASKS, CONFIG = "tasks.json", "label-config.xml"
PREFIX = "/data/local-files/?d="
TAGS = {
    "rectanglelabels": "RectangleLabels",
    "polygonlabels": "PolygonLabels",
    "brushlabels": "BrushLabels",
}


def write(
    folder: Path,
    dataset: Dataset,
    prefix: str = PREFIX,
    model: str = "ofds",
    images: str | Path | None = None,
) -> None:
    """Write `tasks.json`, and `label-config.xml` for the project's labeling interface.

    Rectangles and polygons are in per cent of the image, masks are brushes. The address of an image
    is the prefix and its name, quoted; `ofds_image` in the data is the name itself. Each region has
    our id as its own and in `meta`, which Label Studio keeps when a prediction becomes an
    annotation. An object of several polygons is several regions, whose `meta` says so. Areas, and
    boxes beside a mask are left out; what is a crowd is not kept (see `without_crowds`).

    Args:
        folder: to write into.
        dataset: images and predictions.
        prefix: of an image's address: of Label Studio's local files, or of a server.
        model: the version that predictions are shown under.
        images: folder that Label Studio takes them from, if known: a name with a backslash stays as
            it is where that file is there, and else has slashes.

    Raises:
        UserError: two images of one address, an image of unknown size, a class that XML cannot
            hold.
    """
    dataset = sized(dataset, None)
    classes = [each.name for each in dataset.categories]
    check_xml(classes)
    tasks, kinds = list[Entry](), set[str]()
    paths = [_path(image.name, images) for image in dataset.images]
    distinct(dataset.images, paths, "Label Studio")
    for rank, (image, own) in enumerate(zip(dataset.images, by_image(dataset), strict=True), 1):
        address = prefix + quote(paths[rank - 1])
        task: Entry = {"data": {"image": address, "ofds_image": image.name, "ofds_rank": rank}}
        regions = [r for label, entry in own for r in _regions(entry, classes[label], image)]
        kinds |= {region["type"] for region in regions}
        if own:
            task["predictions"] = [{"model_version": model, "result": regions}]
            scores = [entry["score"] for _, entry in own if "score" in entry]
            if scores:
                task["predictions"][0]["score"] = sum(scores) / len(scores)
        tasks.append(task)
    atomic_write_json(folder / TASKS, tasks)
    atomic_write_bytes(folder / CONFIG, _config(classes, kinds or {"rectanglelabels"}))


def _path(name: str, images: str | Path | None) -> str:
    there = images is not None and (Path(images) / name).is_file()
    return name if there else name.replace("\\", "/")


def _regions(entry: Entry, name: str, image: Image) -> Iterator[Entry]:
    mask, (x, y, w, h) = entry.get("segmentation"), entry["bbox"]
    parts = outlines(mask)
    values = list[tuple[str, Entry]]()
    for corners in parts:
        points = [
            [corners[at] / image.width * 100, corners[at + 1] / image.height * 100]
            for at in range(0, len(corners), 2)
        ]
        values.append(("polygonlabels", {"points": points, "closed": True}))
    if isinstance(mask, dict) and mask:
        rle = brush.encode(pixels(mask, (image.height, image.width)))
        values.append(("brushlabels", {"format": "rle", "rle": rle}))
    if not values:
        box = {"x": x / image.width * 100, "y": y / image.height * 100}
        box |= {"width": w / image.width * 100, "height": h / image.height * 100, "rotation": 0}
        values.append(("rectanglelabels", box))
    id_ = ofds_id(entry) or f"annotation-{entry['id']}"
    meta = {"ofds_id": ofds_id(entry), "source": entry.get("source")}
    meta = {key: value for key, value in meta.items() if value}
    if len(values) > 1:
        meta |= {"ofds_parts": len(values), "ofds_object": id_}
    for part, (kind, value) in enumerate(values):
        yield {
            "id": f"{id_}.{part}" if part else id_,
            "type": kind,
            "from_name": kind.removesuffix("labels"),
            "to_name": "image",
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "value": {**value, kind: [name]},
            **({"score": entry["score"]} if "score" in entry else {}),
            **({"meta": meta} if meta else {}),
        }


def _config(classes: Sequence[str], kinds: set[str]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image", zoom="true")
    for kind in (kind for kind in TAGS if kind in kinds):
        control = ET.SubElement(view, TAGS[kind], name=kind.removesuffix("labels"), toName="image")
        for place, name in enumerate(classes):
            rgb = colorsys.hsv_to_rgb(place / len(classes), 0.85, 0.9)
            colour = "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
            ET.SubElement(control, "Label", value=name, background=colour)
    ET.indent(view)
    return ET.tostring(view, encoding="utf-8") + b"\n"
