"""Run a block on some of the tokens: gather rows, run, write the rows back."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def packed(
    block: nn.Module,
    x: Tensor,
    index: Tensor,
    gate: Tensor | None = None,
    rope: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """Run a block on the chosen tokens; all others pass bit for bit.

    Args:
        block: maps (B, k, d) to (B, k, d).
        x: (B, N, d).
        index: (B, k), distinct within a row.
        gate: (B, N) factor of the block's update, or None.
        rope: rotary table of all tokens, see `gather_rope`, or None for blocks without.
        inplace: overwrite the rows of x; only where nobody else reads it and no gradient is kept.

    Returns:
        (B, N, d). Rows are copied by flat position: one read and one write of k rows an image.
    """
    batch, tokens, width = x.shape
    offsets = torch.arange(batch, device=x.device)[:, None] * tokens
    flat = (index + offsets).reshape(-1)
    rows = x.reshape(batch * tokens, width)
    chosen = rows.index_select(0, flat).reshape(batch, -1, width)
    output = block(chosen) if rope is None else block(chosen, rope=gather_rope(rope, index))
    if gate is not None:
        output = chosen + gate.gather(1, index)[..., None] * (output - chosen)
    update = output.reshape(-1, width).to(rows.dtype)
    if inplace:
        return rows.index_copy_(0, flat, update).reshape(x.shape)
    return rows.index_copy(0, flat, update).reshape(x.shape)


def full_rope(rope: Tensor, prefix: int) -> Tensor:
    """A rotary table with rows of no rotation (sine 0, cosine 1) for the prefix tokens.

    Args:
        rope: (..., patches, 2 E), sines then cosines, as timm makes it.
        prefix: number of prefix tokens.

    Returns:
        (..., prefix + patches, 2 E): with it every token finds its row by its position.
    """
    shape = (*rope.shape[:-2], prefix, rope.shape[-1] // 2)
    still = torch.cat([rope.new_zeros(shape), rope.new_ones(shape)], dim=-1)
    return torch.cat([still, rope], dim=-2)


def gather_rope(rope: Tensor, index: Tensor) -> Tensor:
    """The rows of the chosen tokens.

    Args:
        rope: (N, E) for all images and heads; (heads, N, E); or (B, 1 or heads, N, E).
        index: (B, k).

    Returns:
        (B, 1 or heads, k, E), as timm's attention applies it.
    """
    if rope.ndim == 2:
        return rope[index][:, None]
    if rope.ndim == 3:
        return rope[:, index].transpose(0, 1)
    wanted = index[:, None, :, None].expand(-1, rope.shape[1], -1, rope.shape[3])
    return rope.gather(2, wanted)
