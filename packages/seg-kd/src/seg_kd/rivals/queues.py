"""Queues of a teacher's past vectors by class, and what goes in: no step waits for a device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from seg_kd.method.losses import full_precision


class ClassQueues(nn.Module):
    """The last vectors of each class: a ring of `size` places of `channels` for every class.

    Filled from the beginning; what was never written is zero and is not drawn. Several processes
    that train together fill theirs alike, with the vectors of all of them, as CIRKD's do. A
    state_dict holds what has been written and nothing else.

    Args:
        classes: K.
        size: places of a class, or fewer where all classes would take more than `most` bytes.
        channels: of a vector.
        most: bytes, in float32.
    """

    def __init__(self, classes: int, size: int, channels: int, most: int = 2**30) -> None:
        super().__init__()
        self.size = max(1, min(size, most // (4 * classes * channels)))
        size = self.size
        # One place more, which takes what is not to be written: no number leaves the device.
        self.register_buffer("vectors", torch.zeros(classes, size + 1, channels))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.long))
        self.vectors: Tensor
        self.written: Tensor

    @torch.no_grad()
    def add(self, vectors: Tensor, counts: Tensor) -> None:
        """Write vectors (K, E, C) in order, those where `counts` (K, E) is True."""
        vectors, counts = of_all_processes(vectors), of_all_processes(counts)
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

    def _held(self) -> Tensor:
        """(K, size) bool, the places that have been written."""
        return torch.arange(self.size, device=self.written.device) < self.written[:, None]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "vectors"] = self.vectors[:, : self.size][self._held()].detach()

    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        packed, written = (state.pop(prefix + name, None) for name in ("vectors", "written"))
        if packed is not None and written is not None:
            self.written.copy_(written)
            held = self._held()
            if packed.shape == (int(held.sum()), self.vectors.shape[2]):
                whole = torch.zeros_like(self.vectors)
                whole[:, : self.size][held] = packed.to(whole)
                packed = whole
            state[prefix + "vectors"], state[prefix + "written"] = packed, written
        super()._load_from_state_dict(state, prefix, *others)


def of_all_processes(tensor: Tensor) -> Tensor:
    """(K, E, ...) of every process that trains along, one behind the other: (K, world * E, ...)."""
    if not dist.is_initialized():
        return tensor
    world, sent = dist.get_world_size(), tensor.contiguous()
    if tensor.dtype is torch.bool:  # which gloo does not send
        sent = sent.to(torch.uint8)
    parts = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(parts, sent)
    return torch.cat(parts, dim=1).to(tensor.dtype)


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
