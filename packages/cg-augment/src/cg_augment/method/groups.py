"""Accuracy by group: four averages that are often taken for each other, each under its own name.

A group is a class together with the value of a spurious attribute, such as blond men. Group labels
are read for scoring alone. An average that a missing group leaves undefined says so, and is not 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Figure:
    """A number from 0 to 1, or why there is none.

    Attributes:
        value: None where it is undefined.
        undefined: the reason, "" for a number.
    """

    value: float | None
    undefined: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.undefined})"
        return f"{100 * self.value:.2f} %"


@dataclass(frozen=True)
class Group:
    """One group's result.

    Attributes:
        name: in words.
        images: scored.
        right: of these.
        training: images of the group that the student was trained on; None where nobody knows.
    """

    name: str
    images: int
    right: int
    training: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None without images."""
        return self.right / self.images if self.images else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """`wilson` of the accuracy; None without images."""
        return wilson(self.right, self.images) if self.images else None


@dataclass(frozen=True)
class GroupAccuracy:
    """Accuracies of all groups of a test set."""

    groups: tuple[Group, ...]

    @property
    def worst(self) -> Group | None:
        """The group of lowest accuracy, the first of equal ones; None if a group has no images.

        Its interval is that of one group: that it is the worst of several is not allowed for.
        """
        if self._empty or not self.groups:
            return None
        return min(self.groups, key=lambda group: group.right / group.images)

    @property
    def worst_group_accuracy(self) -> Figure:
        """Accuracy of the worst group."""
        if self.worst is None:
            return Figure(None, self._empty or "no groups")
        return Figure(self.worst.accuracy)

    @property
    def mean_group_accuracy(self) -> Figure:
        """Mean over groups, each with the same weight."""
        if self._empty or not self.groups:
            return Figure(None, self._empty or "no groups")
        return Figure(_mean([g.right / g.images for g in self.groups], [1.0] * len(self.groups)))

    @property
    def adjusted_accuracy(self) -> Figure:
        """Mean over groups, weighted by the sizes that they have in the training set.

        As Sagawa et al. (arXiv 1911.08731) and SpuCo average. A group that training lacks would
        have the weight 0 and be passed over in silence, so the average is undefined.
        """
        if self._empty or not self.groups:
            return Figure(None, self._empty or "no groups")
        if any(group.training is None for group in self.groups):
            return Figure(None, "training sizes are not known")
        absent = [group.name for group in self.groups if not group.training]
        if absent:
            return Figure(None, f"not in training: {', '.join(absent)}")
        sizes = [float(group.training or 0) for group in self.groups]
        return Figure(_mean([g.right / g.images for g in self.groups], sizes))

    @property
    def accuracy(self) -> Figure:
        """Plain accuracy: right answers of all images, so groups count as often as they occur."""
        images = sum(group.images for group in self.groups)
        if not images:
            return Figure(None, "no images")
        return Figure(sum(group.right for group in self.groups) / images)

    @property
    def _empty(self) -> str:
        without = [group.name for group in self.groups if not group.images]
        return f"no test images: {', '.join(without)}" if without else ""

    def figures(self) -> dict[str, Figure]:
        """The four by their names."""
        return {
            "worst-group accuracy": self.worst_group_accuracy,
            "mean-group accuracy": self.mean_group_accuracy,
            "adjusted accuracy": self.adjusted_accuracy,
            "accuracy": self.accuracy,
        }


def group_accuracy(
    right: ArrayLike,
    groups: ArrayLike,
    names: Sequence[str],
    training: Sequence[int] | None = None,
) -> GroupAccuracy:
    """Accuracies by group.

    Args:
        right: (n,) whether each answer is right.
        groups: (n,) integers, 0 to len(names) - 1.
        names: of all groups that there are, also of those without images.
        training: images of each group in the training set as it was trained on, 0 for a removed
            group; None where nobody knows.

    Raises:
        ValueError: other lengths, or a number that is no group's.
    """
    hits, places = np.asarray(right, bool), np.asarray(groups, np.int64)
    if hits.ndim != 1 or hits.shape != places.shape:
        raise ValueError(f"{hits.shape} answers and {places.shape} groups")
    if training is not None and len(training) != len(names):
        raise ValueError(f"{len(training)} training sizes for {len(names)} groups")
    if len(places) and not (places.min() >= 0 and places.max() < len(names)):
        raise ValueError(f"groups {places.min()} to {places.max()}, names for {len(names)}")
    images = np.bincount(places, minlength=len(names))
    found = np.bincount(places[hits], minlength=len(names))
    return GroupAccuracy(
        tuple(
            Group(name, int(images[i]), int(found[i]), None if training is None else training[i])
            for i, name in enumerate(names)
        )
    )


def wilson(right: int, images: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share, by default of 95 %; ValueError without images.

    It covers the images of the test set, not seeds of training. Wilson (1927); it stays within 0
    to 1 and is sound for small groups, as the usual normal interval is not.
    """
    if not 0 <= right <= images or images < 1:
        raise ValueError(f"{right} of {images}")
    share, shrink = right / images, 1 + z * z / images
    centre = (share + z * z / (2 * images)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return max(0.0, centre - half), min(1.0, centre + half)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    pairs = zip(values, weights, strict=True)
    return math.fsum(value * weight for value, weight in pairs) / math.fsum(weights)
