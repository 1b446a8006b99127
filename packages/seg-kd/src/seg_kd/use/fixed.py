"""Training views that are fixed, so that a teacher looks at each once; and labels for a few images.

An image has a number of fixed views. Which one a run sees at a position of its stream follows from
the run's seed; what it looks like follows from image and number alone, and is the same in all runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repro_shared.datasets.label_maps import Sample
from repro_shared.datasets.label_values import IGNORED
from repro_shared.runtime.rng import derive_seed
from seg_kd.use.data import Samples, Transform, Views


class FixedViews(Views):
    """Views of a stream, each one of `count` fixed views of its image, that know their row.

    Row = index of the image x count + number of the view; it is the `row` of the data sample.

    Args:
        source, transform, seed: as of `Views`; the seed decides which view is seen when.
        count: fixed views of an image.
        remember: keep every view in memory once it has been made.
    """

    def __init__(
        self,
        source: Sequence[Sample],
        transform: Transform,
        seed: int,
        count: int,
        remember: bool = False,
    ) -> None:
        super().__init__(source, transform, seed)
        self.count, self.remember = count, remember
        self._made: dict[int, Any] = {}

    def __getitem__(self, place: tuple[int, int]) -> Any:
        """The view at (position, index of the image)."""
        position, index = place
        number = derive_seed(self.seed, "which view", position) % self.count
        return self.at(index * self.count + number)

    def at(self, row: int) -> Any:
        """The view of a row, packed as mmseg's loaders do."""
        if row in self._made:
            return self._made[row]
        made = self.view(self.source[row // self.count], derive_seed("fixed view", row))
        made["data_samples"].set_metainfo({"row": row})
        if self.remember:
            self._made[row] = made
        return made


def few_labels(samples: Samples, share: float, hide: bool) -> Samples:
    """A set of which a share of the images has labels, the same in every run.

    Args:
        samples: images and label maps.
        share: above 0, at most 1; at least one image keeps its labels.
        hide: keep the other images, all their pixels ignored; else leave them out.
    """
    count = math.ceil(share * len(samples))
    order = np.random.RandomState(derive_seed("labels")).permutation(len(samples))
    chosen = sorted(order[:count].tolist())
    shown = range(len(samples)) if hide else chosen
    return replace(
        samples,
        source=Part(samples.source, tuple(shown), frozenset(chosen)),
        sizes=[samples.sizes[i] for i in shown],
    )


@dataclass(frozen=True)
class Part(Sequence[Sample]):
    """Images of a set, some of them without labels.

    Attributes:
        source: the set.
        indices: of the images, in order.
        labelled: those that keep their labels.
    """

    source: Sequence[Sample]
    indices: tuple[int, ...]
    labelled: frozenset[int]

    @property
    def names(self) -> tuple[str, ...] | None:
        """The files' names, where the set has any."""
        names = getattr(self.source, "names", None)
        return tuple(names[i] for i in self.indices) if names else None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Sample:  # type: ignore[override]
        index = self.indices[place]
        image, labels = self.source[index]
        return image, labels if index in self.labelled else np.full_like(labels, IGNORED)
