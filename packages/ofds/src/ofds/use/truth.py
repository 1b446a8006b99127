"""What somebody annotated, in the places of the pool: classes and images by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofds.use.coco import dataset_of
from ofds.use.dataset import Dataset, Objects
from ofds.use.formats.reading import on_pool, read_content
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Truth:
    """True objects on images of a pool.

    Attributes:
        objects: `image` and `label` are places in the pool's data set.
        labelled: (images,) which of its images somebody annotated, those without objects too.
    """

    objects: Objects
    labelled: NDArray[np.bool_]


def read_truth(path: str | Path, dataset: Dataset, repairs: Repairs) -> Truth:
    """Read annotations of some images of a data set.

    Args:
        path: COCO file, such as labels.json of `ofds ingest`; its classes are the data set's by
            name, under any ids.
        dataset: of the pool.
        repairs: books what is put right, and images that the pool has not.

    Raises:
        UserError: classes or sizes of images that disagree, each named; no image annotated.
    """
    content = read_content(path, "coco", repairs)
    if not isinstance(content.get("categories"), list):
        raise UserError(f"{path}: no COCO file with `categories`")
    labels = {str(each.get("name")) for each in content["categories"] if isinstance(each, dict)}
    if differ := sorted(labels ^ {each.name for each in dataset.categories}):
        owner = path if differ[0] in labels else dataset.path
        raise UserError(
            f"{dataset.path} and {path} list different classes: {differ[0]!r} is in {owner} alone"
        )
    own = dataset_of(on_pool(content, path, dataset, repairs), path, repairs)
    labelled = np.array([image.name in own.labelled for image in own.images], bool)
    if not labelled.any():
        raise UserError(f"{path}: no image of the pool is annotated")
    return Truth(own.objects.take(np.flatnonzero(labelled[own.objects.image])), labelled)
