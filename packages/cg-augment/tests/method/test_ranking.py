"""Average precision and ROC AUC: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cg_augment.method.ranking import average_precision, roc_auc, spurious_scores


def test_by_hand() -> None:
    positive, scores = [1, 1, 1, 0, 0], [0.9, 0.8, 0.3, 0.7, 0.2]
    # Ranks 1 and 2 are positives, then a negative, then the third: 1/3 (1 + 1 + 3/4).
    assert average_precision(positive, scores) == pytest.approx(0.916667, abs=1e-6)
    # Of the six pairs one is in the wrong order.
    assert roc_auc(positive, scores) == pytest.approx(0.833333, abs=1e-6)


@pytest.mark.parametrize("levels", [3, 10, 1000])  # few levels: many equal scores
def test_against_scikit_learn(levels: int) -> None:
    g = np.random.default_rng(levels)
    for _ in range(20):
        positive = g.random(60) < 0.4
        positive[:2] = True, False
        scores = g.integers(0, levels, 60) / levels
        assert average_precision(positive, scores) == pytest.approx(
            average_precision_score(positive, scores)
        )
        assert roc_auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores))


def test_it_depends_on_the_share_of_negatives_and_the_roc_does_not() -> None:
    positive, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    more = np.concatenate([positive, [0, 0]]), np.concatenate([scores, [0.8, 0.1]])
    assert roc_auc(positive, scores) == pytest.approx(roc_auc(*more))
    assert average_precision(*more) < average_precision(positive, scores)


def test_what_is_undefined_is_said() -> None:
    with pytest.raises(ValueError, match="no positives"):
        average_precision([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="positives and negatives"):
        roc_auc([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="not finite"):
        average_precision([1, 0], [0.1, float("nan")])


def rows(*probabilities: tuple[float, float, float]) -> np.ndarray:
    return np.array(probabilities)


def test_spurious_scores_by_hand() -> None:
    # Class 0: positives .9 and .3, negatives .7: AP (1 + 2/3) / 2, ROC 1/2.
    # Class 2: positives .8, negatives .6 and .1: both 1.
    real = rows((0.9, 0.1, 0.0), (0.3, 0.7, 0.0), (0.1, 0.1, 0.8), (0.2, 0.8, 0.0))
    shown = rows((0.7, 0.2, 0.1), (0.2, 0.2, 0.6), (0.5, 0.4, 0.1))
    found = spurious_scores(real, np.array([0, 0, 2, 1]), shown, np.array([0, 2, 2]))
    assert [each.number for each in found.classes] == [0, 2]
    assert found.spurious_map == pytest.approx((5 / 6 + 1) / 2)
    assert found.spurious_auroc == pytest.approx(0.75)
    assert found.fooled == pytest.approx((1 + 1 / 2) / 2)
    assert found.classes[0].recognised == pytest.approx(0.5)
    # All: .9+ .8+ .7- .6- .3+ .1-: 1/3 (1 + 1 + 3/5).
    assert found.joint == pytest.approx(13 / 15)


def test_it_is_what_the_reference_computes() -> None:
    """Mean over classes of scikit-learn's average precision of softmax's probability."""
    g = np.random.default_rng(0)
    real, shown = (g.dirichlet([1.0] * 5, count) for count in (50 * 3, 75 * 3))
    targets, spurious = np.repeat([0, 2, 4], 50), np.repeat([0, 2, 4], 75)
    found = spurious_scores(real, targets, shown, spurious)
    each = [
        average_precision_score(
            [1] * 50 + [0] * 75,
            np.concatenate([real[targets == c, c], shown[spurious == c, c]]),
        )
        for c in (0, 2, 4)
    ]
    assert found.spurious_map == pytest.approx(np.mean(each))


def test_a_class_without_its_images_is_named() -> None:
    real, shown = rows((1, 0, 0)), rows((1, 0, 0), (0, 1, 0))
    with pytest.raises(ValueError, match="class 1 has no images of the class"):
        spurious_scores(real, np.array([0]), shown, np.array([0, 1]))
    with pytest.raises(ValueError, match="class 0 has no spurious images"):
        spurious_scores(real, np.array([0]), shown[1:], np.array([1]), classes=(0,))
