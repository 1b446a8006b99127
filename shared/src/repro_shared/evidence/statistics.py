"""Student t intervals, alone or in a family that Holm's procedure corrects.

In each direction, above and below the bounds, Holm's step-down procedure (Holm 1979) runs over the
family's one-sided t tests at 2.5 %, so that a false call anywhere in the family is no likelier than
that, whatever the dependence. An interval's ends are the one-sided bounds at the levels at which
Holm tested that member: it excludes its bound exactly when Holm rejects, and contains the ordinary
interval. Not the intervals are protected together, but the decisions.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from repro_shared.evidence.tables import Interval


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Two-sided Student t interval of a mean of at least two values (else ValueError)."""
    return _interval(values, (1 - level) / 2, (1 - level) / 2)


def interval_cells(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Cells of a table: a mean and its `t_interval`; no ends for one value, nothing for none."""
    return t_interval(values) if len(values) > 1 else (next(iter(values), None), None, None)


def interval(values: Sequence[float]) -> Interval | None:
    """One cell: a mean with its `t_interval`; without ends for one value, None for none."""
    mean, low, high = interval_cells(values)
    return None if mean is None else Interval(mean, low, high)


def p_values(values: Sequence[float], bound: float) -> tuple[float, float]:
    """One-sided p-values of the t test for a mean above the bound, and for one below it."""
    mean, error = _mean_and_error(values)
    if error == 0.0:
        return float(mean <= bound), float(mean >= bound)
    statistic, freedom = (mean - bound) / error, len(values) - 1
    return float(stdtr(freedom, -statistic)), float(stdtr(freedom, statistic))


def holm_levels(p: Sequence[float], alpha: float) -> list[float]:
    """The level at which Holm's procedure tests each p-value: rejected are those with p <= level.

    alpha / m for the smallest p, alpha / (m - 1) for the next, ... up to the first that fails,
    whose level the others share. Equal p-values share the strictest of their levels.
    """
    levels = [0.0] * len(p)
    level, previous = 0.0, -1.0
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if previous <= level and p[index] != previous:
            level, previous = alpha / (len(p) - step), p[index]
        levels[index] = level
    return levels


def family_intervals(
    samples: Sequence[Sequence[float]], bounds: Sequence[float], level: float = 0.95
) -> list[Interval | None]:
    """The intervals of a family, as this module's docstring says; None for less than two effects.

    A comparison not yet run counts, so that the others' verdicts stay as strict as they will be.
    """
    tested = [
        p_values(values, bound) if len(values) > 1 else (1.0, 1.0)
        for values, bound in zip(samples, bounds, strict=True)
    ]
    above, below = (holm_levels([p[side] for p in tested], (1 - level) / 2) for side in (0, 1))
    return [
        _interval(values, low_tail, high_tail) if len(values) > 1 else None
        for values, low_tail, high_tail in zip(samples, above, below, strict=True)
    ]


def _interval(values: Sequence[float], low_tail: float, high_tail: float) -> Interval:
    mean, error = _mean_and_error(values)
    low, high = (float(stdtrit(len(values) - 1, tail)) for tail in (low_tail, high_tail))
    return Interval(mean, mean + low * error, mean - high * error)


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error sd / sqrt(n), with the sd over n - 1."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2 or not np.isfinite(sample).all():
        raise ValueError(f"an interval needs at least two finite values, not {values}")
    if (sample == sample[0]).all():  # rounding in the mean would leave a tiny false spread
        return float(sample[0]), 0.0
    return float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(sample.size))
