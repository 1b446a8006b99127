"""Averages by group against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cg_augment.method.groups import Group, GroupAccuracy, group_accuracy, wilson

NAMES = ("land on land", "land on water", "water on land", "water on water")
TRAINING = (3498, 184, 56, 1057)  # of Waterbirds


def of(rights: list[int], images: int = 100, training: tuple[int, ...] | None = None):
    sizes = training or (None,) * len(rights)
    return GroupAccuracy(tuple(Group(NAMES[i], images, r, sizes[i]) for i, r in enumerate(rights)))


def test_four_averages_of_one_result() -> None:
    # 99, 80, 60 and 95 % in groups of 100, so that the plain one is the unweighted mean here.
    found = of([99, 80, 60, 95], training=TRAINING)
    assert found.worst is not None
    assert found.worst.name == "water on land"
    assert found.worst_group_accuracy.value == pytest.approx(0.60)
    assert found.mean_group_accuracy.value == pytest.approx(0.835)
    # (3498 * .99 + 184 * .80 + 56 * .60 + 1057 * .95) / 4795
    assert found.adjusted_accuracy.value == pytest.approx(0.96934, abs=5e-6)
    assert found.accuracy.value == pytest.approx(0.835)


def test_plain_accuracy_counts_images_and_the_group_mean_does_not() -> None:
    found = group_accuracy([True] * 9 + [False], [0] * 9 + [1], ("many", "one"))
    assert found.accuracy.value == pytest.approx(0.9)
    assert found.mean_group_accuracy.value == pytest.approx(0.5)
    assert found.worst == Group("one", 1, 0)


def test_a_removed_group_leaves_the_adjusted_average_undefined() -> None:
    found = of([99, 80, 60, 95], training=(3498, 0, 56, 1057))
    assert found.adjusted_accuracy.value is None
    assert str(found.adjusted_accuracy) == "undefined (not in training: land on water)"
    assert found.worst_group_accuracy.value == pytest.approx(0.60)  # the others are sound


def test_sizes_that_nobody_knows_leave_it_undefined_too() -> None:
    found = of([99, 80, 60, 95])
    assert str(found.adjusted_accuracy) == "undefined (training sizes are not known)"


def test_a_group_without_test_images_is_named_and_not_0() -> None:
    found = group_accuracy([True, False, True], [0, 0, 2], ("a", "b", "c"), (5, 5, 5))
    for figure in (found.worst_group_accuracy, found.mean_group_accuracy, found.adjusted_accuracy):
        assert str(figure) == "undefined (no test images: b)"
    assert found.worst is None
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert found.groups[1].accuracy is None
    assert found.groups[1].interval is None


def test_no_images_at_all() -> None:
    found = group_accuracy([], [], ("a",))
    assert str(found.accuracy) == "undefined (no images)"


def test_figures_are_told_in_percent() -> None:
    assert str(of([99, 80, 60, 95]).worst_group_accuracy) == "60.00 %"
    assert list(of([1, 1]).figures()) == [
        "worst-group accuracy", "mean-group accuracy", "adjusted accuracy", "accuracy",
    ]  # fmt: skip


def test_wilson_by_hand() -> None:
    # 120 of 180: (2/3 + z^2/360) / (1 + z^2/180) -+ ..., and a share of 0 that has an upper end.
    low, high = wilson(120, 180)
    assert (low, high) == (pytest.approx(0.59495, abs=1e-5), pytest.approx(0.73142, abs=1e-5))
    low, high = wilson(0, 10)
    assert low == 0
    assert high == pytest.approx(0.27753, abs=1e-5)


def test_wilson_agrees_with_scipy() -> None:
    from scipy.stats import binomtest

    for right, images in ((0, 7), (3, 7), (7, 7), (119, 180)):
        theirs = binomtest(right, images).proportion_ci(method="wilson")
        assert wilson(right, images) == pytest.approx((theirs.low, theirs.high))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="groups 0 to 2, names for 2"):
        group_accuracy([True, True], [0, 2], ("a", "b"))
    with pytest.raises(ValueError, match="answers"):
        group_accuracy([True], [0, 1], ("a", "b"))
    with pytest.raises(ValueError, match="training sizes"):
        group_accuracy([True], [0], ("a", "b"), (1,))


def test_it_agrees_with_counting() -> None:
    g = np.random.default_rng(0)
    right, groups = g.random(500) < 0.7, g.integers(0, 4, 500)
    found = group_accuracy(right, groups, NAMES, TRAINING)
    each = [right[groups == i].mean() for i in range(4)]
    assert found.mean_group_accuracy.value == pytest.approx(np.mean(each))
    assert found.adjusted_accuracy.value == pytest.approx(np.average(each, weights=TRAINING))
    assert found.accuracy.value == pytest.approx(right.mean())
