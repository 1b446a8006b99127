"""Token merging for timm ViTs, the rival of routing at equal multiply-accumulates.

Written from the description in arXiv 2210.09461 (ToMe, section 3), not from its code. In every
block, between attention and MLP, r tokens are merged into similar ones, and later attention counts
a merged token as often as patches went into it. No parameter is added or trained. Unlike a routed
model, this one ends with fewer tokens than it began with, and has no feature maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amod.method.blocks import Reclassed, reclass, routed_blocks
from amod.method.flops import NORM_OPERATIONS, Shape, head_macs, routed_macs
from amod.method.scored import heads, merged

POOLINGS = ("", "token", "avg", "max")


def merge_tokens(model: nn.Module, r: int = 8) -> Any:
    """Merge r tokens in every block of a timm ViT, in place (arXiv 2210.09461), and return it.

    Module names, weights and state-dict keys stay; r = 0 is the dense model. Class, distillation
    and register tokens are never merged. A model with average pooling weighs tokens by their sizes,
    when called as a whole; `forward_head` alone averages tokens as they are.

    Args:
        model: a timm `VisionTransformer` with timm's plain `Block` and `Attention`.
        r: tokens merged in each block, at most half of those that may be merged.

    Raises:
        ValueError: another kind of model, or a negative r, with the reason.
    """
    if not isinstance(r, int) or r < 0:
        raise ValueError(f"r must be a whole number, 0 or more, got {r!r}")
    name = type(model).__name__
    if routed_blocks(model) or isinstance(model, Merging):
        raise ValueError(f"{name} is routed or merges tokens already; start from a timm model")
    if not isinstance(model, VisionTransformer):
        raise ValueError(f"{name} cannot merge tokens: it is no plain ViT")
    for index, block in enumerate(model.blocks):
        if type(block) is not Block or type(block.attn) is not Attention:
            raise ValueError(f"{name} cannot merge tokens: block {index} is not timm's plain Block")
    check_pooling(name, model.global_pool)
    merging: Any = model
    reclass(merging, Merging)
    merging.merged_per_block = r
    return merging


def check_pooling(name: str, pooling: str) -> None:
    """ValueError for a pooling that would count a merged token once."""
    if pooling not in POOLINGS:
        raise ValueError(
            f"{name} cannot merge tokens: its {pooling!r} pooling counts a merged token once"
        )


class Merging(Reclassed):
    """The passes of a merging VisionTransformer; placed before the model's own class."""

    merged_per_block: int

    def walk(self: Any, image: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens (B, n, d) and their sizes in patches (B, n) after each block, in order."""
        x = self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(image))))
        sizes = torch.ones(
            x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device
        )
        for index, block in enumerate(self.blocks):
            # Before the first merge all sizes are 1: attention without a bias is faster.
            proportional = index > 0 and self.merged_per_block > 0
            inputs = block, x, sizes, self.merged_per_block, self.num_prefix_tokens, proportional
            if self.grad_checkpointing and self.training:
                x, sizes = checkpoint(merging_step, *inputs, use_reentrant=False)
            else:
                x, sizes = merging_step(*inputs)
            yield x, sizes

    def _features(self: Any, image: Tensor) -> tuple[Tensor, Tensor]:
        for x, sizes in self.walk(image):  # noqa: B007
            pass
        return self.norm(x), sizes

    def forward_features(self: Any, x: Tensor) -> Tensor:
        """As timm's, with fewer tokens: the prefix, then the others in no spatial order."""
        features: Tensor = self._features(x)[0]
        return features

    def forward_intermediates(self: Any, *inputs: Any, **options: Any) -> Any:
        """Refused: merged tokens are no map. Routed models have one.

        Raises:
            ValueError: always.
        """
        raise ValueError("a model that merges tokens has no feature maps; use amod.convert")

    def reset_classifier(self: Any, num_classes: int, global_pool: str | None = None) -> None:
        """As timm's.

        Raises:
            ValueError: a pooling that `merge_tokens` refuses.
        """
        if global_pool is not None:
            check_pooling(type(self).__name__, global_pool)
        super().reset_classifier(num_classes, global_pool)  # type: ignore[misc]

    def forward(self: Any, x: Tensor) -> Tensor:
        """As timm's; an average over tokens becomes one over patches."""
        x, sizes = self._features(x)
        if self.global_pool == "avg":
            pooled = sizes if self.pool_include_prefix else sizes[:, self.num_prefix_tokens :]
            x = x * (sizes / pooled.mean(dim=1, keepdim=True))[..., None].to(x.dtype)
        logits: Tensor = self.forward_head(x)
        return logits


def merging_step(
    block: Any, x: Tensor, sizes: Tensor, r: int, prefix: int, proportional: bool
) -> tuple[Tensor, Tensor]:
    """timm's `Block` with a merge between attention and MLP.

    Args:
        block: a timm `Block`.
        x: (B, n, d).
        sizes: (B, n) patches in each token.
        r: tokens to merge.
        prefix: number of prefix tokens.
        proportional: add log(size) to the logits of attention.

    Returns:
        (B, n - r, d) and (B, n - r), r being at most half of the tokens without the prefix.
    """
    bias = sizes.log()[:, None, None, :].to(x.dtype) if proportional else None
    attention, y = block.attn, block.norm1(x)
    query, key, value = heads(attention, y, None)
    dropout = attention.attn_drop.p if attention.training else 0.0
    output = nn.functional.scaled_dot_product_attention(query, key, value, bias, dropout)
    x = x + block.drop_path1(block.ls1(merged(attention, y, output)))
    x, sizes = merge(x, sizes, key.mean(dim=1), r, prefix)
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))), sizes


