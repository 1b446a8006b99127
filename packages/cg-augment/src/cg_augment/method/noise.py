"""Noise of each image from its own seed: the same in every batch, on every device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repro_shared.runtime.rng import derive_seed


@dataclass(frozen=True)
class Noise:
    """Draws on the CPU in float32, one generator for each draw of each image.

    Attributes:
        seeds: of the images.
        candidate: of several images with one seed.
    """

    seeds: tuple[int, ...]
    candidate: int = 0

    def __len__(self) -> int:
        return len(self.seeds)

    def start(self, rows: Tensor, like: Tensor) -> Tensor:
        """Where sampling begins: (rows, ...) of the shape, type and device of `like` (1, ...)."""
        return self.draw(rows, like, "start", 0)

    def step(self, rows: Tensor, like: Tensor, place: int) -> Tensor:
        """What step `place` adds."""
        return self.draw(rows, like, "step", place)

    def draw(self, rows: Tensor, like: Tensor, purpose: str, place: int) -> Tensor:
        """Normal noise for a purpose, (rows, ...)."""
        drawn = []
        for row in rows.tolist():
            seed = derive_seed(self.seeds[row], self.candidate, purpose, place)
            drawn.append(torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)))
        return torch.stack(drawn).to(like)
