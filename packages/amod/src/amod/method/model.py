"""Turn a timm ViT into a Mixture-of-Depths model: same modules, same state-dict keys, fewer tokens.

`convert` puts routed blocks in the place of some blocks, see `amod.method.blocks`: the attention of
the block before computes scores, and the routed block runs on the chosen tokens only, packed into a
shorter sequence. All other tokens pass unchanged, so that every block returns the full sequence and
feature maps stay complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, get_args

from timm.layers import DiffAttention
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from amod.method.blocks import (
    ATTENTION,
    Route,
    Routed,
    Scored,
    Voting,
    capacities,
    declass,
    reclass,
    routed_blocks,
    unroute,
)
from amod.method.routers import make_router
from amod.method.routing import Rows, tokens_kept
from amod.method.scored import Backend

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "practical": {"first": 5, "protect_prefix": True, "k_align": 8},
}
"""Settings for `convert`: the paper's, its defaults; and ours for use: the class token always takes
part, the first blocks stay dense (the paper's figure 8 gains by it), k is a multiple of 8."""


@dataclass(frozen=True)
class Routing:
    """How a model is routed.

    Attributes:
        capacity: share of all tokens, prefix included, that a routed block processes, (0, 1]; or
            one for each routed block.
        first: index of the first routed block; at least 1, since scores come from the block before.
        every: distance of routed blocks; at least 2, since a routed block's attention sees only
            some tokens and gives no scores for the rest.
        rows: which query rows vote for a token.
        protect_prefix: class and register tokens are always processed.
        backend: how scores are computed, see `amod.method.scored.attend`.
        k_align: the number of tokens is rounded down to a multiple of this.
    """

    capacity: float | tuple[float, ...] = 0.5
    first: int = 1
    every: int = 2
    rows: Rows = "column-mean"
    protect_prefix: bool = False
    backend: Backend = "auto"
    k_align: int = 1

    def blocks(self, depth: int) -> range:
        """Indices of the routed blocks."""
        return range(self.first, depth, self.every)

    def kept(self, tokens: int) -> int | tuple[int, ...]:
        """How many of `tokens` tokens a routed block processes, or each of them does."""
        if isinstance(self.capacity, tuple):
            return tuple(tokens_kept(each, tokens, self.k_align) for each in self.capacity)
        return tokens_kept(self.capacity, tokens, self.k_align)


def convert(
    model: nn.Module,
    capacity: float | Sequence[float] = 0.5,
    first: int = 1,
    every: int = 2,
    router: object = "attention",
    score: Rows = "column-mean",
    protect_prefix: bool = False,
    backend: Backend = "auto",
    k_align: int = 1,
) -> Any:
    """Route a timm ViT in place (arXiv 2412.20875) and return it; `revert` undoes it.

    Weights, their names and the model's interface stay; with `router="attention"` no parameter is
    added, and a checkpoint of the dense model loads strictly, before or after. A learned router is
    part of its block (`blocks.1.router.weight`).

    Args:
        model: a timm `VisionTransformer` (ViT, DeiT with or without distillation token, AugReg,
            CLIP, DINOv2 with registers, LayerScale, q/k norm, no class token) or `Eva` (EVA-02,
            DINOv3, RoPE-ViT: rotary tables are gathered with the tokens), or a subclass with passes
            of its own, as long as it calls its `blocks`.
        capacity: share of the tokens that a routed block processes: k = floor(capacity * N); or one
            for each routed block.
        first: index of the first routed block.
        every: distance of routed blocks.
        router: a name of `amod.method.routers.make_router`; a callable `(x, scores) -> ranking` or
            `-> (ranking, gate)`; or a module of that form, of which every block gets a copy, and
            whose `needs_scores` and `gated` count.
        score: which query rows of the previous block's attention vote.
        protect_prefix: class and register tokens always take part.
        backend: how the scores are computed, see `amod.method.scored.attend`.
        k_align: round k down to a multiple of this (kernels like 8); never below one multiple.

    Raises:
        ValueError: another kind of model, or settings that cannot work, with the reason.
    """
    check_model(model)
    vit: Any = model
    depth = len(vit.blocks)
    for name, value in (("first", first), ("every", every), ("k_align", k_align)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    if first < 1:
        raise ValueError("block 0 cannot be routed: scores come from the block before (first >= 1)")
    if every < 2:
        raise ValueError("every must be at least 2: a routed block gives no scores to the next one")
    if first >= depth:
        raise ValueError(f"first={first} routes nothing: the model has {depth} blocks")
    _check_choice("score", score, Rows)
    _check_choice("backend", backend, Backend)
    if backend in ("swapped", "triton") and score != "column-mean":
        raise ValueError(f"backend {backend} gives column means only, not {score}")
    if score == "cls-row" and vit.cls_token is None:
        raise ValueError("score cls-row needs a class token; use column-mean")
    routing = Routing(_plain(capacity), first, every, score, protect_prefix, backend, k_align)
    _check_capacity(model, routing)
    routers = [make_router(router, vit.embed_dim) for _ in routing.blocks(depth)]
    device = next(vit.parameters()).device
    for index, each in zip(routing.blocks(depth), routers, strict=True):
        block = vit.blocks[index]
        block.route = Route(
            index, 1.0, k_align, vit.num_prefix_tokens, protect_prefix, score, backend
        )
        block.router = each.to(device)
        if hasattr(block.attn, "num_prefix_tokens"):
            block.attn.num_prefix_tokens = 0  # it gets a table with rows for the prefix, too
        reclass(block, Routed)
        if block.router.needs_scores:
            before = vit.blocks[index - 1]
            before.route = before.attn.route = block.route
            reclass(before, Scored)
            reclass(before.attn, Voting)
    reroute(model, routing)
    return model


def revert(model: Any) -> Any:
    """Undo `convert` in place and return the dense model; learned routers are dropped.

    Raises:
        ValueError: not a converted model.
    """
    for index, block in _require_routed(model).items():
        before = model.blocks[index - 1]
        for module in (before, before.attn):
            if isinstance(module, Scored | Voting):
                declass(module)
                del module.route
        unroute(block)
        del block.route, block.router
    del model.routing
    return model


def set_capacity(model: Any, capacity: float | Sequence[float]) -> None:
    """Change the capacity of a converted model; nothing else changes.

    Args:
        model: a converted model.
        capacity: of all routed blocks, or one for each.

    Raises:
        ValueError: not a converted model, or a capacity outside (0, 1].
    """
    _require_routed(model)
    routing = replace(model.routing, capacity=_plain(capacity))
    _check_capacity(model, routing)
    reroute(model, routing)


def reroute(model: Any, routing: Routing) -> None:
    """Tell a converted model's blocks their capacities and back end."""
    blocks = routed_blocks(model).values()
    for block, share in zip(blocks, capacities(routing.capacity, len(blocks)), strict=True):
        block.route.capacity, block.route.backend = share, routing.backend
        block.route.ranks = share < 1 or block.router.gated
    model.routing = routing


def _plain(capacity: Any) -> float | tuple[float, ...]:
    """A number, or a tuple of numbers; ValueError for anything else."""
    each = tuple(capacity) if isinstance(capacity, Sequence) else (capacity,)
    if isinstance(capacity, str) or not all(isinstance(x, Real) for x in each):
        raise ValueError(f"capacity must be a number, or one for each routed block: {capacity!r}")
    numbers = tuple(float(x) for x in each)
    return numbers if isinstance(capacity, Sequence) else numbers[0]


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(get_args(choices))}")


def _check_capacity(model: Any, routing: Routing) -> None:
    tokens, prefix = (
        model.patch_embed.num_patches + model.num_prefix_tokens,
        model.num_prefix_tokens,
    )
    for share in capacities(routing.capacity, len(routing.blocks(len(model.blocks)))):
        kept = tokens_kept(share, tokens, routing.k_align)
        if routing.protect_prefix and kept < prefix:
            raise ValueError(f"capacity {share:g} keeps {kept} tokens, fewer than are protected")


def _require_routed(model: Any) -> dict[int, Any]:
    blocks = routed_blocks(model)
    if not blocks or not hasattr(model, "routing"):
        raise ValueError(f"{type(model).__name__} is not routed; use amod.convert first")
    return blocks


def check_model(model: nn.Module) -> None:
    """ValueError, with the reason, for a model that cannot be routed."""
    name = type(model).__name__
    if routed_blocks(model):
        raise ValueError("this model is routed already; use amod.set_capacity")
    if not isinstance(model, VisionTransformer | Eva):
        package = type(model).__module__.partition(".")[0]
        hint = "; timm has it as vit_base_patch16_224" if package == "torchvision" else ""
        raise ValueError(
            f"{package}'s {name} cannot be routed: it is none of timm's VisionTransformer or Eva "
            "models, whose blocks attend over one set of tokens without windows or relative "
            f"positions{hint}"
        )
    for index, block in enumerate(model.blocks):
        attention = getattr(block, "attn", None)
        if attention is None:
            raise ValueError(f"{name} cannot be routed: block {index} has no separate attention")
        if isinstance(attention, DiffAttention):
            raise ValueError(f"{name} cannot be routed: differential attention has two maps")
        kind = type(attention)
        if not any(kind.forward is known.forward for known in ATTENTION):
            raise ValueError(
                f"{name} cannot be routed: the attention of block {index}, {kind.__name__}, has a "
                "forward of its own, whose scores are not known"
            )
        for part in (block, attention):
            if "forward" in vars(part):
                raise ValueError(
                    f"{name} cannot be routed: the forward of block {index} was replaced on the "
                    "object; convert first, or make a subclass"
                )
