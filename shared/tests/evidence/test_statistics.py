"""Intervals and Holm against scipy, a hand-worked example, an independent Holm and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from repro_shared.evidence.statistics import (
    family_intervals,
    holm_levels,
    p_values,
    t_interval,
)

PLAIN = [60.1, 61.4, 59.8, 60.9, 60.2]
FEATURE = [61.0, 61.9, 61.1, 61.2, 61.3]
EFFECTS = [f - p for f, p in zip(FEATURE, PLAIN, strict=True)]


def test_hand_worked_interval() -> None:
    # Mean 3, sd sqrt(10 / 4) = 1.5811, error 0.7071, t_4 at 97.5 % = 2.7764: 3 -+ 1.9632.
    mean, low, high = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert low == pytest.approx(1.0368, abs=1e-4)
    assert high == pytest.approx(4.9632, abs=1e-4)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_interval_equals_the_paired_test_of_scipy(level: float) -> None:
    expected = stats.ttest_rel(FEATURE, PLAIN).confidence_interval(level)
    found = t_interval(EFFECTS, level)
    assert found.low == pytest.approx(expected.low, rel=1e-12)
    assert found.high == pytest.approx(expected.high, rel=1e-12)


@pytest.mark.parametrize("bound", [-0.5, 0.0, 0.8])
def test_p_values_equal_those_of_scipy(bound: float) -> None:
    above, below = p_values(EFFECTS, bound)
    assert above == pytest.approx(
        stats.ttest_1samp(EFFECTS, bound, alternative="greater").pvalue, rel=1e-10
    )
    assert below == pytest.approx(
        stats.ttest_1samp(EFFECTS, bound, alternative="less").pvalue, rel=1e-10
    )


def test_identical_values_give_a_point_without_rounding_noise() -> None:
    assert t_interval([0.1] * 5) == (0.1, 0.1, 0.1)
    assert p_values([0.1] * 5, 0.0) == (0.0, 1.0)
    assert p_values([0.1] * 5, 0.2) == (1.0, 0.0)
    assert p_values([0.0] * 5, 0.0) == (1.0, 1.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_no_interval_without_two_finite_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match="an interval needs"):
        t_interval(values)


def holm_rejections(p: list[float], alpha: float) -> set[int]:
    """Holm's adjusted p-values by their definition: running maximum of (m - k) p_(k)."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, highest = {}, 0.0
    for step, index in enumerate(order):
        highest = max(highest, (len(p) - step) * p[index])
        adjusted[index] = highest
    return {index for index, value in adjusted.items() if value <= alpha}


def test_holm_by_hand() -> None:
    # alpha 0.06, m 3: 0.01 <= 0.02 passes, 0.035 > 0.03 fails, and 0.05 shares that level.
    assert holm_levels([0.05, 0.01, 0.035], 0.06) == [0.03, 0.02, 0.03]


@settings(derandomize=True, max_examples=200)
@given(
    st.lists(st.sampled_from([0.0, 0.001, 0.004, 0.006, 0.009, 0.02, 0.3, 1.0]), max_size=6),
    st.randoms(use_true_random=False),
)
def test_holm_rejects_what_its_definition_rejects_in_any_order(p: list[float], random) -> None:  # type: ignore[no-untyped-def]
    alpha = 0.025
    levels = holm_levels(p, alpha)
    rejected = {i for i, level in enumerate(levels) if p[i] <= level}
    assert rejected == holm_rejections(p, alpha)
    order = list(range(len(p)))
    random.shuffle(order)
    assert holm_levels([p[i] for i in order], alpha) == [levels[i] for i in order]


@settings(derandomize=True, max_examples=100)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_an_interval_excludes_its_bound_exactly_when_holm_rejects(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    means = generator.normal(0, 2, size)
    samples = [list(generator.normal(mean, 1, 5)) for mean in means]
    bounds = [float(generator.choice([-0.5, 0.0, 0.5])) for _ in range(size)]
    tested = [p_values(values, bound) for values, bound in zip(samples, bounds, strict=True)]
    above = holm_rejections([p[0] for p in tested], 0.025)
    below = holm_rejections([p[1] for p in tested], 0.025)
    for i, interval in enumerate(family_intervals(samples, bounds)):
        assert interval is not None
        assert (interval.low > bounds[i]) == (i in above)
        assert (interval.high < bounds[i]) == (i in below)
        alone = t_interval(samples[i])
        assert interval.low <= alone.low + 1e-12
        assert interval.high >= alone.high - 1e-12


def test_a_family_of_one_has_the_ordinary_interval() -> None:
    assert family_intervals([EFFECTS], [0.0]) == [t_interval(EFFECTS)]


def test_a_member_that_has_not_run_keeps_its_place() -> None:
    with_missing = family_intervals([EFFECTS, []], [0.0, 0.0])
    assert with_missing[1] is None
    assert with_missing[0] is not None
    # Of two members, the first is tested at 1.25 % a side: the 97.5 % interval.
    assert with_missing[0].low == pytest.approx(t_interval(EFFECTS, 0.975).low, rel=1e-12)


def test_coverage_by_simulation() -> None:
    generator = np.random.default_rng(0)
    tries = 3000
    covered = sum(
        interval.low <= 1.5 <= interval.high
        for interval in (t_interval(list(row)) for row in generator.normal(1.5, 3, (tries, 5)))
    )
    # Three standard errors of a proportion of 0.95.
    assert covered / tries == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / tries))


def test_false_calls_anywhere_in_a_family_stay_below_their_level() -> None:
    """Four comparisons with one shared rival, all truly at the bound."""
    generator = np.random.default_rng(1)
    tries, wrong, uncorrected = 1500, 0, 0
    for _ in range(tries):
        rival = generator.normal(size=5)
        samples = [list(generator.normal(size=5) - rival) for _ in range(4)]
        wrong += any(i is not None and i.low > 0 for i in family_intervals(samples, [0.0] * 4))
        uncorrected += any(t_interval(values).low > 0 for values in samples)
    allowed = 0.025 + 3 * math.sqrt(0.025 * 0.975 / tries)
    assert wrong / tries <= allowed
    assert uncorrected / tries > allowed  # so the simulation would notice a missing correction
