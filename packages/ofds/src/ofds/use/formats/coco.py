"""COCO: everything is kept, ids and names as they came."""

from __future__ import annotations

import math
from typing import Any

from ofds.use.dataset import Dataset, Entry
from ofds.use.formats.common import by_image


def content(dataset: Dataset) -> dict[str, Any]:
    """What a COCO file of a data set holds.

    All classes are listed, also those without an annotation, and all images, each with whether it
    is `labelled`: an image without objects that somebody looked at is not one that nobody did.
    Annotations keep all their keys (`score`, `source`, `attributes`, ...); polygons and run lengths
    stay what they are, and run lengths in bytes become text; NaN and infinity become null.
    """
    images = []
    for image in dataset.images:
        entry = {**image.entry, "id": image.id, "file_name": image.name}
        if image.width:
            entry |= {"width": image.width, "height": image.height}
        images.append(_finite({**entry, "labelled": image.name in dataset.labelled}))
    classes = [_finite({**c.entry, "id": c.id, "name": c.name}) for c in dataset.categories]
    notes = [_finite(entry) for own in by_image(dataset) for _, entry in own]
    return {"images": images, "categories": classes, "annotations": notes}


def _finite(entry: Entry) -> Entry:
    """Without numbers that JSON has not, which become nothing."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of(each) for key, each in value.items()}
        if isinstance(value, list):
            return [of(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: of(each) for key, each in entry.items()}
