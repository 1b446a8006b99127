"""Rotary models (Eva class): every token keeps its own row of the table, routed or not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import amod
from amod.method.packing import gather_rope, whole_rope

ROTARY = (
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_small_patch16_dinov3",  # registers, LayerScale
    "eva02_tiny_patch14_224",  # scaled norms, SwiGLU
)


def rotary(name: str) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=2,
                              num_classes=7)  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.double().eval()


def watched(block: nn.Module, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Output and column means of one block, from the arguments of its attention call."""
    seen: list[Tensor] = []
    real = nn.functional.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> Tensor:
        seen.extend((q, k))
        return real(q, k, v, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "scaled_dot_product_attention", spy)
        output = block(x, rope=table)
    q, k = seen
    return output, (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1).mean((1, 2))


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_models(name: str) -> None:
    dense = rotary(name)
    routed = amod.convert(copy.deepcopy(dense), capacity=1.0)
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(routed(x), dense(x), rtol=1e-12, atol=1e-12)
    assert list(routed.state_dict()) == list(dense.state_dict())
    amod.set_capacity(routed, 0.5)
    # Slow: a token that is not chosen stays, one that is attends to the chosen ones only.
    y, tables = dense._pos_embed(dense.patch_embed(x))
    y, prefix = dense.norm_pre(y), dense.num_prefix_tokens
    for index, block in enumerate(dense.blocks):
        table = tables[index] if getattr(dense, "rope_mixed", False) else tables
        if index % 2 == 0:
            y, scores = watched(block, y, table)
        else:
            chosen = torch.zeros_like(scores, dtype=torch.bool)
            chosen.scatter_(1, scores.topk(y.shape[1] // 2, dim=1).indices, True)
            y = torch.where(
                chosen[..., None], block(y, rope=table, attn_mask=chosen[:, None, None, :]), y
            )
    assert prefix == routed.num_prefix_tokens
    torch.testing.assert_close(routed.forward_features(x), dense.norm(y), rtol=1e-9, atol=1e-9)
    maps = routed.forward_intermediates(x, intermediates_only=True)
    assert {tuple(m.shape) for m in maps} == {(3, 48, 4, 4)}
    routed.train()(x).square().sum().backward()


def test_rotary_rows() -> None:
    table = torch.randn(5, 8)
    full = whole_rope(table, torch.zeros(1, 7, 4))
    assert torch.equal(full[2:], table)
    assert torch.equal(full[:2], torch.tensor([0.0] * 4 + [1.0] * 4).expand(2, -1))
    index = torch.tensor([[0, 3], [2, 6]])
    assert torch.equal(gather_rope(full, index)[1, 0], full[[2, 6]])
    heads = torch.stack([full, -full])
    assert torch.equal(gather_rope(heads, index)[0, 1], -full[[0, 3]])
    batch = torch.stack([full, 2 * full])[:, None]
    assert torch.equal(gather_rope(batch, index)[1, 0], 2 * full[[2, 6]])
