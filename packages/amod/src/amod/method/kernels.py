"""Attention and its scores from one Triton kernel: no second product of queries and keys.

Fused attention keeps its weights to itself, so that scores (arXiv 2412.20875, equations 3 and 4)
computed beside it multiply queries and keys once more. Up to 256 tokens all keys of a head fit in
one tile: a program sees whole rows of the attention map, and sums their columns before it drops
them. Inference on CUDA; on a CPU the kernel runs under Triton's interpreter, for tests.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

MAX_TOKENS = 256
MAX_HEAD_WIDTH = 128  # beside 256 keys a wider head overflows shared memory
SMALLEST_TILE = 16  # side of the smallest tile that tensor cores take


def attention_with_scores(
    query: Tensor, key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """softmax(scale Q K^T) V, and the attention that each token receives in it; no gradient.

    Args:
        query, key, value: (B, H, N, D) of one type, float32, float16 or bfloat16; N up to 256 and D
            up to 128. Any strides: the views that `qkv.unbind` gives are read in place.
        scale: factor of the logits, usually D ** -0.5.

    Returns:
        (B, H, N, D) of the inputs' type, and the scores: (B, N) float32, the mean over heads and
        query rows, each row sums to 1. Logits, softmax and sums are float32; two runs give the same
        bits.

    Raises:
        ValueError: sizes, types or a device that the kernel does not take, or inputs whose gradient
            is wanted.
        ImportError: Triton is not installed.
    """
    kernel, interpreted = _kernel()
    _check(query, key, value, interpreted)
    query, key, value = (t if t.stride(-1) == 1 else t.contiguous() for t in (query, key, value))
    batch, heads, tokens, width = query.shape
    tiles, warps = _tiles(tokens, width, query.dtype)
    programs = heads * -(-tokens // tiles["rows"])  # for one image
    # Tokens before heads in memory, as the projection that follows wants them.
    output = query.new_empty(batch, tokens, heads, width).transpose(1, 2)
    received = query.new_empty(batch, programs, tokens, dtype=torch.float32)
    strides = [s for t in (query, key, value, output) for s in t.stride()[:3]]
    with torch.cuda.device_of(query):
        kernel[(batch * programs,)](
            query, key, value, output, received, scale, heads, tokens, width, *strides,
            **tiles, num_warps=warps,
            # The interpreter multiplies the bit patterns of bfloat16.
            widen=interpreted and query.dtype == torch.bfloat16,
        )  # fmt: skip
    return output, received.sum(dim=1) / (heads * tokens)


def _tiles(tokens: int, width: int, dtype: torch.dtype) -> tuple[dict[str, int], int]:
    """Sides of the padded tiles, and warps of a program.

    So many query rows that the compiled kernel keeps its map in registers for heads of up to 64.
    """
    columns, channels = (max(SMALLEST_TILE, 1 << (n - 1).bit_length()) for n in (tokens, width))
    rows = min(16 if dtype == torch.float32 else 32, columns)
    return {"rows": rows, "columns": columns, "channels": channels}, 4 if columns <= 64 else 8


def _check(query: Tensor, key: Tensor, value: Tensor, interpreted: bool) -> None:
    if query.ndim != 4 or not query.shape == key.shape == value.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (query, key, value))
        raise ValueError(f"query, key and value must be (B, H, N, D) of one shape, got {shapes}")
    if query.shape[2] > MAX_TOKENS or query.shape[3] > MAX_HEAD_WIDTH:
        raise ValueError(
            f"{query.shape[2]} tokens with heads of {query.shape[3]}: the kernel takes up to "
            f"{MAX_TOKENS} tokens and {MAX_HEAD_WIDTH} channels a head"
        )
    if not query.dtype == key.dtype == value.dtype or query.dtype not in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
    ):
        types = ", ".join(str(t.dtype) for t in (query, key, value))
        raise ValueError(f"query, key and value must be one of float32, float16, bfloat16: {types}")
    if torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)):
        raise ValueError("the kernel has no backward pass; call it under torch.no_grad()")
    if not query.is_cuda and not interpreted:
        raise ValueError(f"the kernel runs on CUDA, and the tensors are on {query.device}")


@cache
def _kernel() -> tuple[Any, bool]:
    """The kernel, and whether Triton interprets it (TRITON_INTERPRET=1) instead of compiling."""
    try:
        import triton
        import triton.language as tl
    except ImportError as error:
        raise ImportError(
            "this kernel needs Triton, which exists for Linux only; compute the scores otherwise"
        ) from error

    @triton.jit
    def attend(
        query, key, value, output, received, scale, heads, tokens, width,
        q_image, q_head, q_token, k_image, k_head, k_token,
        v_image, v_head, v_token, o_image, o_head, o_token,
        rows: tl.constexpr, columns: tl.constexpr, channels: tl.constexpr, widen: tl.constexpr,
    ):  # fmt: skip
        """One program for each image, head and tile of query rows, in this order.

        `rows`, `columns` and `channels` are the sides of the padded tiles, `tokens` and `width` the
        true sizes. `received`, contiguous, takes a row of column sums from each program.
        """
        program = tl.program_id(0).to(tl.int64)
        tiles = tl.cdiv(tokens, rows)
        image, head = program // tiles // heads, program // tiles % heads
        row = program % tiles * rows + tl.arange(0, rows)
        column, channel = tl.arange(0, columns), tl.arange(0, channels)
        is_row, is_column = row[:, None] < tokens, column[:, None] < tokens
        is_channel = channel[None, :] < width

        query += image * q_image + head * q_head + row[:, None] * q_token + channel[None, :]
        key += image * k_image + head * k_head + column[:, None] * k_token + channel[None, :]
        value += image * v_image + head * v_head + column[:, None] * v_token + channel[None, :]
        output += image * o_image + head * o_head + row[:, None] * o_token + channel[None, :]
        q = tl.load(query, mask=is_row & is_channel, other=0.0)
        k = tl.load(key, mask=is_column & is_channel, other=0.0)
        v = tl.load(value, mask=is_column & is_channel, other=0.0)
        if widen:
            q, k, v = q.to(tl.float32), k.to(tl.float32), v.to(tl.float32)

        # "tf32x3": float32 on tensor cores in three products, as exact as "ieee" without them,
        # which spills tens of kilobytes a thread at this size. Other types ignore it.
        logits = tl.dot(q, tl.trans(k), input_precision="tf32x3") * scale
        logits = tl.where(column[None, :] < tokens, logits, float("-inf"))
        weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
        weights /= tl.sum(weights, axis=1)[:, None]
        votes = tl.sum(tl.where(is_row, weights, 0.0), axis=0)  # rows of the padding do not vote
        tl.store(received + program * tokens + column, votes, mask=column < tokens)
        mixed = tl.dot(weights.to(v.dtype), v, input_precision="tf32x3")
        tl.store(output, mixed.to(output.dtype.element_ty), mask=is_row & is_channel)

    return attend, bool(triton.knobs.runtime.interpret)
