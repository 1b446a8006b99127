"""Which images may be chosen next: budget, required images, groups, shares, near duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.duplicates import Duplicates
from ofds.method.objects import Ints, Pool
from ofds.method.quotas import Turns

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """What a selection keeps to besides the budget.

    Attributes:
        group: (images,) number of each image's group, such as its video or patient; -1 for none.
        cap: most images of a group, those annotated already included.
        value: (images,) place in `share` of each image's value, such as its time of day.
        share: of the cost that is spent on images of each value; together 1.
        vectors: (images, d) at length 1, by which images are compared.
        alike: the least cosine of images that are nearly the same.
    """

    group: Ints | None = None
    cap: int = 0
    value: Ints | None = None
    share: tuple[float, ...] = ()
    vectors: NDArray[Any] | None = None
    alike: float = 1.0

    def capped(self) -> list[Ints]:
        """The images of every group that has more of them than may be chosen."""
        if self.group is None:
            return []
        order = np.argsort(self.group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.group[order])) + 1)
        return [part for part in parts if len(part) > self.cap and self.group[part[0]] >= 0]


NO_LIMITS = Limits()


class Room:
    """What is left to choose from.

    Args:
        pool, costs, limits: see `select`.
        amount: the budget, of which required images are paid.
        left: what may be spent in all; more than `amount` where true costs decide later.
        required, annotated, excluded: images by place, see `select`.

    Raises:
        ValueError: required images that the budget cannot pay, or of which a group has too many.
    """

    def __init__(
        self,
        pool: Pool,
        costs: NDArray[np.float64],
        amount: float,
        left: float,
        required: Sequence[int] = (),
        annotated: Sequence[int] = (),
        excluded: Sequence[int] = (),
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.costs, self.left, self.limits = costs, left, limits
        count = len(pool.images)
        self.required = list(dict.fromkeys(required))
        self.reserved = np.zeros(count, bool)  # required, and not chosen yet
        self.reserved[self.required] = True
        self.owed = float(costs[self.required].sum())
        if self.owed > amount + 1e-9:
            raise ValueError(f"required images cost {self.owed:g}, the budget is {amount:g}")
        self.done = np.zeros(count, bool)  # chosen, annotated or excluded
        self.done[[*annotated, *excluded]] = True
        self.taken = np.zeros(count, bool)  # chosen or annotated: it covers
        self.duplicates = Duplicates(pool.twin, limits.vectors, limits.alike)
        groups = 0 if limits.group is None else int(limits.group.max(initial=-1)) + 1
        self.members = np.zeros(groups + 1, np.int64)  # taken or reserved; the last is for none
        for image in annotated:
            self._mark(image)
        for image in self.required:
            self.members[self._group(image)] += 1
        for image in self.required:
            if self._group(image) >= 0 and self.members[self._group(image)] > limits.cap:
                name = pool.images[image]
                raise ValueError(f"{name!r} is required, and its group has more than {limits.cap}")
        self.values: Turns | None = None
        if limits.value is not None:
            self.values = Turns(np.array(limits.share), np.arange(len(limits.share)))

    def allowed(self, images: Ints, value: int | None = None) -> Flags:
        """Which of these may be chosen now; of one value alone, if one is given."""
        # What is required stays payable, and finds a place in its group.
        spare = self.left - np.where(self.reserved[images], 0.0, self.owed) + 1e-9
        fits = ~self.done[images] & (self.costs[images] <= spare)
        # A copy of a chosen image tells nothing new; one that merely looks like it may.
        fits &= ~self.duplicates.copies(images) | self.reserved[images]
        if self.limits.group is not None:
            group = self.limits.group[images]
            full = self.members[group] >= self.limits.cap
            fits &= (group < 0) | ~full | self.reserved[images]
        if value is not None and self.limits.value is not None:
            fits &= self.limits.value[images] == value
        return np.asarray(fits)

    def fresh(self, images: Ints) -> Flags:
        """Which of these do not repeat an image that is chosen or annotated."""
        return ~self.duplicates.repeats(images)

    def wanted(self, cost: float) -> Iterator[int | None]:
        """Values of images to look for, the one most behind its share first; then any."""
        if self.values is not None:
            yield from self.values.order(cost)
        yield None

    def available(self, images: Ints) -> float:
        """Most that can be spent on these."""
        images = images[~self.done[images]]
        if self.limits.group is None:
            return float(self.costs[images].sum())
        group = self.limits.group[images]
        order = np.lexsort((-self.costs[images], group))
        group = group[order]
        rank = np.arange(len(group)) - np.searchsorted(group, group)
        kept = (group < 0) | (rank < self.limits.cap)
        return float(self.costs[images[order]][kept].sum())

    def take(self, image: int) -> None:
        """An image that is chosen."""
        self.done[image] = True
        if self.reserved[image]:
            self.reserved[image] = False
            self.owed -= float(self.costs[image])
            self.members[self._group(image)] -= 1  # it had a place
        self._mark(image)
        self.left -= float(self.costs[image])
        if self.values is not None and self.limits.value is not None:
            self.values.charge(int(self.limits.value[image]), float(self.costs[image]))

    def _group(self, image: int) -> int:
        return -1 if self.limits.group is None else int(self.limits.group[image])

    def _mark(self, image: int) -> None:
        self.taken[image] = True
        self.members[self._group(image)] += 1
        self.duplicates.add(image)
