"""mmsegmentation: a list of a split, and label maps where there are masks."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from ofds.use.dataset import Dataset
from ofds.use.formats.common import by_image, relative, sized, stems
from ofds.use.masks import pixels
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text

IGNORED = 255


def write(folder: Path, dataset: Dataset, repairs: Repairs, split: str) -> None:
    """Write `splits`, `ann_dir` and `metainfo.json` (classes and palette) for a data set of mmseg.

    A list has a name without its suffix on each line; mmseg takes one `img_suffix` a data set, so
    there is a list for each suffix. A label map has the place of the class in `metainfo.json`, and
    255, which mmseg ignores, where no mask is: that nothing was proposed does not make it
    background. Of masks that overlap the one of the higher score is in front. Boxes alone, scores,
    ids and which object is which are left out, and images without any mask get no label map.

    Raises:
        UserError: more than 255 classes, names that only their suffix tells apart.
    """
    if len(dataset.categories) > IGNORED:
        raise UserError(f"{len(dataset.categories)} classes: a label map holds {IGNORED} at most")
    names, notes = stems(dataset.images, "mmseg"), by_image(dataset)
    if any(entry.get("segmentation") for own in notes for _, entry in own):
        dataset = sized(dataset, None)
    colours = [
        [round(255 * part) for part in colorsys.hsv_to_rgb(place / len(dataset.categories), 1, 1)]
        for place in range(len(dataset.categories))
    ]
    lists = dict[str, list[str]]()
    for image, stem, own in zip(dataset.images, names, notes, strict=True):
        lists.setdefault(relative(image.name).suffix, []).append(f"{stem}\n")
        masked = [(label, entry) for label, entry in own if entry.get("segmentation")]
        if len(masked) < len(own):
            lost = len(own) - len(masked)
            repairs.add("left out: object without a mask", repr(image.name), lost)
        if not masked:
            continue
        drawn = np.full((image.height, image.width), IGNORED, np.uint8)
        for label, entry in sorted(masked, key=lambda each: each[1].get("score", 1.0)):
            drawn[pixels(entry["segmentation"], drawn.shape) > 0] = label
        picture = Picture.fromarray(drawn)
        # All 256 colours: with fewer, Pillow would store fewer than 8 bits of a value.
        flat = [part for colour in colours for part in colour]
        picture.putpalette(flat + [0] * (3 * 256 - len(flat)))
        path = folder / "ann_dir" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    (folder / "splits").mkdir()
    for suffix, lines in lists.items():
        name = f"{split}.txt" if len(lists) == 1 else f"{split}{suffix}.txt"
        atomic_write_text(folder / "splits" / name, "".join(lines))
    classes = [each.name for each in dataset.categories]
    atomic_write_json(folder / "metainfo.json", {"classes": classes, "palette": colours})
