"""k-means on object features that gives the same clusters on any number of threads.

Rows are taken in fixed tiles, each tile is one matrix product on one thread, and sums are added in
the order of the tiles: so neither the number of threads nor their timing reaches a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

TILE = 4096  # rows a product: with 256 features and 1,000 clusters it fits a second-level cache
SAMPLE = 256  # rows a cluster that seeds are chosen from

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
    features: Any, rows: Labels, k: int, seed: int, iterations: int = 25, threads: int = 1
) -> Clusters:
    """Lloyd's algorithm with k-means++ seeds.

    Args:
        features: (m, d), any float type; may be a memory map, of which a tile is read at a time.
        rows: (n,) which rows are clustered, ascending.
        k: clusters, at most n are made.
        seed: of the seeds.
        iterations: at most; fewer if no row changes its cluster.
        threads: that work on tiles; no result depends on it.

    Raises:
        ValueError: no row, or k below 1.
    """
    if len(rows) < 1 or k < 1:
        raise ValueError(f"{len(rows)} rows in {k} clusters")
    k = min(k, len(rows))
    centres = seeds(features, rows, k, seed)
    label = np.full(len(rows), -1, np.int64)
    distance = np.zeros(len(rows), np.float32)
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        each: Callable[..., Any] = map  # over tiles, in their order
        if threads > 1 and len(rows) > TILE:
            each = stack.enter_context(ThreadPoolExecutor(threads)).map
        for _ in range(iterations):
            before = label.copy()
            sums, counts = _pass(features, rows, centres, label, distance, each)
            centres = _means(features, rows, centres, sums, counts, distance)
            if np.array_equal(label, before):
                break
        _pass(features, rows, centres, label, distance, each)
    return Clusters(centres, label, distance)


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
    x = _read(features, some)
    chosen = [int(generator.integers(len(x)))]
    nearest = _squared(x, x[chosen[0]])
    while len(chosen) < k:
        total = np.cumsum(nearest, dtype=np.float64)
        if total[-1] > 0:
            found = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
            chosen.append(min(found, len(x) - 1))
        else:  # fewer different rows than clusters: any row that is left
            chosen.append(int(np.setdiff1d(np.arange(len(x)), chosen)[0]))
        nearest = np.minimum(nearest, _squared(x, x[chosen[-1]]))
    return x[chosen]


def _squared(x: Rows, y: Rows) -> Rows:
    difference = x - y
    return np.einsum("nd,nd->n", difference, difference)


def _read(features: Any, rows: Labels) -> Rows:
    return np.asarray(features[rows], np.float32)


def _pass(
    features: Any,
    rows: Labels,
    centres: Rows,
    label: Labels,
    distance: Rows,
    each: Callable[..., Any],
) -> tuple[NDArray[np.float64], Labels]:
    """Nearest centres of all rows, in place, and the sum and the number of each centre's rows."""
    bias = np.einsum("kd,kd->k", centres, centres)
    twice = np.ascontiguousarray(-2 * centres.T)

    def tile(part: slice) -> tuple[NDArray[np.float64], Labels]:
        x = _read(features, rows[part])
        scores = x @ twice
        scores += bias
        nearest = scores.argmin(axis=1)
        label[part] = nearest
        found = scores[np.arange(len(x)), nearest] + np.einsum("nd,nd->n", x, x)
        distance[part] = np.maximum(found, 0)
        order = np.argsort(nearest, kind="stable")
        present, first = np.unique(nearest[order], return_index=True)
        sums = np.zeros(centres.shape, np.float64)
        sums[present] = np.add.reduceat(x[order], first, axis=0, dtype=np.float64)
        return sums, np.bincount(nearest, minlength=len(centres))

    sums, counts = np.zeros(centres.shape, np.float64), np.zeros(len(centres), np.int64)
    for more, number in each(tile, _tiles(len(rows))):
        sums += more
        counts += number
    return sums, counts


def _tiles(count: int) -> Iterator[slice]:
    return (slice(start, min(start + TILE, count)) for start in range(0, count, TILE))


def _means(
    features: Any,
    rows: Labels,
    centres: Rows,
    sums: NDArray[np.float64],
    counts: Labels,
    distance: Rows,
) -> Rows:
    """New centres; an empty cluster takes the row that is farthest from its centre."""
    means = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        far = np.argsort(-distance, kind="stable")[: len(empty)]
        means[empty] = _read(features, rows[far])
    return means
