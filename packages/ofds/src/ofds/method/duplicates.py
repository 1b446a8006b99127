"""Images that are nearly the same: never two of them while another candidate is there, and never
two that are equal.

Cosine of one vector an image, against a threshold. Only chosen images are compared with, so that a
long video, in which each frame is like the next, does not count as one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ofds.method.clustering import one_thread
from ofds.method.objects import Ints, Pool

TILE = 4096  # images compared at a time


def image_vectors(pool: Pool) -> NDArray[np.float16]:
    """The mean of the features of each image's objects, at length 1, (images, d); 0 for none."""
    found = np.zeros((len(pool.images), pool.features.shape[1]), np.float16)
    cuts = np.searchsorted(pool.image, np.arange(len(pool.images) + 1))
    for start in range(0, len(found), TILE):
        stop = min(start + TILE, len(found))
        own = slice(int(cuts[start]), int(cuts[stop]))
        row, image = pool.row[own], pool.image[own] - start
        sums = np.zeros((stop - start, found.shape[1]), np.float32)
        np.add.at(sums, image[row >= 0], np.asarray(pool.features[row[row >= 0]], np.float32))
        found[start:stop] = unit(sums)
    return found


def unit(x: NDArray[Any]) -> NDArray[np.float32]:
    """Rows at length 1; a row of zeros stays one."""
    x = np.asarray(x, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
    return np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)


class Duplicates:
    """Which images repeat one that was chosen.

    Args:
        twin: (images,) equal numbers for images of equal content.
        vectors: (images, d) at length 1, or None where contents alone count.
        alike: the least cosine of images that are nearly the same.
    """

    def __init__(self, twin: Ints, vectors: NDArray[Any] | None = None, alike: float = 1.0) -> None:
        self.twin, self.vectors, self.alike = twin, vectors, alike
        self.twins = np.zeros(int(twin.max(initial=-1)) + 1, bool)
        self.chosen = list[int]()
        self.compared = np.zeros(len(twin), np.int64)  # with so many of the chosen ones
        self.near = np.zeros(len(twin), bool)

    def add(self, image: int) -> None:
        """An image that is chosen."""
        self.twins[self.twin[image]] = True
        self.chosen.append(image)

    def copies(self, images: Ints) -> NDArray[np.bool_]:
        """Which of these are equal to one that is chosen."""
        found: NDArray[np.bool_] = self.twins[self.twin[images]]
        return found

    def repeats(self, images: Ints) -> NDArray[np.bool_]:
        """Which of these repeat one that is chosen."""
        exact = self.copies(images)
        if self.vectors is None:
            return exact
        behind = np.unique(images[self.compared[images] < len(self.chosen)])
        if len(behind):
            # Each image is compared with each chosen one once, when it becomes a candidate.
            against = self.chosen[int(self.compared[behind].min()) :]
            self.near[behind] |= _highest(self.vectors, behind, against)[0] >= self.alike
            self.compared[behind] = len(self.chosen)
        return np.asarray(exact | self.near[images])


def _highest(
    vectors: NDArray[Any], images: Ints, against: Sequence[int]
) -> tuple[NDArray[np.float32], Ints]:
    """The highest cosine of each image with one of the others, and which that is."""
    best = np.full(len(images), -np.inf, np.float32)
    which = np.full(len(images), -1, np.int64)
    with one_thread():
        for low in range(0, len(against), TILE):
            other = np.asarray(against[low : low + TILE], np.int64)
            y = np.asarray(vectors[other], np.float32).T
            for start in range(0, len(images), TILE):
                part = slice(start, start + TILE)
                cosine = np.asarray(vectors[images[part]], np.float32) @ y
                place = cosine.argmax(axis=1)
                top = cosine[np.arange(len(place)), place]
                higher = top > best[part]
                best[part] = np.where(higher, top, best[part])
                which[part] = np.where(higher, other[place], which[part])
    return best, which


def skipped(
    twin: Ints, vectors: NDArray[Any] | None, alike: float, chosen: Sequence[int], free: Ints
) -> list[tuple[int, int, float]]:
    """Images that repeat a chosen one: the image, the chosen one, and their cosine (1 for equal
    content), in order of the images.

    Args:
        twin, vectors, alike: as of `Duplicates`.
        chosen: images that are chosen or annotated.
        free: images that are neither.
    """
    first = dict[int, int]()
    for image in chosen:
        first.setdefault(int(twin[image]), image)
    found = {int(i): (first[int(twin[i])], 1.0) for i in free if int(twin[i]) in first}
    if vectors is not None and len(chosen):
        best, which = _highest(vectors, free, chosen)
        for place in np.flatnonzero(best >= alike):
            found.setdefault(int(free[place]), (int(which[place]), float(best[place])))
    return [(image, *found[image]) for image in sorted(found)]


def components(keys: Sequence[Ints], vectors: NDArray[Any] | None, alike: float) -> Ints:
    """Numbers of what must stay together: equal for images that share a key or are nearly the same,
    directly or through others; (images,), the first image of each comes in order.

    Args:
        keys: each (images,); images of one number of 0 or more belong together.
        vectors, alike: as of `Duplicates`.
    """
    n = len(keys[0])
    label = np.arange(n)
    for key in keys:
        own = np.flatnonzero(key >= 0)
        first = np.unique(key[own], return_index=True, return_inverse=True)
        label = _joined(label, own, own[first[1]][first[2]])
    if vectors is not None:
        with one_thread():
            for start in range(0, n, TILE):
                x = np.asarray(vectors[start : start + TILE], np.float32)
                for other in range(start, n, TILE):
                    y = np.asarray(vectors[other : other + TILE], np.float32)
                    one, two = np.nonzero(x @ y.T >= alike)
                    label = _joined(label, one + start, two + other)
    return np.unique(label, return_inverse=True)[1]


def _joined(label: Ints, one: Ints, two: Ints) -> Ints:
    """Labels after these pairs of images have been joined; the smallest place is the label."""
    a, b = label[one], label[two]
    apart = a != b
    if not apart.any():
        return label
    n = len(label)
    edges = coo_array((np.ones(apart.sum(), bool), (a[apart], b[apart])), shape=(n, n))
    group = connected_components(edges, directed=False)[1]
    smallest = np.full(n, n)
    np.minimum.at(smallest, group, np.arange(n))
    found: Ints = smallest[group][label]
    return found
