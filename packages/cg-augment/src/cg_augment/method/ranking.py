"""Does a class's probability tell its images from those that hold its spurious feature alone?

Spurious ImageNet (arXiv 2212.04871): 100 classes with 75 photographs each that show a spurious
feature of the class and not the class. For each class the positives are ImageNet's validation
images of it, the negatives those photographs, and the score is softmax's probability of the class.

The reference code calls its number AUC and computes the average precision, the area under the
precision-recall curve, which depends on how many negatives there are for each positive. Both are
here under their own names: `spurious_map` is the reference's, `spurious_auroc` the area under the
ROC curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_precision(positive: ArrayLike, scores: ArrayLike) -> float:
    """Sum over thresholds of (R_n - R_{n-1}) P_n; equal scores share a threshold.

    As `sklearn.metrics.average_precision_score` defines it: no interpolation.

    Args:
        positive: (n,) whether it is one.
        scores: (n,) finite, the higher the more so.

    Raises:
        ValueError: no positives, or scores that are not finite.
    """
    true, _, cuts = _ranked(positive, scores)
    hits = np.cumsum(true)[cuts]
    if not hits[-1]:
        raise ValueError("no positives: the average precision is undefined")
    precision, recall = hits / (cuts + 1), hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(positive: ArrayLike, scores: ArrayLike) -> float:
    """Probability that a positive scores above a negative; equal scores count one half.

    Args:
        positive: (n,) whether it is one.
        scores: (n,) finite.

    Raises:
        ValueError: no positives, no negatives, or scores that are not finite.
    """
    true, _, cuts = _ranked(positive, scores)
    hits = np.concatenate([[0], np.cumsum(true)[cuts]])
    misses = np.concatenate([[0], cuts + 1]) - hits
    if not hits[-1] or not misses[-1]:
        raise ValueError("positives and negatives are needed: the area under ROC is undefined")
    area = np.sum(np.diff(misses) * (hits[1:] + hits[:-1]) / 2)
    return float(area / (hits[-1] * misses[-1]))


@dataclass(frozen=True)
class SpuriousClass:
    """One class.

    Attributes:
        number: of the class in the classifier's outputs.
        average_precision, auroc: positives against negatives.
        positives, negatives: how many.
        recognised: share of positives that are classified as the class.
        fooled: share of negatives that are classified as the class.
    """

    number: int
    average_precision: float
    auroc: float
    positives: int
    negatives: int
    recognised: float
    fooled: float


@dataclass(frozen=True)
class SpuriousScores:
    """All classes.

    Attributes:
        classes: each of them.
        joint: average precision of all positives against all negatives, each with the probability
            of its own class.
    """

    classes: tuple[SpuriousClass, ...]
    joint: float

    @property
    def spurious_map(self) -> float:
        """Mean average precision: what the reference reports as spurious mAUC."""
        return float(np.mean([each.average_precision for each in self.classes]))

    @property
    def spurious_auroc(self) -> float:
        """Mean area under the ROC curve."""
        return float(np.mean([each.auroc for each in self.classes]))

    @property
    def fooled(self) -> float:
        """Mean share of spurious images that are classified as the class."""
        return float(np.mean([each.fooled for each in self.classes]))


def spurious_scores(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.integer],
    spurious_probabilities: NDArray[np.floating],
    spurious_targets: NDArray[np.integer],
    classes: Sequence[int] | None = None,
) -> SpuriousScores:
    """Scores of all classes that have spurious images.

    Args:
        probabilities: (n, outputs) softmax of images of classes.
        targets: (n,) their classes.
        spurious_probabilities: (m, outputs) softmax of spurious images.
        spurious_targets: (m,) whose feature they show.
        classes: which to score; by default all in `spurious_targets`.

    Raises:
        ValueError: a class without positives or without negatives, by its number.
    """
    wanted = sorted({*map(int, spurious_targets)} if classes is None else classes)
    if not wanted:
        raise ValueError("no spurious images")
    found, joint = list[SpuriousClass](), list[tuple[NDArray, NDArray]]()
    for number in wanted:
        seen = probabilities[targets == number]
        shown = spurious_probabilities[spurious_targets == number]
        if not len(seen) or not len(shown):
            kind = "images of the class" if not len(seen) else "spurious images"
            raise ValueError(f"class {number} has no {kind}: its scores are undefined")
        scores = np.concatenate([seen[:, number], shown[:, number]])
        positive = np.arange(len(scores)) < len(seen)
        joint.append((positive, scores))
        found.append(
            SpuriousClass(
                number,
                average_precision(positive, scores),
                roc_auc(positive, scores),
                len(seen),
                len(shown),
                float((seen.argmax(axis=1) == number).mean()),
                float((shown.argmax(axis=1) == number).mean()),
            )
        )
    positives, every = (np.concatenate(part) for part in zip(*joint, strict=True))
    return SpuriousScores(tuple(found), average_precision(positives, every))


def _ranked(
    positive: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Labels and scores from the highest score down, and where each run of equal scores ends."""
    true, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    if true.ndim != 1 or true.shape != values.shape or not len(true):
        raise ValueError(f"{true.shape} labels and {values.shape} scores")
    if not np.isfinite(values).all():
        raise ValueError("scores that are not finite cannot be ranked")
    order = np.argsort(-values, kind="stable")
    true, values = true[order], values[order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    return true, values, ends
