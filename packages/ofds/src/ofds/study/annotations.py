"""Who annotated what: boxes by people and by a detector, each with its source, and batches of them.

Merging keeps every box's source and score, so that it can be undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ofds.study.scenes import Scenes
from ofds.use.nets.detector import Target, as_tensor

SHIFT = 12  # pixels by which a training image is moved at most, to each side
VISIBLE = 0.5  # share of a box that a moved image must still show

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Annotations:
    """Boxes on some of the images of a pool.

    Attributes:
        images: (k,) places of the annotated images, those without a box too, ascending.
        image: (n,) place of each box's image.
        label: (n,) place of its class.
        box: (n, 4) x, y, width, height in pixels.
        score: (n,) of the detector; 1 for a person's.
        human: (n,) whether a person drew it.
        by_people: (k,) whether people annotated the image.
    """

    images: Ints
    image: Ints
    label: Ints
    box: NDArray[np.float32]
    score: NDArray[np.float32]
    human: NDArray[np.bool_]
    by_people: NDArray[np.bool_]

    def without(self, places: Ints) -> Annotations:
        """Without some images and what is on them."""
        stays, there = ~np.isin(self.images, places), ~np.isin(self.image, places)
        return replace(
            self,
            images=self.images[stays],
            by_people=self.by_people[stays],
            **{name: getattr(self, name)[there] for name in COLUMNS},
        )


COLUMNS = ("image", "label", "box", "score", "human")


def by_people(scenes: Scenes, places: Any) -> Annotations:
    """The truth on some images."""
    own = np.unique(np.asarray(places, np.int64))
    have = np.isin(scenes.image, own)
    count = int(have.sum())
    return Annotations(
        own, scenes.image[have], scenes.label[have], scenes.box[have],
        np.ones(count, np.float32), np.ones(count, bool), np.ones(len(own), bool),
    )  # fmt: skip


def by_detector(found: Any, places: Any, least: float) -> Annotations:
    """Detections with a score of `least` or more on some images, as they are."""
    own = np.unique(np.asarray(places, np.int64))
    have = np.isin(found.image, own) & (found.score >= least)
    return Annotations(
        own, found.image[have], found.label[have], found.box[have], found.score[have],
        np.zeros(int(have.sum()), bool), np.zeros(len(own), bool),
    )  # fmt: skip


def merged(people: Annotations, detector: Annotations) -> Annotations:
    """Both; where people annotated an image, the detector's boxes on it give way."""
    rest = detector.without(people.images)
    both = {
        name: np.concatenate([getattr(people, name), getattr(rest, name)])
        for name in (*COLUMNS, "images", "by_people")
    }
    rows, images = np.argsort(both["image"], kind="stable"), np.argsort(both["images"])
    ordered = {name: both[name][rows] for name in COLUMNS}
    return Annotations(
        images=both["images"][images], by_people=both["by_people"][images], **ordered
    )


def targets(annotations: Annotations, sure: float, weight: float = 1.0) -> list[Target]:
    """For `images`, in order. A detector's boxes below `sure` are regions that are not learned.

    Args:
        annotations: with whatever the detector found from some lower score upwards.
        sure: score from which a detector's box counts as an object.
        weight: of images that the detector annotated; people's have 1.
    """
    cuts = np.searchsorted(annotations.image, [annotations.images, annotations.images + 1])
    edges = annotations.box.copy()
    edges[:, 2:] += edges[:, :2]
    made = []
    for start, end, people in zip(*cuts, annotations.by_people, strict=True):
        kept = annotations.score[start:end] >= sure
        box = torch.from_numpy(edges[start:end])
        made.append({
            "boxes": box[kept],
            "labels": torch.from_numpy(annotations.label[start:end][kept]),
            "ignored": box[~kept],
            "weight": torch.tensor(1.0 if people else weight),
        })  # fmt: skip
    return made


def batches(
    scenes: Scenes, annotations: Annotations, size: int, sure: float = 0.0, weight: float = 1.0
) -> Callable[[np.random.Generator], Any]:
    """Draws images at random, each moved a little, with their targets.

    Where both people and a detector annotated, half of every batch is people's.

    Raises:
        ValueError: no image is annotated.
    """
    if not len(annotations.images):
        raise ValueError("no image is annotated")
    made = targets(annotations, sure, weight)
    places = np.arange(len(made))
    sources = [places[annotations.by_people], places[~annotations.by_people]]
    sources = [each for each in sources if len(each)]

    def draw(generator: np.random.Generator) -> tuple[torch.Tensor, list[Target]]:
        parts = np.array_split(np.arange(size), len(sources))
        chosen = np.concatenate([
            own[generator.integers(len(own), size=len(part))]
            for own, part in zip(sources, parts, strict=True)
        ])  # fmt: skip
        images, found = [], []
        for place in chosen:
            right, down = generator.integers(-SHIFT, SHIFT + 1, 2).tolist()
            images.append(shifted(scenes.images[annotations.images[place]], right, down))
            found.append(shifted_target(made[place], right, down, images[-1].shape[1::-1]))
        return as_tensor(np.stack(images)), found

    return draw


def shifted(image: NDArray[Any], right: int, down: int) -> NDArray[Any]:
    """An image (h, w, ...) moved by whole pixels; its edge is repeated where nothing was."""
    rows = (np.arange(image.shape[0]) - down).clip(0, image.shape[0] - 1)
    columns = (np.arange(image.shape[1]) - right).clip(0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def shifted_target(target: Target, right: int, down: int, size: tuple[int, ...]) -> Target:
    """Its boxes, moved and cut at the image; a box of which less than half is left is ignored."""
    limit = torch.tensor([*size, *size])
    shift = torch.tensor([right, down, right, down])
    whole = target["boxes"] + shift
    boxes = torch.minimum(whole.clamp(min=0), limit)
    left = _area(boxes) >= VISIBLE * _area(whole)
    ignored = torch.minimum((target["ignored"] + shift).clamp(min=0), limit)
    return {
        **target,
        "boxes": boxes[left],
        "labels": target["labels"][left],
        "ignored": torch.cat([ignored, boxes[~left]]),
    }


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
