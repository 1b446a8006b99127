"""Every selector behind one call: a drawn pool in, images in order out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ofds.method.budget import Budget
from ofds.method.objects import Pool
from ofds.method.selection import Settings, select
from ofds.rivals import images as by_image
from ofds.rivals import proposals as by_proposal
from ofds.study.world import Drawn

LONGER = 2.0  # how much longer a list is than the budget by predicted cost
Order = list[int]
Select = Callable[[Drawn, Budget, int], Order]


def focused(settings: Settings = Settings(), oracle: bool = False) -> Select:
    """Selection by objects; the oracle knows the true objects instead of proposals."""

    def order(drawn: Drawn, budget: Budget, seed: int) -> Order:
        pool = drawn.truth if oracle else drawn.proposals
        # True cost decides where to stop, and predictions may be too low.
        limit = LONGER * budget.amount
        seeded = replace(settings, seed=seed)
        found = select(pool, budget.costs(pool), budget.amount, seeded, limit=limit)
        return [choice.image for choice in found]

    return order


def balanced(drawn: Drawn, budget: Budget, seed: int) -> Order:
    """Random images, class by class."""
    pool = drawn.proposals
    return by_proposal.balanced(pool, budget.costs(pool), budget.amount, seed)


def random(drawn: Drawn, budget: Budget, seed: int) -> Order:
    """Random images."""
    return by_proposal.at_random(drawn.proposals, seed)


def by_features(name: str) -> Select:
    """A selector on one feature an image, planned for as many images as the budget buys."""

    def order(drawn: Drawn, budget: Budget, seed: int) -> Order:
        x, costs = drawn.image_features, budget.costs(drawn.proposals)
        planned = max(1, min(len(x), math.ceil(budget.amount / max(costs.mean(), 1e-9))))
        classes = len(drawn.proposals.classes)
        match name:
            case "prototypes":
                return by_image.prototypes(x, planned, seed)
            case "k-centre":
                return by_image.k_centre(x, len(x), seed)
            case "typiclust":
                return by_image.typiclust(x, planned, seed)
            case "probcover":
                return by_image.probcover(x, len(x), seed, classes)
            case "herding":
                return by_image.herding(x, len(x), seed)
            case "moderate":
                return by_image.moderate(x, len(x), seed, classes)
        return by_image.freesel(patterns(drawn.proposals), len(x), seed)

    return order


def patterns(pool: Pool) -> list[NDArray[np.float32]]:
    """Features of what was proposed on each image, whatever its class."""
    cuts = np.searchsorted(pool.image, np.arange(1, len(pool.images)))
    return np.split(np.asarray(pool.features[pool.row], np.float32), cuts)


SELECTORS: dict[str, Select] = {
    "random": random,
    "class-balanced random": balanced,
    "image prototypes": by_features("prototypes"),
    "image k-centre": by_features("k-centre"),
    "TypiClust": by_features("typiclust"),
    "ProbCover": by_features("probcover"),
    "herding": by_features("herding"),
    "moderate": by_features("moderate"),
    "FreeSel-like": by_features("freesel"),
    "OFDS": focused(),
    "OFDS, nearest object": focused(Settings(cost_aware=False)),
    "OFDS, full credit": focused(Settings(credit="any")),
    "OFDS, no credit": focused(Settings(credit="none")),
    "OFDS, classes as listed": focused(Settings(rarest_first=False)),
    "oracle OFDS": focused(oracle=True),
}
"""By the name that a `Pick` gives."""


def chosen(selector: str, drawn: Drawn, budget: Budget, seed: int) -> Order:
    """Images in the order in which a selector would have them annotated."""
    return SELECTORS[selector](drawn, budget, seed)
