"""The passes of a routed model: placed before the model's own class by `amod.convert`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import _features
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amod.method.packing import full_rope, packed
from amod.method.routing import Rows, select, tokens_kept
from amod.method.scored import Backend, run_scored


@dataclass(frozen=True)
class Routing:
    """How a model is routed.

    Attributes:
        capacity: share of all tokens, prefix included, that a routed block processes, (0, 1].
        first: index of the first routed block; at least 1, since scores come from the block before.
        every: distance of routed blocks; at least 2, since a routed block's attention sees only
            some tokens and gives no scores for the rest.
        rows: which query rows vote for a token.
        protect_prefix: class and register tokens are always processed.
        backend: how scores are computed, see `amod.method.scored.run_scored`.
        k_align: the number of tokens is rounded down to a multiple of this.
    """

    capacity: float = 0.5
    first: int = 1
    every: int = 2
    rows: Rows = "column-mean"
    protect_prefix: bool = False
    backend: Backend = "auto"
    k_align: int = 1

    def blocks(self, depth: int) -> range:
        """Indices of the routed blocks."""
        return range(self.first, depth, self.every)

    def kept(self, tokens: int) -> int:
        """How many of `tokens` tokens a routed block processes."""
        return tokens_kept(self.capacity, tokens, self.k_align)


class RoutedMixin:
    """The passes of a routed VisionTransformer."""

    routing: Routing
    routers: nn.ModuleDict

    def walk(self: Any, x: Tensor, ropes: list[Tensor] | None = None) -> Iterator[Tensor]:
        """Tokens (B, N, d) after each block, in order, from those that enter the first."""
        scores: Tensor | None = None
        for index in range(len(self.blocks)):
            x, scores = self._advance(index, x, scores, ropes)
            yield x

    def _embed(self: Any, image: Tensor) -> tuple[Tensor, list[Tensor] | None]:
        """Tokens that enter the first block, and each block's rotary table, if there are any."""
        x = self._pos_embed(self.patch_embed(image))
        return self.norm_pre(self.patch_drop(x)), None

    def _advance(
        self: Any,
        index: int,
        x: Tensor,
        scores: Tensor | None,
        ropes: list[Tensor] | None,
        inplace: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens after block `index`, and its scores where the next block's router needs them."""
        routed, rope = self.routing.blocks(len(self.blocks)), ropes[index] if ropes else None
        if index in routed:
            inplace = inplace and not self.blocks[index - 1]._forward_hooks  # they may keep x
            return self._run(self._routed_step, index, x, scores, rope, inplace), None
        if index + 1 in routed and self._wants_scores(index + 1, x.shape[1]):
            both: tuple[Tensor, Tensor] = self._run(self._scored_step, index, x, rope)
            return both
        return self._run(self._dense_step, index, x, rope), None

    def _wants_scores(self: Any, index: int, tokens: int) -> bool:
        router = self.routers[str(index)]
        # At full capacity a ranking changes nothing, unless it also multiplies.
        return router.needs_scores and (router.gated or self.routing.kept(tokens) < tokens)

    def _run(self: Any, step: Any, *inputs: Any) -> Any:
        if self.grad_checkpointing and self.training and not torch.jit.is_scripting():
            return checkpoint(step, *inputs, use_reentrant=False)
        return step(*inputs)

    def _dense_step(self: Any, index: int, x: Tensor, rope: Tensor | None) -> Tensor:
        return self.blocks[index](x, **_extra(rope))

    def _scored_step(
        self: Any, index: int, x: Tensor, rope: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rows, prefix, backend = self.routing.rows, self.num_prefix_tokens, self.routing.backend
        return run_scored(self.blocks[index], x, rows, prefix, backend, **_extra(rope))

    def _routed_step(
        self: Any,
        index: int,
        x: Tensor,
        scores: Tensor | None,
        rope: Tensor | None,
        inplace: bool,
    ) -> Tensor:
        block, router = self.blocks[index], self.routers[str(index)]
        kept = self.routing.kept(x.shape[1])
        if kept == x.shape[1] and not router.gated:
            return block(x, **_extra(rope))  # the dense model, to the bit
        ranking, gate = router(x, scores)
        chosen = self._choose(index, ranking.detach(), kept)
        return packed(block, x, chosen, gate, rope, inplace)

    def _choose(self: Any, index: int, ranking: Tensor, kept: int) -> Tensor:
        """Indices (B, k) of the tokens that block `index` processes; `amod show` listens here."""
        return select(ranking, kept, self.num_prefix_tokens if self.routing.protect_prefix else 0)

    def forward_features(
        self: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """As timm's: (B, N, d) after the last block and the final norm."""
        _no_mask(attn_mask, is_causal)
        x, ropes = self._embed(x)
        scores, inplace = None, _may_overwrite()
        for index in range(len(self.blocks)):
            x, scores = self._advance(index, x, scores, ropes, inplace)
        return self.norm(x)

    def forward_intermediates(
        self: Any,
        x: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Any:
        """As timm's `VisionTransformer.forward_intermediates`; maps are complete."""
        _no_mask(attn_mask, is_causal)
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt must be NCHW or NLC, got {output_fmt}")
        wanted, last = _features.feature_take_indices(len(self.blocks), indices)
        size = x.shape[-2:]
        x, ropes = self._embed(x)
        scores, taken, inplace = None, [], _may_overwrite()
        for index in range(len(self.blocks)):
            x, scores = self._advance(index, x, scores, ropes, inplace and index - 1 not in wanted)
            if index in wanted:
                taken.append(self.norm(x) if norm else x)
            if stop_early and index == last:
                break
        prefix = [y[:, : self.num_prefix_tokens] for y in taken]
        maps = [y[:, self.num_prefix_tokens :] for y in taken]
        if output_fmt == "NCHW":
            height, width = self.patch_embed.dynamic_feat_size(size)
            maps = [
                y.reshape(len(y), height, width, -1).permute(0, 3, 1, 2).contiguous() for y in maps
            ]
        with_prefix = return_prefix_tokens and self.num_prefix_tokens > 0
        if output_dict:
            found: dict[str, Any] = {"image_intermediates": maps}
            if with_prefix:
                found["image_intermediates_prefix"] = prefix
            if not intermediates_only:
                found["image_features"] = self.norm(x)
            return found
        result = list(zip(maps, prefix, strict=True)) if with_prefix else maps
        return result if intermediates_only else (self.norm(x), result)


class RoutedEvaMixin(RoutedMixin):
    """The passes of a routed model with rotary positions (EVA-02, DINOv3, RoPE-ViT).

    The attention of every block is told that it has no prefix tokens, and gets a table with rows
    of no rotation for them: so a token finds its row by its position, whatever its neighbours are.
    """

    def _embed(self: Any, image: Tensor) -> tuple[Tensor, list[Tensor] | None]:
        x, rope = self._pos_embed(self.patch_embed(image))
        x = self.norm_pre(x)
        if rope is None:
            return x, None
        prefix, depth = self.num_prefix_tokens, len(self.blocks)
        if getattr(self, "rope_mixed", False):  # a table for each block
            return x, [full_rope(table, prefix) for table in rope]
        return x, [full_rope(rope, prefix)] * depth


def _extra(rope: Tensor | None) -> dict[str, Tensor]:
    return {} if rope is None else {"rope": rope}


def _no_mask(attn_mask: Tensor | None, is_causal: bool) -> None:
    if attn_mask is not None or is_causal:
        raise ValueError("a routed model takes no attention mask")


def _may_overwrite() -> bool:
    """In place only where autograd keeps nothing; compilers plan their own memory."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()
