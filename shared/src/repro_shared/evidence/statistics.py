"""Intervals and tests for a handful of seeds: Student t, and Holm for several comparisons.

Holm and intervals together. A family holds m comparisons, each against its own bound (a threshold
or minus a margin), and each can end as "above" or "below" its bound. The two directions are two
families of m one-sided t tests; Holm's step-down procedure (Holm 1979) runs in each at
(1 - level) / 2, that is 2.5 % by default. So whatever the dependence between comparisons, a false
"above" anywhere in the family has a probability of at most 2.5 %, a false "below" likewise.

An interval's lower end is the one-sided bound at the level at which Holm tested "above" for that
member, its upper end the same for "below". So the interval excludes its bound exactly when Holm
rejects. With m = 1 it is the ordinary two-sided interval; with m > 1 it contains that one (so each
covers its own mean with at least 95 %), and its two sides may differ in length, since the two
directions can stop at different steps. The intervals of a family are not simultaneous ones: it is
the decisions that are protected together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit


class Interval(NamedTuple):
    """A mean with the two ends of its confidence interval, all in the unit of the values."""

    mean: float
    low: float
    high: float


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Two-sided Student t interval of a mean, `mean -+ t_{n-1} * sd / sqrt(n)`.

    Identical values give an interval of width zero.

    Raises:
        ValueError: Fewer than two values.
    """
    tail = (1 - level) / 2
    return _interval(values, tail, tail)


def p_values(values: Sequence[float], bound: float) -> tuple[float, float]:
    """One-sided p-values of the t test: (for "mean is above bound", for "mean is below bound").

    Without any spread, the mean is known: p is 0 on its side of the bound and 1 on the other; both
    are 1 at the bound.
    """
    mean, error = _mean_and_error(values)
    if error == 0.0:
        return (0.0 if mean > bound else 1.0), (0.0 if mean < bound else 1.0)
    statistic = (mean - bound) / error
    freedom = len(values) - 1
    return float(stdtr(freedom, -statistic)), float(stdtr(freedom, statistic))


def holm_levels(p: Sequence[float], alpha: float) -> list[float]:
    """The level at which Holm's procedure tests each p-value: rejected are those with p <= level.

    The smallest p is tested at alpha / m, the next at alpha / (m - 1), ... up to the first that
    fails; the ones after it share its level. Equal p-values share the strictest of their levels,
    so that the result does not depend on the order.
    """
    levels = [0.0] * len(p)
    stopped = False
    level, previous = 0.0, -1.0
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if not stopped and p[index] != previous:
            level = alpha / (len(p) - step)
            previous = p[index]
            stopped = p[index] > level
        levels[index] = level
    return levels


def family_intervals(
    samples: Sequence[Sequence[float]], bounds: Sequence[float], level: float = 0.95
) -> list[Interval | None]:
    """The intervals of a family of comparisons, as this module's docstring says.

    Args:
        samples: Paired effects of each comparison. Fewer than two values (a comparison that has
            not been run) still count as a member, so that the others' verdicts stay as strict as
            they will be; their interval is None.
        bounds: What each comparison's mean is tested against.
        level: Of an interval that stands alone.
    """
    tail = (1 - level) / 2
    tested = [
        p_values(values, bound) if len(values) > 1 else (1.0, 1.0)
        for values, bound in zip(samples, bounds, strict=True)
    ]
    above = holm_levels([p[0] for p in tested], tail)
    below = holm_levels([p[1] for p in tested], tail)
    return [
        _interval(values, low_tail, high_tail) if len(values) > 1 else None
        for values, low_tail, high_tail in zip(samples, above, below, strict=True)
    ]


def _interval(values: Sequence[float], low_tail: float, high_tail: float) -> Interval:
    mean, error = _mean_and_error(values)
    freedom = len(values) - 1
    return Interval(
        mean,
        mean + float(stdtrit(freedom, low_tail)) * error,
        mean - float(stdtrit(freedom, high_tail)) * error,
    )


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error sd / sqrt(n), with the sd over n - 1."""
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two values, not {len(values)}")
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError("an interval needs finite values")
    if (sample == sample[0]).all():  # rounding in the mean would leave a tiny false spread
        return float(sample[0]), 0.0
    return float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(sample.size))
