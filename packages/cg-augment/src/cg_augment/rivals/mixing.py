"""mixup and CutMix in distillation: images are mixed, and the teacher labels the mixed image.

Labels are not mixed: the teacher says what it sees (arXiv 2106.05237 calls it function matching).
One mixing weight a batch, as the authors of both have it; each image's partner is its place in a
permutation of the batch.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Mixing = Literal["none", "mixup", "cutmix"]


def mixup(images: Tensor, partners: Tensor, weight: float) -> Tensor:
    """weight * image + (1 - weight) * partner (arXiv 1710.09412, equation 1).

    Args:
        images: (n, 3, h, w).
        partners: (n,) places of the partners.
        weight: of the image itself, 0 to 1.
    """
    return weight * images + (1 - weight) * images[partners]


def cutmix(images: Tensor, partners: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """The partner's pixels in a box: top, bottom, left, right (arXiv 1905.04899, equation 1)."""
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partners][:, :, top:bottom, left:right]
    return mixed


def cut_box(
    height: int, width: int, weight: float, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """A box of the share 1 - weight, its centre anywhere, cut at the borders (same, equation 2)."""
    side = (1 - weight) ** 0.5
    high, wide = int(height * side), int(width * side)
    y, x = int(generator.integers(height)), int(generator.integers(width))
    return (
        max(0, y - high // 2), min(height, y + high // 2),
        max(0, x - wide // 2), min(width, x + wide // 2),
    )  # fmt: skip


def mixed(images: Tensor, kind: Mixing, alpha: float, seed: int) -> Tensor:
    """A batch (n, 3, h, w) as the student and the teacher see it, the same for a seed.

    Args:
        images: of the batch.
        kind: `none` leaves them as they are.
        alpha: of Beta(alpha, alpha), from which the weight is drawn; 1 is the uniform distribution.
        seed: of this batch.
    """
    if kind == "none":
        return images
    generator = np.random.default_rng(seed)
    weight = float(generator.beta(alpha, alpha))
    partners = torch.from_numpy(generator.permutation(len(images))).to(images.device)
    if kind == "mixup":
        return mixup(images, partners, weight)
    height, width = images.shape[-2:]
    return cutmix(images, partners, cut_box(height, width, weight, generator))
