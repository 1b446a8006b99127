"""What every detector here has in common: a loss on annotated images, and detections.

A target is a dictionary of tensors, as torchvision has it: `boxes` (n, 4) x1, y1, x2, y2 in pixels
and `labels` (n,) from 0; and, where known, `ignored` (m, 4), boxes in which nothing is learned from
the background, and `weight`, how much the image counts in the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Target = dict[str, Tensor]


class Detector(Protocol):
    """A network for a fixed list of classes."""

    def loss(self, images: Tensor, targets: list[Target]) -> Tensor:
        """One number; images are (b, 3, h, w), 0 to 1."""
        ...

    def detect(self, images: Tensor) -> list[Target]:
        """`boxes`, `labels` and `scores` of each image, best first."""
        ...


@dataclass(frozen=True)
class Detections:
    """Detections on many images as columns, by ascending image.

    Attributes:
        image: (n,) place of the image.
        label: (n,) place of the class.
        score: (n,) 0 to 1.
        box: (n, 4) x, y, width, height in pixels.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    box: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.image)

    def where(self, kept: NDArray[np.bool_]) -> Detections:
        """Some of them."""
        return Detections(self.image[kept], self.label[kept], self.score[kept], self.box[kept])


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """(n, h, w, 3) bytes as (n, 3, h, w), 0 to 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def detect_all(
    model: Any, images: NDArray[np.uint8], device: str = "cpu", batch_size: int = 32
) -> Detections:
    """What a detector finds on images of one size, (n, h, w, 3)."""
    model.to(device).eval()
    parts = [
        found
        for start in range(0, len(images), batch_size)
        for found in model.detect(as_tensor(images[start : start + batch_size]).to(device))
    ]
    return columns(parts)


def columns(found: list[Target]) -> Detections:
    """Detections image by image as columns."""

    def joined(name: str, *shape: int) -> NDArray[Any]:
        parts = [each[name].cpu().float().reshape(-1, *shape) for each in found]
        return torch.cat([torch.zeros(0, *shape), *parts]).numpy()

    edges = joined("boxes", 4)
    return Detections(
        image=np.repeat(np.arange(len(found)), [len(each["labels"]) for each in found]),
        label=joined("labels").astype(np.int64),
        score=joined("scores"),
        box=np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], axis=1),
    )
