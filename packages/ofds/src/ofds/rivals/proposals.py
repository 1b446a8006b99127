"""What needs no features: random images, and random images class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Pool
from ofds.method.quotas import Turns, quotas


def at_random(pool: Pool, seed: int) -> list[int]:
    """All images in random order."""
    return np.random.default_rng([seed, 1]).permutation(len(pool.images)).tolist()


def balanced(pool: Pool, costs: NDArray[np.float64], amount: float, seed: int) -> list[int]:
    """Classes take turns as in `ofds.select`, each with a random image that has its proposals.

    Half of what selection by objects gains is this: a comparison without it says little.

    Args:
        pool: its features are not used.
        costs: (images,) of annotating each image.
        amount: the budget, which sets the shares.
        seed: of the order within a class.

    Returns:
        Images in order; those without a proposal follow in random order.
    """
    everything = at_random(pool, seed)
    place = np.argsort(everything)
    queues = []
    for label in range(len(pool.classes)):
        images = np.unique(pool.image[pool.of_class(label)])
        queues.append(images[np.argsort(place[images])].tolist())
    available = np.array([costs[queue].sum() for queue in queues])
    sizes = np.array([len(pool.of_class(label)) for label in range(len(pool.classes))])
    turns = Turns(quotas(amount, available), np.argsort(np.argsort(sizes, kind="stable")))
    typical = float(costs[costs > 0].mean()) if costs.any() else 0.0
    chosen: dict[int, None] = {}
    while (label := turns.next(typical)) >= 0:
        image = next((each for each in queues[label] if each not in chosen), None)
        if image is None:
            turns.retire(label)
        else:
            chosen[image] = None
            turns.charge(label, float(costs[image]))
    return [*chosen, *(each for each in everything if each not in chosen)]
