"""Rows of some tokens: gather them from tokens, rotary tables and masks, write them back."""

from __future__ import annotations

import torch
from torch import Tensor


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """(B, N, d) and (B, k) to (B, k, d), by flat position: one read of k rows an image."""
    return x.flatten(0, 1).index_select(0, _flat(x, index)).unflatten(0, index.shape)


def put_rows(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """x (B, N, d) with rows (B, k, d) at the positions (B, k), distinct within a row of index.

    All other rows are those of x, bit for bit. Out of place: others may hold x.
    """
    update = rows.flatten(0, 1).to(x.dtype)
    return x.flatten(0, 1).index_copy(0, _flat(x, index), update).view(x.shape)


def _flat(x: Tensor, index: Tensor) -> Tensor:
    offsets = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    return (index + offsets).flatten()


def whole_rope(rope: Tensor, x: Tensor) -> Tensor:
    """A rotary table with rows of no rotation (sine 0, cosine 1) for the prefix tokens.

    Args:
        rope: (..., patches, 2 E), sines then cosines, as timm makes it.
        x: (B, N, d), prefix tokens first.

    Returns:
        (..., N, 2 E): with it every token finds its row by its position.
    """
    shape = (*rope.shape[:-2], x.shape[1] - rope.shape[-2], rope.shape[-1] // 2)
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


def gather_mask(mask: Tensor | None, index: Tensor) -> Tensor | None:
    """The part of an attention mask that concerns the chosen tokens.

    Args:
        mask: None, or queries by keys: (N, N), or (B or 1, H or 1, N or 1, N).
        index: (B, k).

    Returns:
        None, or (B, H or 1, k or 1, k).
    """
    if mask is None:
        return None
    while mask.ndim < 4:
        mask = mask[None]
    mask = mask.expand(len(index), -1, -1, -1)
    if mask.shape[2] > 1:
        rows = index[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3])
        mask = mask.gather(2, rows)
    columns = index[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
    return mask.gather(3, columns)
