"""k-means on object features that gives the same clusters on any number of threads.

Rows are taken in fixed tiles, each tile is one matrix product on one thread, and sums are added in
the order of the tiles: so neither the number of threads nor their timing reaches a result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import ThreadpoolController

TILE = 4096  # rows a product: with 256 features and 1,000 clusters it fits a second-level cache
SAMPLE = 256  # rows a cluster that seeds are chosen from
KEEP = 1 << 29  # bytes of rows that are kept in memory, as float32
BATCH = 64  # tiles whose sums may wait

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        centres: (k, d).
        label: (n,) nearest centre of each row.
        distance: (n,) squared distance to it.
    """

    centres: Rows
    label: Labels
    distance: Rows

    @property
    def inertia(self) -> float:
        """Sum of the squared distances."""
        return float(self.distance.sum(dtype=np.float64))


def kmeans(
    features: Any,
    rows: Labels,
    k: int,
    seed: int,
    iterations: int = 25,
    threads: int = 1,
    start: Rows | None = None,
) -> Clusters:
    """Lloyd's algorithm with k-means++ seeds.

    Args:
        features: (m, d), any float type; may be a memory map. Rows are read once if they fit into
            `KEEP` bytes, else a tile at a time.
        rows: (n,) which rows are clustered, ascending.
        k: clusters, at most n are made.
        seed: of the seeds.
        iterations: at most; fewer if no row changes its cluster.
        threads: that work on tiles; no result depends on it.
        start: (k, d) first centres, instead of seeds.

    Raises:
        ValueError: no row, or k below 1.
    """
    if len(rows) < 1 or k < 1:
        raise ValueError(f"{len(rows)} rows in {k} clusters")
    x = Kept.of(features, rows)
    centres = seeds(x, np.arange(len(rows)), min(k, len(rows)), seed) if start is None else start
    label = np.full(len(rows), -1, np.int64)
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        each: Callable[..., Any] = map  # over tiles, in their order
        if threads > 1 and len(rows) > TILE:
            each = stack.enter_context(ThreadPoolExecutor(threads)).map
        lloyd = Lloyd(x, label, len(centres), each)
        for _ in range(iterations):
            moved = lloyd.assign(centres)
            centres, whole = lloyd.means()
            if not moved and whole:
                return Clusters(centres, label, lloyd.distance())
            if not moved:
                break
        lloyd.assign(centres)
    return Clusters(centres, label, lloyd.distance())


