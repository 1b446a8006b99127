"""Multiply-accumulates of a ViT, dense or routed, in the convention of the paper's FLOP columns.

The paper does not define its "GFLOPs". This count reproduces them (tables 4 and 5 of arXiv
2412.20875 without the classifier, table 2 with it): multiply-accumulates of every linear layer, of
both attention products, and five operations per element of every layer norm, which is fvcore's
convention. Softmax, activations, additions, biases and the routing score itself are not counted. A
routed block counts with k = floor(capacity * N) tokens, in its attention too: selected queries meet
selected keys only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timm.layers import Mlp

from amod.method.routing import tokens_kept

NORM_OPERATIONS = 5  # per element, as fvcore counts a layer norm


@dataclass(frozen=True)
class Shape:
    """A plain ViT.

    Attributes:
        width: embedding dimension d.
        depth: number of blocks.
        image_size: side of the square image in pixels.
        patch_size: side of a patch in pixels.
        prefix_tokens: class, distillation and register tokens.
        mlp_ratio: hidden width of the MLP over d.
        classes: outputs of the classifier.
    """

    width: int
    depth: int
    image_size: int = 224
    patch_size: int = 16
    prefix_tokens: int = 1
    mlp_ratio: float = 4.0
    classes: int = 1000

    @property
    def patches(self) -> int:
        """Number of patch tokens."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens(self) -> int:
        """N: patch and prefix tokens."""
        return self.patches + self.prefix_tokens


SHAPES = {
    "DeiT-Tiny": Shape(192, 12),
    "DeiT-Small": Shape(384, 12),
    "ViT-Base": Shape(768, 12),
    "ViT-Large": Shape(1024, 24),
}
"""The paper's four models at 224 pixels."""


def shape_of(model: Any) -> Shape:
    """The shape of a timm ViT, dense or routed; ValueError where the closed form does not hold."""
    patches, mlp = model.patch_embed, model.blocks[0].mlp
    if len({*patches.img_size}) != 1 or len({*patches.patch_size}) != 1:
        raise ValueError("multiply-accumulates are counted for square images and patches only")
    if type(mlp) is not Mlp:
        raise ValueError(
            f"multiply-accumulates are counted for plain MLPs only, not {type(mlp).__name__}"
        )
    return Shape(
        model.embed_dim,
        len(model.blocks),
        image_size=patches.img_size[0],
        patch_size=patches.patch_size[0],
        prefix_tokens=model.num_prefix_tokens,
        mlp_ratio=mlp.fc1.out_features / model.embed_dim,
        classes=model.num_classes,
    )


def block_macs(shape: Shape, tokens: int) -> int:
    """One transformer block on `tokens` tokens: (4 + 2 r) n d^2 + 2 n^2 d + 10 n d."""
    n, d = tokens, shape.width
    linear = n * d * d * (4 + 2 * shape.mlp_ratio)
    return round(linear) + 2 * n * n * d + 2 * NORM_OPERATIONS * n * d


def router_macs(shape: Shape) -> int:
    """A linear router on all tokens: N d."""
    return shape.tokens * shape.width


def embedding_macs(shape: Shape) -> int:
    """Patch embedding of an RGB image, and the final norm over all tokens."""
    patch = 3 * shape.patch_size**2
    return shape.patches * patch * shape.width + NORM_OPERATIONS * shape.tokens * shape.width


def head_macs(shape: Shape) -> int:
    """The classifier on one token."""
    return shape.width * shape.classes


def dense_macs(shape: Shape, head: bool = True) -> int:
    """The unrouted model; with fewer layers in `shape` the isoFLOP baseline."""
    body = embedding_macs(shape) + shape.depth * block_macs(shape, shape.tokens)
    return body + head * head_macs(shape)


def routed_macs(
    shape: Shape,
    capacity: float,
    *,
    first: int = 1,
    every: int = 2,
    linear_router: bool = False,
    head: bool = True,
) -> int:
    """The model with blocks `first`, `first + every`, ... routed at `capacity`.

    Args:
        shape: the dense model.
        capacity: share of the tokens that a routed block processes, in (0, 1].
        first: index of the first routed block, at least 1.
        every: distance of routed blocks.
        linear_router: also count a linear router per routed block (standard MoD).
        head: with the classifier.
    """
    routed = len(range(first, shape.depth, every))
    kept = tokens_kept(capacity, shape.tokens)
    blocks = (shape.depth - routed) * block_macs(shape, shape.tokens)
    blocks += routed * (block_macs(shape, kept) + linear_router * router_macs(shape))
    return embedding_macs(shape) + blocks + head * head_macs(shape)
