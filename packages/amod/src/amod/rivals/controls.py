"""Routers that are no method, but negative controls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def from_another_image(x: Tensor, scores: Tensor) -> Tensor:
    """Each image is routed by its neighbour's scores: (B, N, d) and (B, N) to (B, N)."""
    return scores.roll(1, dims=0)


def other_draws(x: Tensor, scores: Tensor) -> Tensor:
    """Random tokens, (B, N), others than those of the router `random` at the same state."""
    torch.rand(x.shape[:2])
    return torch.rand(x.shape[:2]).to(x.device)


CONTROLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "other-image": from_another_image,
    "random-again": other_draws,
}
"""By the name that a `Variant` gives."""
