"""TAB's guessed groups, and samples in balance."""

from __future__ import annotations

import numpy as np
import pytest

from cg_augment.rivals.balancing import balanced, guessed_groups


def history(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten epochs of 120 samples: of each class every tenth is hard, and learnt late."""
    g = np.random.default_rng(seed)
    targets, hard = np.arange(120) % 2, np.arange(120) // 2 % 10 == 0
    easy_curve, hard_curve = np.exp(-np.arange(10.0)), np.full(10, 2.0)
    curves = np.where(hard, hard_curve[:, None], easy_curve[:, None])
    return curves + 0.05 * g.random((10, 120)), targets, hard


def test_hard_samples_of_each_class_are_a_group_of_their_own() -> None:
    losses, targets, hard = history()
    groups = guessed_groups(losses, targets, seed=0)
    assert np.array_equal(groups, 2 * targets + hard)  # 1 is the cluster of higher losses


def test_equal_histories_are_one_group() -> None:
    groups = guessed_groups(np.ones((3, 6)), np.array([0, 0, 0, 1, 1, 1]), seed=0)
    assert groups.tolist() == [0, 0, 0, 2, 2, 2]


def test_a_helper_without_a_whole_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one whole epoch"):
        guessed_groups(np.ones((0, 4)), np.zeros(4, int), 0)
    with pytest.raises(ValueError, match="finite"):
        guessed_groups(np.full((1, 4), np.nan), np.zeros(4, int), 0)


def test_every_group_is_as_frequent_as_the_largest_and_no_sample_is_lost() -> None:
    groups = np.repeat([0, 1, 3], [10, 4, 1])
    chosen = balanced(groups, seed=0)
    assert np.bincount(groups[chosen]).tolist() == [10, 10, 0, 10]
    counts = np.bincount(chosen, minlength=15)
    assert counts.min() >= 1
    assert set(counts[10:14]) <= {2, 3}  # as evenly as can be
    assert np.array_equal(chosen, balanced(groups, seed=0))
    assert not np.array_equal(chosen, balanced(groups, seed=1))
