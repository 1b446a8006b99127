"""Turn a timm ViT into a Mixture-of-Depths model: same modules, same state-dict keys, fewer tokens.

`convert` gives the model a subclass of its own class whose passes walk over the blocks: a
dense block before a routed one is run with its attention scores read off, and the routed block runs
on the chosen tokens only, packed into a shorter sequence. All other tokens pass unchanged, so that
every block returns the full sequence and feature maps stay complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from timm.models import _features
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amod.routers import make_router
from amod.routing import Rows, select, tokens_kept
from amod.scored import Backend, run_scored


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
        backend: how scores are computed, see `amod.scored.run_scored`.
    """

    capacity: float = 0.5
    first: int = 1
    every: int = 2
    rows: Rows = "column-mean"
    protect_prefix: bool = False
    backend: Backend = "auto"

    def blocks(self, depth: int) -> range:
        """Indices of the routed blocks."""
        return range(self.first, depth, self.every)


def convert(
    model: nn.Module,
    capacity: float = 0.5,
    first: int = 1,
    every: int = 2,
    router: object = "attention",
    score: Rows = "column-mean",
    protect_prefix: bool = False,
    backend: Backend = "auto",
) -> Any:
    """Route a timm ViT in place (arXiv 2412.20875) and return it.

    Weights, their names and the model's interface stay; with `router="attention"` no parameter is
    added, and a checkpoint of the dense model loads strictly, before or after.

    Args:
        model: a timm `VisionTransformer` (ViT, DeiT with or without distillation token, AugReg,
            CLIP, DINOv2 with registers, LayerScale, q/k norm, no class token).
        capacity: share of the tokens that a routed block processes: k = floor(capacity * N).
        first: index of the first routed block.
        every: distance of routed blocks.
        router: a name of `amod.routers.make_router`, or a callable `(x, scores) -> ranking` or
            `-> (ranking, gate)`.
        score: which query rows of the previous block's attention vote.
        protect_prefix: class and register tokens always take part.
        backend: how the scores are computed.

    Raises:
        ValueError: another kind of model, or settings that cannot work, with the reason.
    """
    _check_model(model)
    assert isinstance(model, VisionTransformer)
    depth = len(model.blocks)
    if first < 1:
        raise ValueError("block 0 cannot be routed: scores come from the block before (first >= 1)")
    if every < 2:
        raise ValueError("every must be at least 2: a routed block gives no scores to the next one")
    if first >= depth:
        raise ValueError(f"first={first} routes nothing: the model has {depth} blocks")
    routing = Routing(capacity, first, every, score, protect_prefix, backend)
    tokens = model.patch_embed.num_patches + model.num_prefix_tokens
    kept = tokens_kept(capacity, tokens)
    if protect_prefix and kept < model.num_prefix_tokens:
        raise ValueError(f"capacity {capacity:g} keeps {kept} tokens, fewer than are protected")
    if score == "cls-row" and not model.has_class_token:
        raise ValueError("score cls-row needs a class token; use column-mean")
    routers = {
        str(index): make_router(router, model.embed_dim, index) for index in routing.blocks(depth)
    }
    routed: Any = model
    for block in routed.blocks:
        block.attn.fused_attn = True  # scores are read off where fused attention is called
    base: Any = type(model)
    routed.__class__ = _routed_class(base)
    routed.routing = routing
    # Routers without parameters stay out of the state dict by themselves.
    routed.routers = nn.ModuleDict(routers).to(next(model.parameters()).device)
    return routed


def set_capacity(model: Any, capacity: float) -> None:
    """Change the capacity of a converted model; nothing else changes.

    Raises:
        ValueError: not a converted model, or a capacity outside (0, 1].
    """
    if not isinstance(model, RoutedMixin):
        raise ValueError(f"{type(model).__name__} is not routed; use amod.convert first")
    tokens = model.patch_embed.num_patches + model.num_prefix_tokens  # type: ignore[attr-defined]
    tokens_kept(capacity, tokens)
    old = model.routing
    model.routing = Routing(
        capacity, old.first, old.every, old.rows, old.protect_prefix, old.backend
    )