def merge(x: Tensor, sizes: Tensor, keys: Tensor, r: int, prefix: int) -> tuple[Tensor, Tensor]:
    """Merge r tokens by bipartite soft matching (arXiv 2210.09461, section 3).

    Tokens behind the prefix are split alternately, the first into set B. Each of set A proposes to
    the token of B with the most similar key; the r best proposals are accepted.

    Args:
        x: (B, n, d).
        sizes: (B, n), float.
        keys: (B, n, c), attention keys averaged over heads; compared by their cosine.
        r: tokens to merge; no more than set A has, floor((n - prefix) / 2), are.
        prefix: this many leading tokens take no part.

    Returns:
        (B, n - r, d), averages weighted by size, and their sizes: the prefix, what is left of A,
        and B. Tokens that take no part pass bit for bit.
    """
    r = min(r, (x.shape[1] - prefix) // 2)
    if r == 0:
        return x, sizes
    with torch.no_grad():
        unit = nn.functional.normalize(keys[:, prefix:].float(), dim=-1)
        similarity, partner = (unit[:, 1::2] @ unit[:, ::2].transpose(1, 2)).max(dim=-1)
        order = similarity.argsort(dim=1, descending=True)
        joining, kept = order[:, :r], order[:, r:].sort(dim=1).values
        partner = partner.gather(1, joining)
    head, a, b = x[:, :prefix], x[:, prefix + 1 :: 2], x[:, prefix::2]
    size_a, size_b = sizes[:, prefix + 1 :: 2], sizes[:, prefix::2]

    # Weights below 1 instead of sums divided at the end: half precision would overflow.
    size_merged = size_a.gather(1, joining)
    total = size_b.scatter_add(1, partner, size_merged)
    weight = (size_merged / total.gather(1, partner))[..., None].to(x.dtype)
    b = b * (size_b / total)[..., None].to(x.dtype)
    b = b.scatter_add(1, _wide(partner, x), _take(a, joining) * weight)
    return (
        torch.cat([head, _take(a, kept), b], dim=1),
        torch.cat([sizes[:, :prefix], size_a.gather(1, kept), total], dim=1),
    )


def _wide(index: Tensor, x: Tensor) -> Tensor:
    return index[..., None].expand(-1, -1, x.shape[-1])


def _take(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, _wide(index, x))


def merged_macs(shape: Shape, r: int, head: bool = True) -> int:
    """Multiply-accumulates of a merging model, in the convention of `amod.method.flops`.

    Attention and its norm see n tokens, the MLP and its norm n - r. Finding the pairs is not
    counted, as the score of a routed model is not.

    Args:
        shape: the dense model.
        r: tokens merged in each block.
        head: with the classifier.
    """
    d, n = shape.width, shape.tokens
    macs = shape.patches * 3 * shape.patch_size**2 * d
    for _ in range(shape.depth):
        macs += 4 * n * d * d + 2 * n * n * d + NORM_OPERATIONS * n * d
        n -= min(r, (n - shape.prefix_tokens) // 2)
        macs += round(2 * shape.mlp_ratio * n * d * d) + NORM_OPERATIONS * n * d
    return macs + NORM_OPERATIONS * n * d + head * head_macs(shape)


def equal_r(shape: Shape, capacity: float) -> int:
    """The r whose multiply-accumulates are nearest to those of the model routed at `capacity`.

    Args:
        shape: the dense model.
        capacity: share of the tokens that a routed block processes, in (0, 1].
    """
    goal = routed_macs(shape, capacity)
    return min(range(shape.patches // 2 + 1), key=lambda r: abs(merged_macs(shape, r) - goal))
