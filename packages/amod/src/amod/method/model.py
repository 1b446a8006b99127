"""Turn a timm ViT into a Mixture-of-Depths model: same modules, same state-dict keys, fewer tokens.

`convert` gives the model a subclass of its own class whose passes walk over the blocks: a
dense block before a routed one is run with its attention scores read off, and the routed block runs
on the chosen tokens only, packed into a shorter sequence. All other tokens pass unchanged, so that
every block returns the full sequence and feature maps stay complete.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, get_args

from timm.layers.diff_attention import DiffAttention
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from amod.method.passes import RoutedEvaMixin, RoutedMixin, Routing
from amod.method.routers import make_router
from amod.method.routing import Rows
from amod.method.scored import Backend

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "practical": {"first": 5, "protect_prefix": True, "k_align": 8},
}
"""Settings for `convert`: the paper's, its defaults; and ours for use: the class token always takes
part, the first blocks stay dense (the paper's figure 8 gains by it), k is a multiple of 8."""


def convert(
    model: nn.Module,
    capacity: float = 0.5,
    first: int = 1,
    every: int = 2,
    router: object = "attention",
    score: Rows = "column-mean",
    protect_prefix: bool = False,
    backend: Backend = "auto",
    k_align: int = 1,
) -> Any:
    """Route a timm ViT in place (arXiv 2412.20875) and return it.

    Weights, their names and the model's interface stay; with `router="attention"` no parameter is
    added, and a checkpoint of the dense model loads strictly, before or after.

    Args:
        model: a timm `VisionTransformer` (ViT, DeiT with or without distillation token, AugReg,
            CLIP, DINOv2 with registers, LayerScale, q/k norm, no class token) or `Eva` (EVA-02,
            DINOv3, RoPE-ViT: rotary tables are gathered with the tokens).
        capacity: share of the tokens that a routed block processes: k = floor(capacity * N).
        first: index of the first routed block.
        every: distance of routed blocks.
        router: a name of `amod.method.routers.make_router`, or a callable `(x, scores) -> ranking`
            or `-> (ranking, gate)`.
        score: which query rows of the previous block's attention vote.
        protect_prefix: class and register tokens always take part.
        backend: how the scores are computed, see `amod.method.scored.run_scored`.
        k_align: round k down to a multiple of this (kernels like 8); never below one multiple.

    Raises:
        ValueError: another kind of model, or settings that cannot work, with the reason.
    """
    check_model(model)
    assert isinstance(model, VisionTransformer | Eva)
    depth = len(model.blocks)
    if first < 1:
        raise ValueError("block 0 cannot be routed: scores come from the block before (first >= 1)")
    if every < 2:
        raise ValueError("every must be at least 2: a routed block gives no scores to the next one")
    if first >= depth:
        raise ValueError(f"first={first} routes nothing: the model has {depth} blocks")
    _check_choice("score", score, Rows)
    _check_choice("backend", backend, Backend)
    routing = Routing(capacity, first, every, score, protect_prefix, backend, k_align)
    _check_capacity(model, routing)
    if backend in ("swapped", "triton") and score != "column-mean":
        raise ValueError(f"backend {backend} gives column means only, not {score}")
    if score == "cls-row" and model.cls_token is None:
        raise ValueError("score cls-row needs a class token; use column-mean")
    routers = {str(index): make_router(router, model.embed_dim) for index in routing.blocks(depth)}
    routed: Any = model
    for block in routed.blocks:
        block.attn.fused_attn = True  # scores are read off where fused attention is called
        if isinstance(model, Eva):
            block.attn.num_prefix_tokens = 0  # see RoutedEvaMixin
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
    routing = replace(model.routing, capacity=capacity)
    _check_capacity(model, routing)
    model.routing = routing


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(get_args(choices))}")


def _check_capacity(model: Any, routing: Routing) -> None:
    kept = routing.kept(model.patch_embed.num_patches + model.num_prefix_tokens)
    if routing.protect_prefix and kept < model.num_prefix_tokens:
        raise ValueError(
            f"capacity {routing.capacity:g} keeps {kept} tokens, fewer than are protected"
        )


def check_model(model: nn.Module) -> None:
    """ValueError, with the reason, for a model that cannot be routed."""
    name = type(model).__name__
    if isinstance(model, RoutedMixin):
        raise ValueError("this model is routed already; use amod.set_capacity")
    if not isinstance(model, VisionTransformer | Eva):
        raise ValueError(
            f"{name} cannot be routed: it is none of timm's VisionTransformer or Eva models, whose "
            "blocks attend over one set of tokens without windows or relative positions"
        )
    for index, block in enumerate(model.blocks):
        attention = getattr(block, "attn", None)
        if attention is None or not hasattr(attention, "fused_attn"):
            raise ValueError(f"{name} cannot be routed: block {index} has no separate attention")
        if isinstance(attention, DiffAttention):
            raise ValueError(f"{name} cannot be routed: differential attention has two maps")
        if getattr(attention, "rel_pos", None) is not None:
            raise ValueError(f"{name} cannot be routed: relative positions need all tokens")


@cache
def _routed_class(base: Any) -> type:
    mixin = RoutedEvaMixin if issubclass(base, Eva) else RoutedMixin
    return type(f"Routed{base.__name__}", (mixin, base), {"__doc__": base.__doc__})