def one_thread() -> AbstractContextManager[Any]:
    """Within it a matrix product runs on one thread, so that its sums have one order."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding them takes as long as a small clustering


def seeds(features: Any, rows: Labels, k: int, seed: int) -> Rows:
    """k-means++ (Arthur and Vassilvitskii 2007) on a sample of the rows, (k, d)."""
    generator = np.random.default_rng([seed, len(rows), k])
    some = rows
    if len(rows) > SAMPLE * k:
        some = rows[np.sort(generator.choice(len(rows), SAMPLE * k, replace=False))]
    x = np.asarray(features[some], np.float32)
    apart = np.empty((min(len(x), TILE // 4), x.shape[1]), np.float32)
    nearest = np.full(len(x), np.inf, np.float32)

    def closer(y: Rows) -> None:
        for start in range(0, len(x), len(apart)):  # few enough rows to stay in the cache
            part = x[start : start + len(apart)]
            difference = np.subtract(part, y, out=apart[: len(part)])
            own = nearest[start : start + len(apart)]
            np.minimum(own, np.einsum("nd,nd->n", difference, difference), out=own)

    chosen = [int(generator.integers(len(x)))]
    closer(x[chosen[0]])
    while len(chosen) < k:
        total = np.cumsum(nearest, dtype=np.float64)
        if total[-1] > 0:
            found = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
            chosen.append(min(found, len(x) - 1))
        else:  # fewer different rows than clusters: any row that is left
            chosen.append(int(np.setdiff1d(np.arange(len(x)), chosen)[0]))
        closer(x[chosen[-1]])
    return x[chosen]


class Kept:
    """Some rows of features as float32, in memory if they fit."""

    def __init__(self, features: Any, rows: Labels | None) -> None:
        self.features, self.rows = features, rows

    @classmethod
    def of(cls, features: Any, rows: Labels) -> Kept:
        """The rows; those of a plain array of float32 are not copied if all are wanted."""
        plain = type(features) is np.ndarray and features.dtype == np.float32
        if plain and np.array_equal(rows, np.arange(len(features))):
            return cls(features, None)
        found = cls(features, rows)
        width = features.shape[1]
        if 4 * width * len(rows) > KEEP:
            return found
        kept = np.empty((len(rows), width), np.float32)
        for part in tiles(len(rows)):
            kept[part] = found[part]
        return cls(kept, None)

    def __len__(self) -> int:
        return len(self.features if self.rows is None else self.rows)

    def __getitem__(self, part: Any) -> Rows:
        own = part if self.rows is None else self.rows[part]
        return np.asarray(self.features[own], np.float32)


class Lloyd:
    """The state of Lloyd's algorithm: labels, and the sum and the number of each centre's rows.

    Sums follow the rows that change their cluster, which soon are few.
    """

    def __init__(self, x: Kept, label: Labels, k: int, each: Callable[..., Any]) -> None:
        self.x, self.label, self.each = x, label, each
        self.score = np.zeros(len(x), np.float32)  # squared distance without the row's square
        self.square = np.full(len(x), np.nan, np.float32)
        self.counts, self.sums = np.zeros(k, np.int64), np.zeros((k, 0))
        self.scratch = threading.local()

    def assign(self, centres: Rows) -> int:
        """Take every row to its nearest centre; how many changed theirs."""
        bias = np.einsum("kd,kd->k", centres, centres)
        twice = np.ascontiguousarray(-2 * centres.T)

        def tile(part: slice) -> tuple[Labels, Labels]:
            x = self.x[part]
            scores = np.matmul(x, twice, out=self._buffer(len(bias))[: len(x)])
            scores += bias
            nearest = scores.argmin(axis=1)
            self.score[part] = np.take_along_axis(scores, nearest[:, None], axis=1)[:, 0]
            if np.isnan(self.square[part.start]):
                self.square[part] = np.einsum("nd,nd->n", x, x)
            changed = np.flatnonzero(self.label[part] != nearest) + part.start
            gone = self.label[changed]
            self.label[part] = nearest
            return changed, gone

        found = list(self.each(tile, tiles(len(self.x))))
        changed, gone = (np.concatenate(each) for each in zip(*found, strict=True))
        self._follow(changed, gone, centres.shape)
        return len(changed)

    def _follow(self, changed: Labels, gone: Labels, shape: tuple[int, ...]) -> None:
        """Book rows that left a centre for another."""
        if not self.sums.shape[1]:
            self.sums = np.zeros(shape)

        def part_of(part: slice) -> tuple[Labels, NDArray[np.float64], Labels]:
            rows = changed[part]
            return _moved(self.x[rows], self.label[rows], gone[part])

        parts = list(tiles(len(changed)))
        for first in range(0, len(parts), BATCH):  # so that few results wait for their turn
            for place, more, number in self.each(part_of, parts[first : first + BATCH]):
                self.sums[place] += more
                self.counts[place] += number

    def means(self) -> tuple[Rows, bool]:
        """New centres, and whether each has a row; else it takes the one farthest from its own."""
        means = (self.sums / np.maximum(self.counts, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(self.counts == 0)
        if len(empty):
            far = np.argsort(-self.distance(), kind="stable")[: len(empty)]
            means[empty] = self.x[far]
        return means, not len(empty)

    def distance(self) -> Rows:
        """(n,) squared distance of each row to the centre it was taken to."""
        return np.maximum(self.score + self.square, 0)

    def _buffer(self, k: int) -> Rows:
        if not hasattr(self.scratch, "scores"):
            self.scratch.scores = np.empty((min(TILE, len(self.x)), k), np.float32)
        found: Rows = self.scratch.scores
        return found


def _moved(x: Rows, to: Labels, gone: Labels) -> tuple[Labels, NDArray[np.float64], Labels]:
    """Centres whose rows changed, and by how much their sums and numbers did."""
    left = np.flatnonzero(gone >= 0)
    place = np.concatenate([to, gone[left]])
    order = np.argsort(place, kind="stable")
    place, row = place[order], np.concatenate([np.arange(len(to)), left])[order]
    sign = np.where(order < len(to), 1.0, -1.0)
    first = np.append(0, np.flatnonzero(np.diff(place)) + 1)
    shape = len(first), len(to)
    matrix = csr_array((sign, row, np.append(first, len(place))), shape=shape)
    sums: NDArray[np.float64] = matrix @ x.astype(np.float64)
    return place[first], sums, np.add.reduceat(sign, first).astype(np.int64)


def tiles(count: int) -> Iterator[slice]:
    """Rows that are taken together, in their order."""
    return (slice(start, min(start + TILE, count)) for start in range(0, count, TILE))
