"""Run a dense block and read the attention scores off, without knowing the block's class.

timm's blocks call `scaled_dot_product_attention`, which returns no weights. While the block runs, a
function mode sees that one call, with query and key already normalised, rotated and split into
heads, and computes the scores beside it. So LayerScale, q/k norm, gates and registers need no code
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from amod.routing import Rows, attention_scores, swapped_scores

Backend = Literal["auto", "explicit", "swapped"]

# Up to this many tokens attention maps fit a core's cache, and the explicit form is cheaper.
EXPLICIT_UP_TO = 512


class _ScoreMode(TorchFunctionMode):
    def __init__(self, score: Callable[[Tensor, Tensor, float], Tensor]) -> None:
        super().__init__()
        self.score = score
        self.scores: list[Tensor] = []  # torch.compile follows a list, not an attribute of a mode

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not nn.functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        query, key = args[:2]
        scale = kwargs.get("scale") or query.shape[-1] ** -0.5
        self.scores.append(self.score(query, key, scale))
        return function(*args, **kwargs)


def run_scored(
    block: nn.Module, x: Tensor, rows: Rows, prefix: int, backend: Backend, **extra: Any
) -> tuple[Tensor, Tensor]:
    """A block's output and the scores of its attention.

    Args:
        block: a timm transformer block with fused attention.
        x: (B, N, d).
        rows: which query rows vote.
        prefix: number of prefix tokens.
        backend: `explicit` (attention maps in cache-sized chunks), `swapped` (logsumexps alone,
            column means only), or `auto`: explicit up to `EXPLICIT_UP_TO` tokens.
        extra: further arguments of the block.

    Returns:
        (B, N, d) and float32 (B, N).

    Raises:
        ValueError: the block never calls `scaled_dot_product_attention`.
    """
    if backend == "auto":
        backend = "explicit" if x.shape[1] <= EXPLICIT_UP_TO or rows != "column-mean" else "swapped"

    def score(query: Tensor, key: Tensor, scale: float) -> Tensor:
        if backend == "swapped":
            return swapped_scores(query, key, scale)
        return attention_scores(query, key, scale, rows, prefix)

    mode = _ScoreMode(score)
    with mode:
        output = block(x, **extra)
    if len(mode.scores) != 1:
        raise ValueError(f"{type(block).__name__} ran without fused attention; set fused_attn")
    return output, mode.scores[0]
