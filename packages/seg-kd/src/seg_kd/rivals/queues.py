"""Queues of a teacher's past vectors by class, and what goes in: no step waits for a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_kd.method.losses import full_precision


class ClassQueues(nn.Module):
    """The last vectors of each class: a ring of `size` places of `channels` for every class.

    Filled from the beginning; what was never written is zero and is not drawn.

    Args:
        classes: K.
        size: places of a class.
        channels: of a vector.
    """

    def __init__(self, classes: int, size: int, channels: int) -> None:
        super().__init__()
        self.size = size
        # One place more, which takes what is not to be written: no number leaves the device.
        self.register_buffer("vectors", torch.zeros(classes, size + 1, channels))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.long))
        self.vectors: Tensor
        self.written: Tensor

    @torch.no_grad()
    def add(self, vectors: Tensor, counts: Tensor) -> None:
        """Write vectors (K, E, C) in order, those where `counts` (K, E) is True."""
        rank = counts.cumsum(1)
        total = rank[:, -1:]
        wanted = counts & (rank > total - self.size)  # the others would be overwritten at once
        place = ((self.written[:, None] + rank - 1) % self.size).where(wanted, self.size)
        rows = torch.arange(len(place), device=place.device)[:, None]
        self.vectors[rows, place] = vectors.to(self.vectors.dtype)
        self.written += total[:, 0]

    @torch.no_grad()
    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` vectors of each class, no place twice: (K * count, C), and whether each is used.

        A class with fewer has unused zeros for the rest.
        """
        count = min(count, self.size)
        classes, device = len(self.vectors), self.vectors.device
        full = torch.arange(self.size, device=device) < self.written[:, None]
        order = torch.rand(classes, self.size, device=device).where(full, -1.0)
        best, place = order.topk(count, dim=1)
        rows = torch.arange(classes, device=device)[:, None]
        used = best >= 0
        return (self.vectors[rows, place] * used[..., None]).flatten(0, 1), used.flatten()


@torch.no_grad()
def class_pixels(
    feature: Tensor, labels: Tensor, classes: int, count: int
) -> tuple[Tensor, Tensor]:
    """Up to `count` random pixels of each class of each image.

    Args:
        feature: (B, C, H, W); labels: (B, H, W).
        classes: K.
        count: of one class in one image.

    Returns:
        (K, B * count, C), and (K, B * count) whether there is one.
    """
    places = labels.flatten(1)
    count = min(count, places.shape[1])
    member = places[:, None] == torch.arange(classes, device=labels.device)[:, None]  # B, K, N
    order = torch.rand(places.shape, device=labels.device)[:, None].where(member, -1.0)
    best, place = order.topk(count, dim=2)
    rows = torch.arange(len(places), device=labels.device)[:, None, None]
    found = feature.flatten(2).mT[rows, place]  # B, K, count, C
    return found.transpose(0, 1).flatten(1, 2), (best >= 0).transpose(0, 1).flatten(1)


@torch.no_grad()
def class_regions(feature: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean of each class's pixels in each image, as unit vectors: (K, B, C), and whether any."""
    places = labels.flatten(1)
    member = places[:, None] == torch.arange(classes, device=labels.device)[:, None]
    with full_precision(feature):
        means = F.normalize(member.to(feature.dtype) @ feature.flatten(2).mT, dim=2)
    return means.transpose(0, 1), member.any(2).T
