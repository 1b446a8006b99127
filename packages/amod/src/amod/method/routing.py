"""Which tokens a block processes: scores from attention, and the choice of the highest.

Source: arXiv 2412.20875, equations 3 to 5. Score of token i = mean over heads and query rows of the
previous block's softmax attention paid to i; the k highest are processed.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Rows = Literal["column-mean", "patch-rows", "cls-row"]
"""Which query rows vote: all (the paper), those of patches, or the class token's alone."""

# Attention maps of a chunk of images, at least one, stay within a core's second-level cache.
CHUNK_BYTES = 2**20


def tokens_kept(capacity: float, tokens: int, align: int = 1) -> int:
    """k = floor(capacity * tokens), as the paper's FLOP columns imply (98 and 24 of 197).

    Args:
        capacity: share, in (0, 1].
        tokens: N.
        align: k is rounded down to a multiple of this, but not below one multiple; k = N stays.

    Raises:
        ValueError: capacity outside (0, 1], or so small that no token is left.
    """
    if not 0 < capacity <= 1:
        raise ValueError(f"capacity must be above 0 and at most 1, got {capacity:g}")
    kept = math.floor(capacity * tokens + 1e-9)  # 0.7 * 10 is 6.999...
    if kept < 1:
        raise ValueError(f"capacity {capacity:g} keeps none of {tokens} tokens; raise it")
    if align < 1:
        raise ValueError(f"k_align must be at least 1, got {align}")
    return kept if kept == tokens else min(tokens, max(align, kept // align * align))


def attention_scores(
    query: Tensor, key: Tensor, scale: float, rows: Rows = "column-mean", prefix: int = 1
) -> Tensor:
    """Attention that each token receives, averaged over heads and query rows; no gradient.

    Args:
        query, key: (B, H, N, D), after any normalisation or rotation.
        scale: factor of the logits, usually D ** -0.5.
        rows: which query rows are averaged.
        prefix: number of prefix tokens; the class token is the first.

    Returns:
        (B, N) float32, each row sums to 1. Computed in at least float32, chunk by chunk, so that no
        more than `CHUNK_BYTES` of attention maps exist at a time.
    """
    with torch.no_grad():
        voters = query[:, :, slice(*_voters(rows, prefix))]
        return torch.cat([_maps(q, k, scale).mean(dim=(1, 2)) for q, k in _chunks(voters, key)])


def votes(maps: Tensor, rows: Rows, prefix: int) -> Tensor:
    """Mean over heads and query rows of attention maps (B, H, N, N): (B, N), at least float32."""
    start, stop = _voters(rows, prefix)
    wide = torch.promote_types(maps.dtype, torch.float32)
    return maps[:, :, start:stop].to(wide).mean(dim=(1, 2))


def attention_with_scores(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    rows: Rows = "column-mean",
    prefix: int = 1,
) -> tuple[Tensor, Tensor]:
    """Attention and `attention_scores` from the same maps: no second product of query and key.

    For inference; arguments as of `attention_scores`, value (B, H, N, D).

    Returns:
        (B, H, N, D) in value's type, and (B, N) float32.
    """
    start, stop = _voters(rows, prefix)
    if traced():
        maps = _maps(query, key, scale)
        return maps.to(value.dtype) @ value, maps[:, :, start:stop].mean(dim=(1, 2)).float()
    batch, heads, tokens, width = query.shape
    wide = torch.promote_types(query.dtype, torch.float32)
    chunks = _chunks(query, key, value)
    # Tokens before heads in memory, as the projection that follows wants them.
    output = value.new_empty(batch, tokens, heads, width).transpose(1, 2)
    # One piece of cache for the maps of all chunks.
    buffer = query.new_empty(len(chunks[0][0]) * heads, tokens, tokens, dtype=wide)
    received, done = [], 0
    with torch.autocast(query.device.type, enabled=False):
        for chunk in chunks:
            n = len(chunk[0])
            # Views, no copies, where a chunk is one image.
            q, k, v = (t.to(wide).reshape(n * heads, tokens, width) for t in chunk)
            maps = buffer[: n * heads]
            torch.baddbmm(maps, q, k.transpose(1, 2), beta=0, alpha=scale, out=maps)
            torch.softmax(maps, dim=-1, out=maps)
            output[done : done + n] = torch.bmm(maps, v).view(n, heads, tokens, width)
            # Heads first: every core then sums the maps that lie in its own cache.
            by_head = maps[:, start:stop].sum(dim=1)
            received.append(by_head.view(n, heads, tokens).sum(dim=1))
            done += n
    voters = heads * len(range(tokens)[start:stop])
    return output, (torch.cat(received) / voters).float()


def traced() -> bool:
    """Whether torch.compile, torch.export or torch.jit.trace is recording what runs."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _maps(query: Tensor, key: Tensor, scale: float) -> Tensor:
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):  # it would multiply in half precision
        return ((scale * query).to(wide) @ key.to(wide).transpose(-2, -1)).softmax(dim=-1)


def _chunks(query: Tensor, key: Tensor, *others: Tensor) -> list[tuple[Tensor, ...]]:
    if traced():  # a compiler plans its own memory, and a split would fix the batch
        return [(query, key, *others)]
    per_image = query.shape[1] * query.shape[2] * key.shape[2] * 4
    chunk = max(1, CHUNK_BYTES // per_image)
    return list(zip(*(t.split(chunk) for t in (query, key, *others)), strict=True))


def _voters(rows: Rows, prefix: int) -> tuple[int, int | None]:
    if rows == "column-mean":
        return 0, None
    if rows == "patch-rows":
        return prefix, None
    if prefix < 1:
        raise ValueError("score cls-row needs a class token; use column-mean")
    return 0, 1


def swapped_scores(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """The same column mean from logsumexps alone: no N x N tensor exists (ours).

    With s_ji the scaled logit of query j and key i and L_j = logsumexp_i s_ji, the attention that i
    receives is sum_j exp(s_ji - L_j) = exp(logsumexp_j(s_ji - L_j)): attention with query and key
    swapped and -L_j as a bias per key, of which only the logsumexp is wanted. The bias rides in an
    extra dimension of the heads, [k_i, 1] . [q_j, -L_j / scale].

    Args:
        query, key: (B, H, N, D), on a CPU or CUDA device.
        scale: factor of the logits.

    Returns:
        (B, N) float32, each row sums to 1. Float32 throughout: half precision picks other tokens.
    """
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        q, k = query.float(), key.float()
        row_sums = _logsumexp(q, k, scale)
        ones = torch.ones_like(row_sums)
        columns = _logsumexp(
            torch.cat([k, ones[..., None]], dim=-1),
            torch.cat([q, -row_sums[..., None] / scale], dim=-1),
            scale,
        )
        return columns.exp().mean(dim=1) / query.shape[2]


def _logsumexp(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """logsumexp over keys of the scaled logits, (B, H, N), from torch's fused attention.

    The operators are private to torch; a test compares them with the explicit form.
    """
    if query.is_cuda:
        operator = torch.ops.aten._scaled_dot_product_efficient_attention
        pad = -query.shape[-1] % 4  # the kernel wants head dimensions that divide by 4
        query, key = (torch.nn.functional.pad(t, (0, pad)) for t in (query, key))
        sums: Tensor = operator(query, key, key, None, True, scale=scale)[1]
        return sums[..., : query.shape[2]]
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    cpu_sums: Tensor = operator(query, key, key, 0.0, False, scale=scale)[1]
    return cpu_sums


def select_share(ranking: Tensor, capacity: float, align: int = 1, protected: int = 0) -> Tensor:
    """`select` of `tokens_kept` of the tokens."""
    return select(ranking, tokens_kept(capacity, ranking.shape[1], align), protected)


def select(scores: Tensor, kept: int, protected: int = 0) -> Tensor:
    """Indices of the highest scores, in ascending order.

    Args:
        scores: (B, N).
        kept: k, 1 to N.
        protected: this many leading tokens are always among the chosen.

    Returns:
        (B, k) int64. Exactly k a row, whatever ties there are.

    Raises:
        ValueError: more tokens protected than kept.
    """
    if protected > kept:
        raise ValueError(f"{protected} prefix tokens are protected and only {kept} tokens kept")
    ranked = scores.float()
    if protected:
        ranked = torch.cat(
            [torch.full_like(ranked[:, :protected], torch.inf), ranked[:, protected:]], dim=1
        )
    return ranked.topk(kept, dim=1, sorted=False).indices.sort(dim=1).values
