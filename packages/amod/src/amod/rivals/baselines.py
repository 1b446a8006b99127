"""Rivals of equal cost: a ViT with fewer layers (isoFLOP)."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn

from amod.method.flops import Shape, dense_macs, routed_macs

Keep = Literal["first", "even"]
KEPT: tuple[Keep, ...] = get_args(Keep)


def cut_depth(model: Any, layers: int, keep: Keep = "first") -> Any:
    """Remove blocks from a timm ViT in place and return it; the others keep their weights.

    The paper does not say which layers its isoFLOP models keep (arXiv 2412.20875, section 4).

    Args:
        model: a dense timm ViT; blocks are numbered anew, and with them the state-dict keys.
        layers: how many blocks stay, 1 to the depth.
        keep: the `first` ones, or `even`ly spaced ones, the first and the last among them.

    Raises:
        ValueError: a number of layers that the model does not have.
    """
    depth = len(model.blocks)
    if not 1 <= layers <= depth:
        raise ValueError(f"layers must be 1 to {depth}, got {layers}")
    model.blocks = nn.Sequential(*(model.blocks[i] for i in kept_layers(depth, layers, keep)))
    return model


def kept_layers(depth: int, layers: int, keep: Keep) -> list[int]:
    """Indices of the blocks that stay."""
    if keep == "first" or layers == 1:
        return list(range(layers))
    return [round(i * (depth - 1) / (layers - 1)) for i in range(layers)]


def isoflop_layers(shape: Shape, capacity: float) -> tuple[int, int]:
    """Depths whose cost is nearest to, and next at or above, that of the routed model.

    Args:
        shape: the dense model.
        capacity: of the routed one, blocks 1, 3, 5, ... routed.
    """
    target = routed_macs(shape, capacity)
    costs = {n: dense_macs(Shape(**{**vars(shape), "depth": n})) for n in range(1, shape.depth + 1)}
    nearest = min(costs, key=lambda n: abs(costs[n] - target))
    return nearest, min(n for n in costs if costs[n] >= target)
