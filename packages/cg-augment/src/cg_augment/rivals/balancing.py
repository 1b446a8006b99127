"""Group-balanced sampling: with guessed groups (TAB), or with true ones (the oracle).

TAB, targeted augmentations for bias mitigation (arXiv 2409.17691): a helper is trained as the
student would be; what it finds hard, and when, is each sample's history of losses; in every class
the histories are put into two clusters, and the model is trained anew with all clusters at the same
size. No group label is read. What was at hand is the abstract and summaries: k-means with
k-means++ starts is our choice.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

CLUSTERS = 2  # of a class
STARTS = 10  # of k-means; the tightest is kept


def guessed_groups(
    history: NDArray[np.floating], targets: NDArray[np.integer], seed: int
) -> NDArray[np.int64]:
    """TAB's groups (n,), 0 to 2 * classes - 1: cluster 0 or 1 of each class.

    Args:
        history: losses (epochs, n) of the helper, finite.
        targets: (n,) classes.
        seed: of k-means.

    Raises:
        ValueError: no epoch, or a loss that is not finite.
    """
    if not len(history) or not np.isfinite(history).all():
        raise ValueError("the helper's history needs at least one whole epoch of finite losses")
    groups = np.zeros(len(targets), np.int64)
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        groups[members] = CLUSTERS * int(label) + _clusters(history[:, members].T, seed)
    return groups


def balanced(groups: Sequence[int] | NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Places of samples, every group as often as the largest one; whole copies first, then a draw.

    Args:
        groups: (n,) of each sample; empty groups have nothing to repeat and are left out.
        seed: of the draw.
    """
    labels = np.asarray(groups, np.int64)
    generator = np.random.default_rng(seed)
    each = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max(len(members) for members in each)
    chosen = []
    for members in each:
        copies, rest = divmod(largest, len(members))
        drawn = generator.choice(members, rest, replace=False)
        chosen.append(np.concatenate([np.tile(members, copies), drawn]))
    return np.sort(np.concatenate(chosen))


def _clusters(points: NDArray[np.floating], seed: int) -> NDArray[np.int64]:
    """0 for the lower mean loss, 1 for the higher one; all 0 where there is nothing to part."""
    values = np.asarray(points, np.float64)
    if len(np.unique(values, axis=0)) < CLUSTERS:
        return np.zeros(len(values), np.int64)
    best, labels = np.inf, np.zeros(len(values), np.int64)
    generator = np.random.default_rng(seed)
    for _ in range(STARTS):
        # SciPy warns of an emptied cluster and leaves it; such a start is passed over below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            centres, found = kmeans2(values, CLUSTERS, minit="++", rng=generator)
        spread = float(((values - centres[found]) ** 2).sum())
        if spread < best and len(np.unique(found)) == CLUSTERS:
            best, labels = spread, found.astype(np.int64)
    if labels.any() and values[labels == 0].mean() > values[labels == 1].mean():
        labels = 1 - labels
    return labels
