"""Parts that share no group."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ofds.method.splits import split


@given(
    st.lists(st.integers(0, 15), min_size=1, max_size=60),
    st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_groups_stay_together_near_their_shares(
    groups: list[int], weights: list[float], seed: int
) -> None:
    together, shares = np.array(groups), [w / sum(weights) for w in weights]
    names = [f"{index:03d}" for index in range(len(groups))]
    part = split(together, names, shares, seed)
    for group in set(groups):
        assert len(set(part[together == group].tolist())) == 1
    largest = np.bincount(together).max()
    sizes = np.bincount(part, minlength=len(shares))
    assert np.abs(sizes - np.array(shares) * len(groups)).max() <= largest * (len(shares) - 1) + 1
    order = np.random.default_rng(seed).permutation(len(groups))
    other = split(together[order] * 7 + 1, [names[i] for i in order], shares, seed)
    assert np.array_equal(other, part[order])


def test_single_images_meet_the_shares_to_one() -> None:
    part = split(np.arange(1000), [str(i) for i in range(1000)], [0.8, 0.15, 0.05], 0)
    assert np.bincount(part).tolist() == [800, 150, 50]
    assert 500 < (part[:700] == 0).sum() < 620  # a mix, not the first ones
    other = split(np.arange(1000), [str(i) for i in range(1000)], [0.8, 0.15, 0.05], 1)
    assert not np.array_equal(part, other)
