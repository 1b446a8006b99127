"""What annotated random images say about the proposals on all others (ours).

Three rates describe a class: how many proposals are right; how many objects without a proposal
there are for each proposal, on images that have one of that class; and how many there are on images
that have none, where crowded images (with more proposals of other classes) count more. Numbers on
images that nobody looked at are drawn: each rate from its Jeffreys posterior, then the images'
numbers given the rates. Objects of one image are not independent, so counts are divided by a design
effect (variance between images over that of independent objects, at least 1), and few images widen
it by Student's t, as Korn and Graubard (1998) do for shares in surveys. What was looked at is known
and is not drawn: all images looked at is no interval at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from ofds.method.objects import Ints

DRAWS = 20_000
LEVEL = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """Events for each unit of exposure: right ones for each proposal, say.

    Attributes:
        events, exposure: on the images looked at.
        effect: of the design, by which both count less.
    """

    events: float
    exposure: float
    effect: float

    @property
    def value(self) -> float:
        """The rate; NaN if nothing was exposed."""
        return self.events / self.exposure if self.exposure else float("nan")


def rate(events: Ints, exposure: Ints, share: bool) -> Rate:
    """A rate from numbers by image, images without exposure left out.

    Args:
        events, exposure: (images,).
        share: events are some of the exposed, so that independent ones are binomial; else Poisson.
    """
    seen = exposure > 0
    events, exposure = events[seen], exposure[seen]
    total, exposed, n = float(events.sum()), float(exposure.sum()), len(events)
    alone = total * (1 - total / exposed) if share and exposed else total  # of independent objects
    if n < 2 or alone <= 0:
        return Rate(total, exposed, 1.0)
    rest = events - total / exposed * exposure
    effect = n / (n - 1) * float(rest @ rest) / alone
    few = (float(stdtrit(n - 1, 1 - (1 - LEVEL) / 2)) / float(ndtri(1 - (1 - LEVEL) / 2))) ** 2
    return Rate(total, exposed, max(1.0, effect * few))


@dataclass(frozen=True)
class Counts:
    """Objects of one class on images that were looked at, (images,) each.

    Attributes:
        proposed: proposals.
        right: proposals that are a true object of the class.
        true: true objects.
        room: 1 + proposals of all classes: how much there may be that nobody proposed.
    """

    proposed: Ints
    right: Ints
    true: Ints
    room: Ints


@dataclass(frozen=True)
class Drawn:
    """Right proposals and true objects on some images: the expected number, and draws.

    Attributes:
        right, true: expected; NaN where the images looked at say nothing.
        rights, trues: (draws,).
    """

    right: float
    true: float
    rights: Floats
    trues: Floats


class Estimate:
    """The rates of a class.

    Args:
        counts: on the annotated images of the sample.
        seed: of the draws.
    """

    def __init__(self, counts: Counts, seed: tuple[int, ...] = (0,)) -> None:
        self.counts, self.seed = counts, seed
        missed = counts.true - counts.right
        empty = np.where(counts.proposed == 0, counts.room, 0)
        self.precision = rate(counts.right, counts.proposed, share=True)
        self.beside = rate(missed, counts.proposed, share=False)
        self.elsewhere = rate(missed, empty, share=False)

    def of(self, known: Counts, proposals: Ints, room: Ints) -> Drawn:
        """Numbers on images of which some were looked at.

        Args:
            known: on those that were.
            proposals, room: (others,) on the others, as in `Counts`.
        """
        proposed, empty = int(proposals.sum()), int(room[proposals == 0].sum())
        g = np.random.default_rng([*self.seed, proposed, empty])
        right, rights = 0.0, np.zeros(DRAWS)
        missed, misses = 0.0, np.zeros(DRAWS)
        if proposed:
            right = proposed * self.precision.value
            rights = _shares(self.precision, proposed, g)
            missed = proposed * self.beside.value
            misses = _counts(self.beside, proposed, g)
        if empty:
            missed += empty * self.elsewhere.value
            misses = misses + _counts(self.elsewhere, empty, g)
        sure, all_ = float(known.right.sum()), float(known.true.sum())
        return Drawn(sure + right, all_ + right + missed, sure + rights, all_ + rights + misses)


def bounds(draws: Floats) -> tuple[float, float]:
    """The interval that holds the middle 95 % of draws; NaN if there is nothing to say."""
    if not len(draws) or np.isnan(draws).any():
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, 1 - (1 - LEVEL) / 2])
    return float(low), float(high)


def _shares(found: Rate, many: int, g: np.random.Generator) -> Floats:
    if not found.exposure:
        return np.full(DRAWS, np.nan)
    yes, no = found.events / found.effect, (found.exposure - found.events) / found.effect
    share = g.beta(yes + 0.5, no + 0.5, DRAWS)
    groups = max(1, round(many / found.effect))  # that share their fate
    drawn: Floats = many * g.binomial(groups, share) / groups
    return drawn


def _counts(found: Rate, many: int, g: np.random.Generator) -> Floats:
    if not found.exposure:
        return np.full(DRAWS, np.nan)
    value = g.gamma(found.events / found.effect + 0.5, found.effect / found.exposure, DRAWS)
    drawn: Floats = found.effect * g.poisson(many * value / found.effect).astype(np.float64)
    return drawn
