"""Run a dense block and read the attention scores off, without knowing the block's class.

timm's blocks call `scaled_dot_product_attention`, which returns no weights. While the block runs, a
function mode sees that one call, with query and key already normalised, rotated and split into
heads, and computes the scores beside it. So LayerScale, q/k norm, gates and registers need no code
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from amod.method import kernels
from amod.method.routing import Rows, attention_scores, attention_with_scores, swapped_scores

Backend = Literal["auto", "explicit", "swapped", "triton"]

# Up to this many tokens attention maps fit a core's cache, and the explicit form is cheaper.
EXPLICIT_UP_TO = 512


class _ScoreMode(TorchFunctionMode):
    def __init__(self, attend: Callable[..., tuple[Tensor | None, Tensor]]) -> None:
        super().__init__()
        self.attend = attend
        self.scores: list[Tensor] = []  # torch.compile follows a list, not an attribute of a mode

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not nn.functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        query, key, value = args
        groups = query.shape[1] // key.shape[1]
        if groups > 1:  # grouped queries share keys and values
            key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
        scale = kwargs.get("scale") or query.shape[-1] ** -0.5
        plain = kwargs.get("attn_mask") is None and not kwargs.get("dropout_p")
        output, scores = self.attend(query, key, value, scale, plain)
        self.scores.append(scores)
        return function(*args, **kwargs) if output is None else output


def run_scored(
    block: nn.Module, x: Tensor, rows: Rows, prefix: int, backend: Backend, **extra: Any
) -> tuple[Tensor, Tensor]:
    """A block's output and the scores of its attention.

    Args:
        block: a timm transformer block with fused attention.
        x: (B, N, d).
        rows: which query rows vote.
        prefix: number of prefix tokens.
        backend: `explicit` (attention maps in cache-sized chunks; without gradients they give the
            block's attention too), `swapped` (logsumexps alone, column means only), `triton` (both
            in one kernel; CUDA, up to 256 tokens, column means; explicit under gradients), or
            `auto`: explicit up to `EXPLICIT_UP_TO` tokens, swapped beyond.
        extra: further arguments of the block.

    Returns:
        (B, N, d) and float32 (B, N).

    Raises:
        ValueError: the block never calls `scaled_dot_product_attention`.
    """
    if backend == "auto":
        backend = "explicit" if x.shape[1] <= EXPLICIT_UP_TO or rows != "column-mean" else "swapped"

    def attend(
        query: Tensor, key: Tensor, value: Tensor, scale: float, plain: bool
    ) -> tuple[Tensor | None, Tensor]:
        if backend == "swapped":
            return None, swapped_scores(query, key, scale)
        if backend == "triton" and plain and not torch.is_grad_enabled():
            return kernels.attention_with_scores(query, key, value, scale)
        if plain and not torch.is_grad_enabled():
            return attention_with_scores(query, key, value, scale, rows, prefix)
        return None, attention_scores(query, key, scale, rows, prefix)

    mode = _ScoreMode(attend)
    with mode:
        output = block(x, **extra)
    if len(mode.scores) != 1:
        raise ValueError(f"{type(block).__name__} ran without fused attention; set fused_attn")
    return output, mode.scores[0]