def _check_model(model: nn.Module) -> None:
    name = type(model).__name__
    if isinstance(model, RoutedMixin):
        raise ValueError("this model is routed already; use amod.set_capacity")
    if not isinstance(model, VisionTransformer):
        blocks = getattr(model, "blocks", None) or getattr(model, "layers", None)
        reason = (
            "has no sequence of attention blocks over one set of tokens"
            if blocks is None
            else "is no plain ViT: windows, relative positions or rotary tables need all tokens"
        )
        raise ValueError(f"{name} cannot be routed: it {reason}")
    for index, block in enumerate(model.blocks):
        attention = getattr(block, "attn", None)
        if attention is None or not hasattr(attention, "fused_attn"):
            raise ValueError(f"{name} cannot be routed: block {index} has no separate attention")
        if getattr(attention, "rel_pos", None) is not None:
            raise ValueError(f"{name} cannot be routed: relative positions need all tokens")


class RoutedMixin:
    """The passes of a routed VisionTransformer; placed before the model's own class."""

    routing: Routing
    routers: nn.ModuleDict

    def walk(self: Any, x: Tensor) -> Iterator[Tensor]:
        """Tokens (B, N, d) after each block, in order."""
        scores: Tensor | None = None
        for index in range(len(self.blocks)):
            x, scores = self._advance(index, x, scores)
            yield x

    def _advance(
        self: Any, index: int, x: Tensor, scores: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens after block `index`, and its scores where the next block's router needs them."""
        routed, block = self.routing.blocks(len(self.blocks)), self.blocks[index]
        if index in routed:
            router = self.routers[str(index)]
            return self._run(self._routed_step, block, router, x, scores), None
        if index + 1 in routed and self.routers[str(index + 1)].needs_scores:
            both: tuple[Tensor, Tensor] = self._run(self._scored_step, block, x)
            return both
        return self._run(block, x), None

    def _run(self: Any, step: Any, *inputs: Any) -> Any:
        if self.grad_checkpointing and self.training and not torch.jit.is_scripting():
            return checkpoint(step, *inputs, use_reentrant=False)
        return step(*inputs)

    def _scored_step(self: Any, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        routing = self.routing
        return run_scored(block, x, routing.rows, self.num_prefix_tokens, routing.backend)

    def _routed_step(
        self: Any, block: nn.Module, router: nn.Module, x: Tensor, scores: Tensor | None
    ) -> Tensor:
        kept = tokens_kept(self.routing.capacity, x.shape[1])
        protected = self.num_prefix_tokens if self.routing.protect_prefix else 0
        ranking, gate = router(x, scores)
        if kept == x.shape[1] and gate is None:
            return block(x)  # the dense model, to the bit
        return packed(block, x, select(ranking.detach(), kept, protected), gate)

    def _embed(self: Any, image: Tensor) -> Tensor:
        x = self._pos_embed(self.patch_embed(image))
        return self.norm_pre(self.patch_drop(x))

    def forward_features(
        self: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """As timm's: (B, N, d) after the last block and the final norm."""
        if attn_mask is not None or is_causal:
            raise ValueError("a routed model takes no attention mask")
        x, scores = self._embed(x), None
        for index in range(len(self.blocks)):
            x, scores = self._advance(index, x, scores)
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
        if attn_mask is not None or is_causal:
            raise ValueError("a routed model takes no attention mask")
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt must be NCHW or NLC, got {output_fmt}")
        wanted, last = _features.feature_take_indices(len(self.blocks), indices)
        size = x.shape[-2:]
        x, scores, taken = self._embed(x), None, []
        for index in range(len(self.blocks)):
            x, scores = self._advance(index, x, scores)
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


def packed(block: nn.Module, x: Tensor, index: Tensor, gate: Tensor | None = None) -> Tensor:
    """Run a block on the chosen tokens; all others pass bit for bit.

    Args:
        block: maps (B, k, d) to (B, k, d).
        x: (B, N, d).
        index: (B, k), distinct within a row.
        gate: (B, N) factor of the block's update, or None.

    Returns:
        (B, N, d). Rows are copied by flat position: one read and one write of k rows an image.
    """
    batch, tokens, width = x.shape
    offsets = torch.arange(batch, device=x.device)[:, None] * tokens
    flat = (index + offsets).reshape(-1)
    rows = x.reshape(batch * tokens, width)
    chosen = rows.index_select(0, flat).reshape(batch, -1, width)
    output = block(chosen)
    if gate is not None:
        output = chosen + gate.gather(1, index)[..., None] * (output - chosen)
    return rows.index_copy(0, flat, output.reshape(-1, width)).reshape(x.shape)


@cache
def _routed_class(base: Any) -> type:
    return type(f"Routed{base.__name__}", (RoutedMixin, base), {"__doc__": base.__doc__})
