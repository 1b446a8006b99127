"""What annotation has cost and covered so far, and how far the rest of the budget will go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ofds.use.dataset import Objects

LEVEL = 0.95
FEW = 5  # images, of which an interval may be narrow by chance
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """True cost for each unit of predicted cost, with its interval.

    Attributes:
        value: of the sums; 1 if there is nothing to tell: no images, or none that cost anything.
        low, high: ends of the 95 % interval; None for fewer than two images.
        images: that it was seen on.
    """

    value: float
    low: float | None
    high: float | None
    images: int

    @property
    def upper(self) -> float:
        """What to reckon with so as not to overspend: a few cheap images promise nothing."""
        high = self.value if self.high is None else self.high
        return high if self.images >= FEW else max(high, 1.0)


def ratio(true: Floats, predicted: Floats) -> Ratio:
    """The ratio of two sums over the same images, (n,) each.

    The interval is Student's with the error of a ratio estimator (Cochran, Sampling Techniques,
    section 6.4), as if the images were drawn at random; `low` is not below 0.
    """
    n = len(true)
    if not n or predicted.sum() <= 0 or true.sum() <= 0:
        return Ratio(1.0, None, None, n)
    value = float(true.sum() / predicted.sum())
    if n < 2:
        return Ratio(value, None, None, n)
    rest = true - value * predicted
    error = float(np.sqrt((rest**2).sum() / (n * (n - 1))) / predicted.mean())
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
    return Ratio(value, max(value - half, 0.0), value + half, n)


def prefix(costs: Floats, rest: float) -> int:
    """How many from the front `rest` pays for."""
    return int(np.searchsorted(np.cumsum(costs), rest + 1e-9, side="right"))


@dataclass(frozen=True)
class Judged:
    """Proposals against truth, by class, on images that were annotated.

    Attributes:
        true: (classes,) objects.
        proposed: (classes,) proposals.
        right: (classes,) proposals that are an object of their class.
        found: (classes,) objects that are a proposal, of their class or of another.
    """

    true: NDArray[np.int64]
    proposed: NDArray[np.int64]
    right: NDArray[np.int64]
    found: NDArray[np.int64]


def judged(
    objects: Objects, proposals: Objects, partner: NDArray[np.int64], counted: NDArray[np.bool_],
    classes: int,
) -> Judged:  # fmt: skip
    """Judge proposals.

    Args:
        objects: true ones; crowds are none.
        proposals: all.
        partner: (objects,) place of the proposal that each is, -1 for none.
        counted: (proposals,) those that are judged.
        classes: how many.
    """

    def by_class(label: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(label, minlength=classes)

    alone = ~objects.crowd
    has = alone & (partner >= 0)
    has[has] = counted[partner[has]]
    right = has.copy()
    right[has] = objects.label[has] == proposals.label[partner[has]]
    return Judged(
        true=by_class(objects.label[alone]),
        proposed=by_class(proposals.label[counted]),
        right=by_class(objects.label[right]),
        found=by_class(objects.label[has]),
    )


def share(part: int, whole: int) -> float | None:
    """To four decimals; None of nothing."""
    return round(part / whole, 4) if whole else None
