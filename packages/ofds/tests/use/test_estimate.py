"""Rates by hand, and intervals that hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ofds.use import estimate
from ofds.use.estimate import Counts, Estimate, bounds, rate

NONE = Counts(*(np.zeros(0, np.int64),) * 4)
Others = tuple[np.ndarray, np.ndarray]


def counts(*rows: tuple[int, int, int]) -> Counts:
    """Of images, each proposed, right, true; nothing of other classes is proposed."""
    proposed, right, true = np.array(rows, np.int64).T
    return Counts(proposed, right, true, 1 + proposed)


def others(*proposed: int) -> Others:
    """Proposals and room of images that were not looked at."""
    return np.array(proposed, np.int64), 1 + np.array(proposed, np.int64)


def test_expected_numbers_by_hand() -> None:
    # On 2 images with proposals: 5 proposed, 4 right, 6 true, so 2 missed beside proposals.
    # On 3 without: 1 object.
    seen = counts((2, 2, 3), (3, 2, 3), (0, 0, 1), (0, 0, 0), (0, 0, 0))
    found = Estimate(seen)
    rates = [found.precision.value, found.beside.value, found.elsewhere.value]
    assert rates == [4 / 5, 2 / 5, 1 / 3]
    drawn = found.of(seen, *others(4, 6, *[0] * 6))
    assert drawn.right == 4 + 8
    assert drawn.true == 7 + 8 + 4 + 2
    low, high = bounds(drawn.trues)
    assert low < drawn.true < high


def test_more_is_missed_where_it_is_crowded() -> None:
    # 1 missed on an image with 3 proposals of other classes, none on one with none.
    seen = Counts(*(np.array(each) for each in ([0, 0], [0, 0], [1, 0], [4, 1])))
    found = Estimate(seen)
    assert found.elsewhere.value == 1 / 5
    drawn = found.of(NONE, np.array([0, 0]), np.array([8, 2]))
    assert drawn.true == 2


def test_all_looked_at_is_no_interval() -> None:
    seen = counts((2, 2, 3), (3, 2, 3), (0, 0, 1))
    drawn = Estimate(seen).of(seen, *others())
    assert bounds(drawn.trues) == (7, 7)
    assert bounds(drawn.rights) == (4, 4)


def test_nothing_seen_is_nothing_known() -> None:
    # No image without proposals of the class was looked at, then none with.
    assert math.isnan(Estimate(counts((2, 1, 1))).of(NONE, *others(3, 0)).true)
    found = Estimate(counts((0, 0, 0), (0, 0, 1)))
    assert math.isnan(found.of(NONE, *others(3, 0)).true)
    assert math.isnan(bounds(found.of(NONE, *others(3, 0)).trues)[0])
    assert (
        found.of(NONE, *others(0, 0, 0, 0)).true == 2
    )  # which does not matter where there are none


def test_zero_events_still_have_an_upper_end() -> None:
    # Nothing missed on 100 images: at most about 2.5 in 100 elsewhere (Jeffreys).
    low, high = bounds(Estimate(counts(*[(0, 0, 0)] * 100)).of(NONE, *others(*[0] * 1000)).trues)
    assert low == 0
    assert 15 < high < 40


def test_objects_of_one_image_count_as_fewer() -> None:
    whole = np.array([4, 0] * 20, np.int64)  # all four right, or all wrong
    assert rate(whole, np.full(40, 4), share=True).effect == pytest.approx(
        40 / 39 * 160 / 40 * (2.0227 / 1.96) ** 2, rel=1e-3
    )
    apart = rate(np.full(40, 2), np.full(40, 4), share=True)
    assert apart.effect == 1


def test_the_same_seed_draws_the_same() -> None:
    seen = counts((2, 2, 3), (3, 2, 3), (0, 0, 1), (0, 0, 0))
    one, two = (Estimate(seen, (3,)).of(NONE, *others(9, *[0] * 9)).trues for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (Estimate(seen, (4,)).of(NONE, *others(9, *[0] * 9)).trues != one).any()


@pytest.mark.parametrize(
    ("images", "drawn", "share", "recall", "precision", "spread"),
    [
        (600, 100, 0.5, 0.7, 0.8, 3.0),  # spread: of recall between images, fewer is more
        (600, 100, 0.1, 0.7, 0.8, 3.0),
        (600, 400, 0.2, 0.9, 0.9, 50.0),
        (2000, 150, 0.3, 0.5, 0.6, 5.0),
    ],
)
def test_intervals_hold_the_truth(
    images: int, drawn: int, share: float, recall: float, precision: float, spread: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(estimate, "DRAWS", 1500)
    held, tries = np.zeros(4), 200
    for seed in range(tries):
        g = np.random.default_rng([seed, images])
        true = np.where(g.random(images) < share, 1 + g.poisson(1.0, images), 0)
        of_image = g.beta(recall * spread, (1 - recall) * spread, images)
        right = g.binomial(true, of_image)
        wrong = 2 * share * recall * (1 - precision) / precision
        proposed = right + g.poisson(wrong * g.gamma(spread, 1 / spread, images))
        order = g.permutation(images)
        seen, rest = order[:drawn], order[drawn:]
        chosen = rest[g.random(len(rest)) < 0.2]
        room = 1 + proposed
        known = Counts(proposed[seen], right[seen], true[seen], room[seen])
        found = Estimate(known, (seed,))
        pool = found.of(known, proposed[rest], room[rest])
        part = found.of(NONE, proposed[chosen], room[chosen])
        held += [
            low - 1e-9 <= value <= high + 1e-9
            for value, (low, high) in (
                (right.sum() / true.sum(), bounds(pool.rights / pool.trues)),
                (right.sum() / proposed.sum(), bounds(pool.rights / proposed.sum())),
                (true.sum(), bounds(pool.trues)),
                (true[chosen].sum(), bounds(part.trues)),
            )
        ]
    shares = held / tries
    assert (shares >= 0.90).all(), shares
    assert (shares <= 0.99).all(), shares
