"""COCO: everything is kept, ids and names as they came."""

from __future__ import annotations

from typing import Any

from ofds.use.dataset import Dataset
from ofds.use.formats.common import by_image


def content(dataset: Dataset) -> dict[str, Any]:
    """What a COCO file of a data set holds.

    All classes are listed, also those without an annotation, and all images, each with whether it
    is `labelled`: an image without objects that somebody looked at is not one that nobody did.
    Annotations keep all their keys (`score`, `source`, `attributes`, ...); polygons and run lengths
    stay what they are, and run lengths in bytes become text.
    """
    images = []
    for image in dataset.images:
        entry = {**image.entry, "id": image.id, "file_name": image.name}
        if image.width:
            entry |= {"width": image.width, "height": image.height}
        images.append({**entry, "labelled": image.name in dataset.labelled})
    return {
        "images": images,
        "categories": [{**c.entry, "id": c.id, "name": c.name} for c in dataset.categories],
        "annotations": [entry for own in by_image(dataset) for _, entry in own],
    }
