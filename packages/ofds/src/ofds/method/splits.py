"""Parts of a data set that share nothing which belongs together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Ints


def split(together: Ints, names: Sequence[str], shares: Sequence[float], seed: int) -> Ints:
    """The part of each image, (images,).

    The largest group goes first, and each to the part that is most behind its share; groups of one
    size go in an order by hash, so that neither the order of the input nor the names' matters. Each
    part ends within one group's size of its share.

    Args:
        together: (images,) equal numbers for images that must be in one part.
        names: of the images.
        shares: of the parts; they add up to 1.
        seed: of the order.
    """
    groups, place = np.unique(together, return_inverse=True)
    sizes = np.bincount(place, minlength=len(groups))
    first = [""] * len(groups)
    for name, group in sorted(zip(names, place.tolist(), strict=True), reverse=True):
        first[group] = name
    hashes = [hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in first]
    order = sorted(range(len(groups)), key=lambda group: (-sizes[group], hashes[group]))
    part, have = np.zeros(len(groups), np.int64), np.zeros(len(shares))
    wanted: NDArray[np.float64] = np.array(shares) * len(names)
    for group in order:
        part[group] = int((wanted - have).argmax())
        have[part[group]] += sizes[group]
    found: Ints = part[place]
    return found
