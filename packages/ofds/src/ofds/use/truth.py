"""What somebody annotated, in the places of the pool: classes and images by their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofds.use.coco import read_dataset
from ofds.use.dataset import Dataset, Objects
from ofds.use.lists import Names
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
        path: COCO file; its classes are the data set's by name, under any ids.
        dataset: of the pool.
        repairs: books what is put right, and images that the pool has not.

    Raises:
        UserError: classes or sizes of images that disagree, each named; no image annotated.
    """
    own = read_dataset(path, repairs)
    classes = {each.name: place for place, each in enumerate(dataset.categories)}
    labels = [each.name for each in own.categories]
    if differ := sorted(classes.keys() ^ set(labels)):
        owner = path if differ[0] in labels else dataset.path
        raise UserError(
            f"{dataset.path} and {path} list different classes: {differ[0]!r} is in {owner} alone"
        )
    names = Names([image.name for image in dataset.images])
    place = np.full(len(own.images), -1, np.int64)
    for index, image in enumerate(own.images):
        place[index] = names.find(image.name, path)
        if place[index] < 0:
            repairs.add("annotated image that is not in the pool", repr(image.name))
            continue
        if place[index] in place[:index]:
            first = own.images[int(np.argmax(place == place[index]))].name
            raise UserError(f"{path}: {first!r} and {image.name!r} are one image of the pool")
        here = dataset.images[place[index]]
        if image.width and here.width and (image.width, image.height) != (here.width, here.height):
            raise UserError(
                f"{path}: {image.name!r} is {image.width} x {image.height}, in {dataset.path} "
                f"{here.width} x {here.height}: the boxes would not fit"
            )
    known = [i for i, each in enumerate(own.images) if each.name in own.labelled and place[i] >= 0]
    if not known:
        raise UserError(f"{path}: no image of the pool is annotated")
    labelled = np.zeros(len(dataset.images), bool)
    labelled[place[known]] = True
    there = np.zeros(len(own.images), bool)
    there[known] = True
    objects = own.objects.take(np.flatnonzero(there[own.objects.image]))
    label = np.array([classes[name] for name in labels], np.int64)
    return Truth(replace(objects, image=place[objects.image], label=label[objects.label]), labelled)
