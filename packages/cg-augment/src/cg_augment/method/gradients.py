"""Gradients of a batch, sample by sample: their length, and which of them are numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def finite(*values: Tensor) -> Tensor:
    """Which samples are finite in all of these, bool (n,). A NaN is found, never replaced."""
    return torch.stack([v.detach().flatten(1).isfinite().all(dim=1) if v.ndim > 1
                        else v.detach().isfinite() for v in values]).all(dim=0)  # fmt: skip


def column(values: Tensor, like: Tensor) -> Tensor:
    """(n,) as (n, 1, ...), to multiply samples with."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def unit(gradient: Tensor) -> Tensor:
    """Each sample divided by its root mean square; one that is zero stays zero."""
    # Divided by the largest entry first: squares of what float32 just holds would be zero.
    largest = gradient.flatten(1).abs().amax(dim=1)
    scaled = gradient / column(torch.where(largest > 0, largest, 1), gradient)
    size = scaled.flatten(1).square().mean(dim=1).sqrt()
    return scaled / column(torch.where(size > 0, size, 1), gradient)


def norm(values: Tensor) -> Tensor:
    """Length of each sample (n, 1, ...)."""
    return column(values.flatten(1).norm(dim=1), values)
