"""Divergence of the similarities that rows have to keys: what CIRKD's three terms are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_UNUSED = -1e4  # added to what an unused key's similarity is: its share becomes exactly 0
_BLOCK = {"cpu": 2**19}  # similarities at a time: they stay in the cache
_BLOCK_ELSEWHERE = 2**26


def relation_divergence(
    rows: Tensor,
    keys: Tensor,
    teacher_rows: Tensor,
    teacher_keys: Tensor,
    *,
    temperature: float = 0.1,
    weights: Tensor | None = None,
    used: Tensor | None = None,
) -> Tensor:
    """Weighted sum over rows of KL(teacher's || student's distribution over keys).

    q_i = softmax over keys j of <row_i, key_j> / temperature. The gradient, (q_S - q_T) /
    temperature times keys or rows, is made with the value, a block of rows at a time: the R x M
    similarities are never held, and nearly all the work is that of the matrix products. Under
    autocast these have its precision, the rest is float32.

    Args:
        rows, keys: the student's, (R, C) and (M, C).
        teacher_rows, teacher_keys: the teacher's, (R, C') and (M, C'). Detached.
        temperature: > 0.
        weights: (R,) of the rows; None: 1 each.
        used: (M,) bool, False for keys that are left out; None: all. Left out keys must be finite.

    Returns:
        Scalar.
    """
    if weights is None:
        weights = rows.new_ones(len(rows))
    bias = rows.new_zeros(len(keys))
    if used is not None:
        bias = bias.masked_fill(~used, _UNUSED)
    total: Tensor = _RelationDivergence.apply(
        rows, keys, teacher_rows.detach(), teacher_keys.detach(), temperature, weights, bias
    )
    return total


class _RelationDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        keys: Tensor,
        teacher_rows: Tensor,
        teacher_keys: Tensor,
        temperature: float,
        weights: Tensor,
        bias: Tensor,
    ) -> Tensor:
        of_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        of_keys = torch.zeros_like(keys) if ctx.needs_input_grad[1] else None
        total = rows.new_zeros(())
        # Products of half precision take differences of shares, not their millionth parts.
        scale = weights.amax().clamp(min=torch.finfo(weights.dtype).tiny)
        relative = (weights / scale)[:, None]
        step = max(1, _BLOCK.get(rows.device.type, _BLOCK_ELSEWHERE) // len(keys))
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            own = torch.addmm(bias, rows[part] / temperature, keys.T).to(rows.dtype)
            other = torch.addmm(bias, teacher_rows[part] / temperature, teacher_keys.T)
            other = other.to(rows.dtype)
            share, target = own.softmax(1), other.softmax(1)
            # Difference of the logs of the normalisers, from the largest similarity and its share.
            normalisers = (own.amax(1) - other.amax(1)) + (target.amax(1) / share.amax(1)).log()
            divergence = normalisers + (target * other.sub_(own)).sum(1)
            total += divergence @ weights[part]
            slope = share.sub_(target).mul_(relative[part])
            if of_rows is not None:
                of_rows[part] = slope @ keys
            if of_keys is not None:
                of_keys += slope.T @ rows[part]
        for gradient in (of_rows, of_keys):
            if gradient is not None:
                gradient.mul_(scale / temperature)
        ctx.save_for_backward(of_rows, of_keys)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        of_rows, of_keys = (None if g is None else g * gradient for g in ctx.saved_tensors)
        return of_rows, of_keys, None, None, None, None, None
