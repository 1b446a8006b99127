"""A segmenter small enough to be trained anew for every selection: 0.25 million weights, stride 4.

The detector's trunk with another head: scores of each class at a quarter of the resolution, scaled
to the image (ours).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ofds.use.nets.centre_point import Trunk
from ofds.use.nets.detector import as_tensor
from repro_shared.datasets.label_values import IGNORED

MULTIPLE = 16  # of pixels, which the trunk's sides have to be


class Segmenter(Trunk):
    """Scores of each class at every pixel.

    Args:
        classes: values of the label maps, background included where there is one.
        width: see `Trunk`.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__(width)
        self.score = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(width, classes, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores (b, classes, h, w) of images (b, 3, h, w), 0 to 1, of any size."""
        height, width = images.shape[2:]
        down, right = -height % MULTIPLE, -width % MULTIPLE
        if down or right:
            images = functional.pad(images, (0, right, 0, down), mode="replicate")
        scores = functional.interpolate(
            self.score(self.maps(images)).float(), images.shape[2:], mode="bilinear"
        )
        return scores[..., :height, :width]

    def loss(self, images: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the pixels that have a label; 0 where none has.

        Args:
            images: (b, 3, h, w), 0 to 1.
            labels: (b, h, w) int64; 255 is no label.
            weights: (classes,) of the pixels of each class; all count alike by default.
        """
        scores = self(images)
        total = functional.cross_entropy(
            scores, labels, weights, ignore_index=IGNORED, reduction="sum"
        )
        known = labels[labels != IGNORED]
        count = known.numel() if weights is None else weights[known].sum()
        return total / max(count, 1e-6)


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
