"""A segmenter cheap enough to be trained anew for every selection: a frozen trunk, a small head.

The trunk is EfficientNet-Lite0 with ImageNet's weights. The head, 0.08 million weights, goes from
its coarsest maps up to a quarter of the size, beside the finer maps (as U-Net, arXiv 1505.04597);
its scores are scaled to the image. What the trunk makes of an image can be kept, so that a step of
training costs the head alone. (Widths and depths are ours.)
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ofds.use.nets.detector import as_tensor
from ofds.use.nets.lite0 import Lite0, lite0
from repro_shared.datasets.label_values import IGNORED

Levels = list[Tensor]


class Head(nn.Module):
    """Scores of each class from the trunk's maps.

    Args:
        classes: values of the label maps, background included where there is one.
        widths: channels of its own at a sixteenth, an eighth and a quarter of the size.
    """

    def __init__(self, classes: int, widths: tuple[int, int, int] = (64, 48, 32)) -> None:
        super().__init__()
        fine, middle, coarse = 24, 40, 112
        self.classes = classes
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (fine, middle, coarse))
        self.reduce = nn.Conv2d(coarse, widths[0], 1)
        self.eighth = _layer(widths[0] + middle, widths[1])
        self.quarter = nn.Sequential(
            _layer(widths[1] + fine, widths[2]), _layer(widths[2], widths[2])
        )
        self.score = nn.Conv2d(widths[2], classes, 1)

    def forward(self, levels: Levels, size: tuple[int, int]) -> Tensor:
        """Scores (b, classes, *size) from the maps of `Lite0.levels`."""
        fine, middle, coarse = (
            norm(level.float()) for norm, level in zip(self.norms, levels, strict=True)
        )
        x = _scaled(self.reduce(coarse), middle.shape[2:])
        x = self.eighth(torch.cat([x, middle], dim=1))
        x = _scaled(x, fine.shape[2:])
        x = self.quarter(torch.cat([x, fine], dim=1))
        return _scaled(self.score(x), size)

    def loss(self, levels: Levels, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the pixels that have a label; 0 where none has.

        Args:
            levels: maps of the images.
            labels: (b, h, w) int64; 255 is no label.
            weights: (classes,) of the pixels of each class; all count alike by default.
        """
        scores = self(levels, tuple(labels.shape[1:]))
        total = functional.cross_entropy(
            scores, labels, weights, ignore_index=IGNORED, reduction="sum"
        )
        known = labels[labels != IGNORED]
        count = float(known.numel() if weights is None else weights[known].sum())
        return total / max(count, 1e-6)


class Segmenter(nn.Module):
    """Trunk and head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = Head(classes)
        self.trunk: Lite0 = lite0().requires_grad_(False)

    def train(self, mode: bool = True) -> Segmenter:
        """The trunk stays as it is."""
        self.head.train(mode)
        return self

    @torch.no_grad()
    def levels(self, images: Tensor) -> Levels:
        """What the trunk makes of images (b, 3, h, w), 0 to 1, of any size."""
        return self.trunk.levels(images)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (b, classes, h, w) of images."""
        found: Tensor = self.head(self.levels(images), tuple(images.shape[2:]))
        return found


@torch.inference_mode()
def label_maps(
    model: nn.Module, images: NDArray[np.uint8], device: str = "cpu", batch_size: int = 16
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Labels of images of one size (n, h, w, 3), and the probability of each, (n, h, w)."""
    model.to(device).eval()
    labels = np.empty(images.shape[:3], np.uint8)
    probability = np.empty(images.shape[:3], np.float16)
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        best, label = model(as_tensor(images[part]).to(device)).softmax(dim=1).max(dim=1)
        labels[part], probability[part] = label.cpu().numpy(), best.cpu().numpy()
    return labels, probability


def _layer(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, 1, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _scaled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(maps, tuple(size), mode="bilinear")
