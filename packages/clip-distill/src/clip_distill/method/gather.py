"""One batch over several processes: losses that contrast samples need all of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes (world * b, ...), in the order of their ranks.

    For losses that every process computes on the whole batch, under DistributedDataParallel, which
    averages the gradients of the processes: the gradient of a process's own rows is multiplied by
    their number, so that the average is the gradient of one process with the whole batch. Nothing
    is sent on the way back, since every process has the gradient of all rows.

    Args:
        rows: (b, ...), as many in every process. Without a process group they come back as they
            are.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    made: Tensor = _Gather.apply(rows)
    return made


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """All rows."""
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        ctx.own = slice(dist.get_rank() * len(rows), (dist.get_rank() + 1) * len(rows))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        """Of the process's own rows."""
        own: Tensor = gradients[0][ctx.own]
        return own * dist.get_world_size()
