"""Selectors on one feature vector an image, as they are published; none knows objects or classes.

Every function takes features (n, d) and returns images, by place, in the order in which they should
be annotated. `count` is the number that the method plans for; more are given where it has an order
for them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofds.method.clustering import kmeans

Features = NDArray[np.float32]
NEIGHBOURS = 20  # of TypiClust
PURITY = 0.95  # of ProbCover
CENTRES = 5  # patterns an image, of FreeSel


def distances(x: Features, y: Features) -> Features:
    """Euclidean, (n, m) of (n, d) and (m, d)."""
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.sqrt(np.maximum(squares, 0))


def prototypes(features: Features, count: int, seed: int) -> list[int]:
    """The image nearest to each of `count` k-means centres, largest cluster first; then the next
    nearest of each (Sorscher et al. 2022, arXiv 2206.14486, without labels)."""
    found = kmeans(features, np.arange(len(features)), count, seed)
    sizes = np.bincount(found.label, minlength=len(found.centres))
    within = np.lexsort((found.distance, found.label))
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(features), np.int64)
    rank[within] = np.arange(len(features)) - starts[found.label[within]]
    return np.lexsort((found.label, -sizes[found.label], rank)).tolist()


def k_centre(features: Features, count: int, seed: int) -> list[int]:
    """Greedy k-centre (Sener and Savarese 2018, arXiv 1708.00489).

    The first image is random and is selected, too; no matrix of n times count exists.
    """
    first = int(np.random.default_rng([seed, 2]).integers(len(features)))
    chosen, nearest = [first], distances(features, features[first : first + 1])[:, 0]
    while len(chosen) < min(count, len(features)):
        nearest[chosen[-1]] = -1
        chosen.append(int(nearest.argmax()))
        last = features[chosen[-1]][None]
        nearest = np.minimum(nearest, distances(features, last)[:, 0])
    return chosen


def typiclust(features: Features, count: int, seed: int) -> list[int]:
    """TypiClust (Hacohen et al. 2022, arXiv 2202.02794): the most typical image of each of `count`
    clusters, largest first; typical is a small mean distance to the 20 nearest of the cluster."""
    found = kmeans(features, np.arange(len(features)), count, seed)
    rank, typical = np.zeros(len(features), np.int64), np.zeros(len(features))
    for label in range(len(found.centres)):
        members = np.flatnonzero(found.label == label)
        apart = np.sort(distances(features[members], features[members]), axis=1)
        near = apart[:, 1 : NEIGHBOURS + 1]  # the first is the image itself
        typical[members] = near.mean(axis=1) if near.shape[1] else 0.0
        rank[members[np.argsort(typical[members], kind="stable")]] = np.arange(len(members))
    sizes = np.bincount(found.label, minlength=len(found.centres))
    return np.lexsort((found.label, -sizes[found.label], rank)).tolist()


def probcover(features: Features, count: int, seed: int, classes: int) -> list[int]:
    """ProbCover (Yehuda et al. 2022, arXiv 2205.11320): greedy cover by balls of one radius.

    The radius is the largest at which 95 % of the balls hold one k-means cluster only. All images
    are candidates, whatever their number.

    Args:
        features, count, seed: see above.
        classes: clusters that stand for classes in the choice of the radius.
    """
    label = kmeans(features, np.arange(len(features)), classes, seed).label
    apart = distances(features, features)
    other = np.where(label[:, None] != label[None], apart, np.inf).min(axis=1)
    radius = np.quantile(other, 1 - PURITY)  # a ball is pure below its distance to another cluster
    within = apart <= radius
    np.fill_diagonal(within, True)
    open_, left = np.ones(len(features), bool), np.ones(len(features), bool)
    gain, chosen = within.sum(axis=1), list[int]()
    while len(chosen) < min(count, len(features)):
        best = int(np.where(left, gain, -1).argmax())
        if gain[best] == 0:  # all are covered: cover anew with those that are left
            open_ = left.copy()
            gain = within[:, open_].sum(axis=1)
            continue
        chosen.append(best)
        left[best] = False
        covered = within[best] & open_
        open_ &= ~covered
        gain -= within[:, covered].sum(axis=1)
    return chosen


def herding(features: Features, count: int, seed: int) -> list[int]:
    """Herding (Welling 2009): the running mean of the chosen follows the mean of all; no seed."""
    mean = features.mean(axis=0, dtype=np.float64)
    weight, chosen = mean.copy(), []
    left = np.ones(len(features), bool)
    for _ in range(min(count, len(features))):
        value = np.where(left, features @ weight, -np.inf)
        chosen.append(int(value.argmax()))
        left[chosen[-1]] = False
        weight += mean - features[chosen[-1]]
    return chosen


def moderate(features: Features, count: int, seed: int, classes: int) -> list[int]:
    """Moderate coreset (Xia et al. 2023): images whose distance to their centre is the median one.

    Labels being unknown, clusters stand for classes.
    """
    found = kmeans(features, np.arange(len(features)), classes, seed)
    distance = np.sqrt(found.distance)
    middle = np.array(
        [
            np.median(distance[found.label == each]) if (found.label == each).any() else 0.0
            for each in range(len(found.centres))
        ]
    )
    return np.argsort(np.abs(distance - middle[found.label]), kind="stable").tolist()


def freesel(patterns: list[Features], count: int, seed: int) -> list[int]:
    """Like FreeSel (Xie et al. 2023, arXiv 2309.17342): local patterns, sampled by distance.

    The chance of an image is the squared distance of its patterns to those of the chosen ones.

    Args:
        patterns: (m, d) local features of each image, e.g. of its regions; up to five k-means
            centres of them stand for the image. Images without any come last.
        count, seed: see above.
    """
    generator = np.random.default_rng([seed, 3])
    centres = [
        kmeans(each, np.arange(len(each)), CENTRES, seed).centres if len(each) > CENTRES else each
        for each in patterns
    ]
    owner = np.repeat(np.arange(len(patterns)), [len(each) for each in centres])
    empty = sorted(set(range(len(patterns))) - set(owner.tolist()))
    points = np.concatenate([*centres, np.zeros((0, patterns[0].shape[1]), np.float32)])
    chosen: list[int] = []
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(patterns) - len(empty)):
        weight = np.where(np.isfinite(nearest), nearest**2, 1.0)
        weight[np.isin(owner, chosen)] = 0
        total = np.cumsum(weight)
        if total[-1] <= 0:
            rest = [each for each in range(len(patterns)) if each not in {*chosen, *empty}]
            chosen += rest
            break
        at = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
        image = int(owner[min(at, len(owner) - 1)])
        chosen.append(image)
        nearest = np.minimum(nearest, distances(points, points[owner == image]).min(axis=1))
    return [*chosen, *empty]
