"""Objects that somebody could annotate: what a detector proposed on images, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Images and the objects proposed on them, in canonical order.

    Attributes:
        images: names of all images, those without a proposal too, sorted.
        classes: names of the target classes.
        image: (n,) place in `images` of each object.
        label: (n,) place in `classes`.
        score: (n,) confidence, 0 to 1.
        box: (n, 4) x, y, width, height in pixels.
        area: (n,) pixels to annotate: the mask's, or the box's.
        features: (m, d), any float type, may be a memory map; None where none were computed.
        row: (n,) row of `features` of each object; -1 for one without, which counts for cost and
            minima and is in no cluster.
        twin: (images,) equal numbers for images of equal content.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    image: Ints
    label: Ints
    score: Floats
    box: Floats
    area: Floats
    features: Any
    row: Ints
    twin: Ints

    def __len__(self) -> int:
        return len(self.image)

    @property
    def counts(self) -> Ints:
        """Objects of each class on each image, (images, classes)."""
        shape = len(self.images), len(self.classes)
        place = self.image * shape[1] + self.label
        return np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)

    def of_class(self, label: int) -> Ints:
        """Places of the objects of a class, ascending."""
        return np.flatnonzero(self.label == label)

    def described(self, label: int) -> Ints:
        """Places of the objects of a class that have features, ascending."""
        return np.flatnonzero((self.label == label) & (self.row >= 0))

    def above(self, threshold: float) -> Pool:
        """Without objects of a lower score; images stay."""
        return self.where(self.score >= threshold)

    def where(self, kept: NDArray[np.bool_]) -> Pool:
        """Without the objects that are not kept; images stay."""
        names = ("image", "label", "score", "box", "area", "row")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def make_pool(
    images: Sequence[str],
    classes: Sequence[str],
    image: Sequence[str] | Ints,
    label: Any,
    score: Any,
    box: Any,
    area: Any = None,
    features: Any = None,
    row: Any = None,
    content: Sequence[str] | None = None,
) -> Pool:
    """A pool in canonical order: the same for any order of images and objects.

    Args:
        images: names of all images.
        classes: names of the target classes, in order.
        image: the image of each object, by name, or as an array of places in `images`.
        label: the class of each object, by place.
        score, box, area: of each object, see `Pool`; the box's area by default.
        features: (m, d), see `Pool`.
        row: row of each object, -1 for one without features; 0 to n - 1 by default.
        content: what tells images apart, such as a hash of each file; their names by default.

    Raises:
        ValueError: names given twice, an object of an unknown image or class, columns of different
            lengths, or a feature that is not finite, each named.
    """
    n, order = len(image), sorted(range(len(images)), key=images.__getitem__)
    names = tuple(images[place] for place in order)
    if twice := [one for one, two in pairwise(names) if one == two]:
        raise ValueError(f"image {twice[0]!r} is listed twice")
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "iu":
        number = {name: index for index, name in enumerate(images)}
        if unknown := sorted({name for name in image if name not in number}):
            raise ValueError(f"an object lies on {unknown[0]!r}, which is no image of the pool")
        image = np.array([number[name] for name in image], np.int64)
    if n and not 0 <= image.min() <= image.max() < len(names):
        raise ValueError(f"an object lies on image {image.max()}; there are {len(names)}")
    boxes = np.asarray(box, np.float32).reshape(n, 4)
    columns: dict[str, Any] = {
        "image": place[image],
        "label": np.asarray(label, np.int64).reshape(n),
        "score": np.asarray(score, np.float32).reshape(n),
        "area": np.asarray(boxes[:, 2] * boxes[:, 3] if area is None else area, np.float32),
        "row": np.arange(n) if row is None else np.asarray(row, np.int64).reshape(n),
    }
    if n and not 0 <= columns["label"].min() <= columns["label"].max() < len(classes):
        raise ValueError(f"labels must be 0 to {len(classes) - 1}, the places of the classes")
    if features is not None and n and columns["row"].max() >= len(features):
        raise ValueError(f"{len(features)} rows of features for row {columns['row'].max()}")
    canonical = np.lexsort((*boxes.T[::-1], -columns["score"], columns["label"], columns["image"]))
    twin = np.arange(len(names))
    if content is not None:
        number = {each: index for index, each in enumerate(dict.fromkeys(sorted(content)))}
        twin = np.array([number[content[index]] for index in order], np.int64)
    return Pool(
        images=names,
        classes=tuple(classes),
        box=boxes[canonical],
        features=features,
        twin=twin,
        **{name: column[canonical] for name, column in columns.items()},
    )
