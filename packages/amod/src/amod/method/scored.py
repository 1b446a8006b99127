"""timm's attention with its scores: queries, keys and values, attention and votes, projection.

The same operations as timm's `Attention`, `AttentionRope` and `EvaAttention`, which keep their maps
to themselves. One place for all three: they differ in how queries, keys and values are made.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.layers import apply_rot_embed_cat, resolve_self_attn_mask
from torch import Tensor, nn

from amod.method import kernels
from amod.method.routing import (
    Rows,
    attention_scores,
    attention_with_scores,
    swapped_scores,
    votes,
)

Backend = Literal["auto", "explicit", "swapped", "triton"]

# Up to this many tokens attention maps fit a core's cache, and the explicit form is cheaper.
EXPLICIT_UP_TO = 512


def heads(attention: Any, x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, (B, H, N, D) each, normalised and rotated as timm's attention does.

    Args:
        attention: a timm `Attention`, `AttentionRope` or `EvaAttention`.
        x: (B, N, d).
        rope: rotary table of the tokens behind the prefix, or None.
    """
    width = attention.head_dim
    if attention.qkv is None:
        parts = (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
        query, key, value = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in parts)
    else:
        joint = _joint(attention, x).unflatten(-1, (3, attention.num_heads, width))
        query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is not None:
        prefix, half = attention.num_prefix_tokens, getattr(attention, "rotate_half", False)
        query, key = (
            torch.cat([t[:, :, :prefix], apply_rot_embed_cat(t[:, :, prefix:], rope, half=half)], 2)
            .type_as(value)
            for t in (query, key)
        )  # fmt: skip
    groups = getattr(attention, "num_kv_groups", 1)
    if groups > 1:  # grouped queries share keys and values
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    return query, key, value


def _joint(attention: Any, x: Tensor) -> Tensor:
    """Query, key and value of all heads in one projection, (B, N, 3 H D)."""
    if getattr(attention, "q_bias", None) is None:
        joint: Tensor = attention.qkv(x)
        return joint
    bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    if attention.qkv_bias_separate:
        return attention.qkv(x) + bias
    return nn.functional.linear(x, attention.qkv.weight, bias)


def merged(attention: Any, x: Tensor, output: Tensor) -> Tensor:
    """What timm's attention does behind the maps: (B, H, N, D) to (B, N, d)."""
    output = attention.norm(output.transpose(1, 2).flatten(2))
    if getattr(attention, "gate", None) is not None:
        output = output * attention.gate(x).sigmoid()
    projected: Tensor = attention.proj_drop(attention.proj(output))
    return projected


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    is_causal: bool,
    dropout: float,
    rows: Rows,
    prefix: int,
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    """Fused attention with the attention that each token receives.

    Args:
        query, key, value: (B, H, N, D).
        attn_mask, is_causal: as of torch's `scaled_dot_product_attention`.
        dropout: probability.
        rows: which query rows vote.
        prefix: number of prefix tokens.
        backend: `explicit` (attention maps in cache-sized chunks; without gradients they give the
            attention too), `swapped` (logsumexps alone, column means only), `triton` (both in one
            kernel; CUDA, up to 256 tokens, column means; explicit under gradients), or `auto`:
            explicit up to `EXPLICIT_UP_TO` tokens, swapped beyond. With a mask always explicit.

    Returns:
        (B, H, N, D), and float32 (B, N).
    """
    scale, masked = query.shape[-1] ** -0.5, attn_mask is not None or bool(is_causal)
    alone = not masked and not dropout and not torch.is_grad_enabled()
    alone = alone and not torch.jit.is_tracing()  # which checks itself with and without gradients
    if backend == "auto":
        long = query.shape[2] > EXPLICIT_UP_TO and rows == "column-mean"
        backend = "swapped" if long else "explicit"
    if alone and backend == "triton":
        return kernels.attention_with_scores(query, key, value, scale)
    if alone and backend == "explicit":
        return attention_with_scores(query, key, value, scale, rows, prefix)
    output = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attn_mask, dropout_p=dropout, is_causal=is_causal
    )
    if masked:
        with torch.no_grad():
            maps = _maps(query * scale, key, attn_mask, is_causal)
            return output, votes(maps, rows, prefix)
    if backend == "swapped":
        return output, swapped_scores(query, key, scale)
    return output, attention_scores(query, key, scale, rows, prefix)


def attend_in_full(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    is_causal: bool,
    attn_drop: nn.Module,
    rows: Rows,
    prefix: int,
) -> tuple[Tensor, Tensor]:
    """The same as timm does without fused attention: maps that hooks and tracers can see."""
    maps = _maps(query * query.shape[-1] ** -0.5, key, attn_mask, is_causal)
    return attn_drop(maps) @ value, votes(maps.detach(), rows, prefix)


def _maps(query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
    return _with_mask(query @ key.transpose(-2, -1), attn_mask, is_causal).softmax(dim=-1)


def _with_mask(logits: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
    bias = resolve_self_attn_mask(logits.shape[-1], logits, attn_mask, is_causal)
    return logits if bias is None else logits + bias


torch.fx.wrap("_with_mask")  # what is None is known when the traced model runs
torch.fx.wrap("votes")
