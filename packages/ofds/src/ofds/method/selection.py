"""Object-focused selection: whole images, chosen for objects, every class served (2412.10032).

The paper's abstract says what: features of objects, all target classes covered, one pass before any
training. How is ours: objects are clustered within each predicted class; classes take turns, so
that each prefix keeps to their shares; a turn goes to the cluster that has most objects for each
one on images chosen before, and there to an image near its centre that covers much for its cost.
When all clusters of a class had their turn and its share is not used up, its objects are clustered
finer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ofds.method.clustering import kmeans
from ofds.method.objects import Ints, Pool
from ofds.method.quotas import Turns, quotas
from ofds.method.room import NO_LIMITS, Limits, Room

FINER = 1.6  # how many times more clusters when all are covered
NEAR = 16  # objects nearest to a centre from which a representative is taken
ITERATIONS = 25
NOTHING = 1e-9  # of the budget, for a class whose images cost nothing


@dataclass(frozen=True)
class Settings:
    """How images are selected.

    Attributes:
        seed: of the clustering.
        credit: what objects on images that were chosen for something else are worth. `shared`: as
            in d'Hondt's rule for seats, a cluster with `n` of them has a claim of its size divided
            by `n + 1`. `any`: a cluster with one of them is covered, and has no turn. `none`.
        cost_aware: among the objects nearest to a centre, the image counts that covers most for its
            cost; else the nearest object's.
        rarest_first: the rarest predicted class has the first turn; else the first class listed.
        threads: for clustering; no result depends on it.
    """

    seed: int = 0
    credit: Literal["shared", "any", "none"] = "shared"
    cost_aware: bool = True
    rarest_first: bool = True
    threads: int = 1


@dataclass(frozen=True)
class Choice:
    """An image that was chosen, and why.

    Attributes:
        image: its place in the pool.
        label: the class whose turn it was, -1 for an image that was required.
        cluster: the cluster of that class, numbered within its `level`.
        level: how often that class had been clustered.
        object: the object that represents the cluster, by its place in the pool; -1 for none.
        covers: (class, cluster) that the image covers first, its own included.
        cost: of the image.
    """

    image: int
    label: int
    cluster: int
    level: int
    object: int
    covers: tuple[tuple[int, int], ...]
    cost: float


@dataclass
class _Class:
    """The clusters of a class as they are now."""

    objects: Ints
    images: Ints  # that they are on, each once
    level: int = 0
    closed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # no turn is left
    have: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # objects on chosen images
    order: list[Ints] = field(default_factory=list)  # objects of each cluster, nearest first
    sizes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


def select(
    pool: Pool,
    costs: NDArray[np.float64],
    amount: float,
    settings: Settings = Settings(),
    required: Sequence[int] = (),
    annotated: Sequence[int] = (),
    excluded: Sequence[int] = (),
    limit: float | None = None,
    limits: Limits = NO_LIMITS,
) -> list[Choice]:
    """Images to annotate, in order; any prefix is a selection for a smaller budget.

    Args:
        pool: with features.
        costs: (images,) of annotating each image.
        amount: the budget, never exceeded.
        settings: how.
        required: images, by place, that are chosen whatever happens; their cost is kept free.
        annotated: images that have labels already: they cover clusters and cost nothing.
        excluded: images that are never chosen.
        limit: where to stop, if not at the budget: with infinity all images that have a use are put
            in order, for who spends by true cost.
        limits: caps of groups, shares of values, and images that are nearly the same.

    Returns:
        Choices in order, required images where a class has use for them, or else at the end.

    Raises:
        ValueError: no features, or required images that the budget or a group's cap has no room
            for.
    """
    left = amount if limit is None else limit
    room = Room(pool, costs, amount, left, required, annotated, excluded, limits)
    return list(Selector(pool, costs, amount, settings, room))


class Selector:
    """`select`, one image at a time."""

    def __init__(
        self, pool: Pool, costs: NDArray[np.float64], amount: float, settings: Settings, room: Room
    ) -> None:
        if pool.features is None:
            raise ValueError("selection by objects needs their features")
        self.pool, self.costs, self.settings, self.room = pool, costs, settings, room
        places = [pool.described(c) for c in range(len(pool.classes))]
        self.classes = [_Class(each, np.unique(pool.image[each])) for each in places]
        self.by_image = np.append(
            np.searchsorted(pool.image, np.arange(len(pool.images))), len(pool)
        )
        self.number = np.full(len(pool), -1, np.int32)  # cluster of each object, within its class
        sizes = np.array([len(each.objects) for each in self.classes])
        rarity = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
        available = np.array([room.available(each.images) for each in self.classes])
        there = np.array([room.allowed(each.images).any() for each in self.classes], bool)
        # Images that cost nothing have their turn, too.
        available[there & (available <= 0)] = NOTHING
        self.quota = quotas(amount, available)
        listed = np.arange(len(sizes))
        self.turns = Turns(self.quota, rarity if settings.rarest_first else listed)
        self.typical = float(costs[costs > 0].mean()) if costs.any() else 0.0

    def __iter__(self) -> Iterator[Choice]:
        for each in np.flatnonzero(self.turns.active):
            self._finer(int(each))  # so that the first image is credited with all that it covers
        while (label := self.turns.next(self.typical)) >= 0:
            choice = self._serve(label)
            if choice is None:
                self.turns.retire(label)
            else:
                yield choice
        for image in self.room.required:
            if not self.room.done[image]:
                yield self._choose(image, -1, -1, -1)

    def _serve(self, label: int) -> Choice | None:
        """The next image for a class; None if it has nothing left that fits."""
        each = self.classes[label]
        while True:
            claim = each.sizes * self._worth(each.have)
            order = np.argsort(-claim, kind="stable")
            open_ = order[~each.closed[order] & (claim[order] > 0)]
            for value in self.room.wanted(self.typical) if len(open_) else ():
                if value is not None and not self.room.allowed(each.images, value).any():
                    continue
                # For the sake of a value's share a cluster has another turn.
                again = order[each.closed[order]] if value is not None else order[:0]
                for cluster in np.concatenate([open_, again]):
                    found = self._representative(label, int(cluster), value)
                    if found >= 0:
                        return self._choose(int(self.pool.image[found]), label, int(cluster), found)
                    each.closed[cluster] |= value is None
            if not self._finer(label):
                return None

    def _finer(self, label: int) -> bool:
        """Cluster a class anew, into more clusters; False if there is nothing left to choose."""
        each, pool = self.classes[label], self.pool
        if not self.room.allowed(each.images).any() or len(each.sizes) == len(each.objects):
            return False
        k = math.ceil(len(each.sizes) * FINER)
        if not each.level:
            typical = float(self.costs[each.images].mean())
            k = max(1, math.ceil(self.quota[label] / typical)) if typical else 1
        k, seed = min(k, len(each.objects)), [self.settings.seed, label, each.level]
        # Objects are in canonical order; their rows of features need not be.
        found = kmeans(
            _Ordered(pool.features, pool.row[each.objects]),
            np.arange(len(each.objects)),
            k,
            int(np.random.default_rng(seed).integers(2**31)),
            ITERATIONS,
            self.settings.threads,
        )
        each.level += 1
        k = len(found.centres)
        self.number[each.objects] = found.label
        each.sizes = np.bincount(found.label, minlength=k)
        near = np.lexsort((found.distance, found.label))
        each.order = np.split(each.objects[near], np.cumsum(each.sizes)[:-1])
        each.closed = each.sizes == 0
        have = found.label[self.room.taken[pool.image[each.objects]]]
        each.have = np.bincount(have, minlength=k)
        return True

    def _worth(self, have: Ints) -> NDArray[np.float64]:
        """What an object is worth of which cluster so many are on chosen images, 0 to 1."""
        match self.settings.credit:
            case "shared":
                return 1 / (1 + have)
            case "any":
                return (have == 0).astype(np.float64)
        return np.ones(len(have))

    def _representative(self, label: int, cluster: int, value: int | None) -> int:
        """An object of a cluster, near its centre, on the image that is worth most; -1 for none."""
        objects, room = self.classes[label].order[cluster], self.room
        objects = objects[room.allowed(self.pool.image[objects], value)]
        if not len(objects):
            return -1
        images = self.pool.image[objects]
        fresh = room.fresh(images)
        if fresh.any():
            objects, images = objects[fresh], images[fresh]
        promised = objects[room.reserved[images]]
        if len(promised):
            return int(promised[0])
        if not self.settings.cost_aware:
            return int(objects[0])
        found = [self._value(int(image)) for image in images[:NEAR]]
        return int(objects[int(np.argmax(found))])  # the nearest of equals

    def _value(self, image: int) -> float:
        """Of what an image covers in clusters whose turn is to come, for its cost."""
        open_ = [(c, k) for c, k in self._clusters(image) if not self.classes[c].closed[k]]
        have = np.array([self.classes[c].have[k] for c, k in open_], np.int64)
        return float(self._worth(have).sum()) / max(float(self.costs[image]), 1e-9)

    def _clusters(self, image: int) -> dict[tuple[int, int], int]:
        """The (class, cluster) of an image's objects, and how many of them each has."""
        found = dict[tuple[int, int], int]()
        for place in range(self.by_image[image], self.by_image[image + 1]):
            pair = int(self.pool.label[place]), int(self.number[place])
            if pair[1] >= 0:
                found[pair] = found.get(pair, 0) + 1
        return found

    def _choose(self, image: int, label: int, cluster: int, found: int = -1) -> Choice:
        cost, covers = float(self.costs[image]), list[tuple[int, int]]()
        for (other, number), count in self._clusters(image).items():
            if not self.classes[other].have[number] or (other, number) == (label, cluster):
                covers.append((other, number))
            self.classes[other].have[number] += count
        if label >= 0:
            self.turns.charge(label, cost)
            self.classes[label].closed[cluster] = True
        self.room.take(image)
        level = self.classes[label].level if label >= 0 else 0
        return Choice(image, label, cluster, level, found, tuple(covers), cost)


class _Ordered:
    """Rows of features in another order, read when asked for."""

    def __init__(self, features: Any, row: Ints) -> None:
        self.features, self.row = features, row
        self.shape = len(row), features.shape[1]

    def __getitem__(self, places: Ints) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.features[self.row[places]]
        return found
