"""Images, classes and objects of a COCO file, with ids and names as they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Ints

Id = int | str
Entry = dict[str, Any]


@dataclass(frozen=True)
class Category:
    """A class: its id as it came, its name, and the whole entry of the file."""

    id: Id
    name: str
    entry: Entry


@dataclass(frozen=True)
class Image:
    """An image: its id and name as they came, its size (0: not known), and the whole entry."""

    id: Id
    name: str
    width: int
    height: int
    entry: Entry


@dataclass(frozen=True)
class Objects:
    """Annotations or proposals as columns; what had to be left out is not among them.

    Attributes:
        image: (n,) place in `Dataset.images`.
        label: (n,) place in `Dataset.categories`.
        score: (n,) 0 to 1; 1 for an annotation.
        box: (n, 4) x, y, width, height in pixels, inside the image where its size is known.
        area: (n,) pixels of the mask, or of the box where there is none.
        crowd: (n,) a region of many objects, which is no object itself.
        row: (n,) place in the file, from 0: the row of its features.
        id: (n,) ids of annotations, each once; () for proposals.
        entries: (n,) the whole entries.
    """

    image: Ints
    label: Ints
    score: NDArray[np.float64]
    box: NDArray[np.float64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    row: Ints
    id: tuple[Id, ...]
    entries: Sequence[Entry]

    def __len__(self) -> int:
        return len(self.image)

    def take(self, places: Ints) -> Objects:
        """Some of them, in this order."""
        names = ("image", "label", "score", "box", "area", "crowd", "row")
        return replace(
            self,
            **{name: getattr(self, name)[places] for name in names},
            id=tuple(self.id[each] for each in places) if self.id else (),
            entries=tuple(self.entries[each] for each in places),
        )


@dataclass(frozen=True)
class Dataset:
    """A COCO file.

    Attributes:
        images: all images, those without annotations too, in the order of the file.
        categories: all classes, by ascending id.
        objects: the annotations.
        labelled: names of the images that somebody annotated, those without objects too. In a file
            with annotations these are all images, in one without none; an image's own entry
            `"labelled": true` or `false` counts more.
    """

    path: Path
    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    objects: Objects
    labelled: frozenset[str]


def key_of(value: Any) -> str:
    """An id as text: 3, "3" and 3.0 are the same; "" for what can be no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
