"""What finds objects, outlines them and describes them: three small interfaces.

Images are uint8 (height, width, 3), RGB, upright. Boxes are x1, y1, x2, y2 in pixels. A batch is a
list; what comes back is a list as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """What a detector saw on one image.

    Attributes:
        boxes: (n, 4).
        scores: (n, classes) of each class, 0 to 1.
        features: (n, d) of the detector's own, or None.
        masks: n compressed COCO run lengths, or None where the detector draws none.
    """

    boxes: Boxes
    scores: Floats
    features: Floats | None = None
    masks: tuple[bytes, ...] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def of(self, rows: Any) -> Detections:
        """Some of them, by place."""
        masks = self.masks and tuple(self.masks[row] for row in rows)
        features = None if self.features is None else self.features[rows]
        return Detections(self.boxes[rows], self.scores[rows], features, masks)


@dataclass(frozen=True)
class Outlines:
    """What a masker says of the boxes of one image.

    Attributes:
        masks: compressed COCO run lengths of each.
        features: (n, d) of each.
    """

    masks: tuple[bytes, ...]
    features: Floats


class Model(Protocol):
    """What all of them have."""

    @property
    def about(self) -> Mapping[str, Any]:
        """For the manifest: which weights (sha256), which preprocessing; JSON."""
        ...


class Detector(Model, Protocol):
    """Finds objects of a fixed list of classes."""

    @property
    def threshold(self) -> float:
        """Lowest score that its authors keep."""
        ...

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """Objects on each image; those that score below `least` in every class may be left out."""
        ...


class Masker(Model, Protocol):
    """Outlines what is in a box."""

    def outline(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Outlines]:
        """Of each image's boxes; images may have any number of boxes, and none."""
        ...


class Featurizer(Model, Protocol):
    """Describes what is in a box by a vector."""

    def features(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Floats]:
        """(n, d) of each image's boxes; images may have any number of boxes, and none."""
        ...


def corners(boxes: Floats, width: float, height: float) -> Boxes:
    """Boxes as x1, y1, x2, y2 from centre, width and height in parts of an image's sides."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    found = np.concatenate([centre - half, centre + half], axis=-1)
    return np.asarray(found * np.array([width, height, width, height]), np.float32)


def inside(boxes: Boxes, width: int, height: int) -> Boxes:
    """Boxes cut at the border of their image."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
