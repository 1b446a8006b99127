"""Depth-cut models of equal cost."""

from __future__ import annotations

import pytest
import timm
import torch

from amod.method.flops import SHAPES
from amod.rivals.baselines import cut_depth, isoflop_layers, kept_layers


def test_depths_of_the_paper_follow_from_the_flops() -> None:
    # Implied by the FLOP columns: 7 / 6 / 6 / 13 layers at 12.5 %, 9 / 9 / 9 / 18 at 50 %.
    found = {name: (isoflop_layers(s, 0.125), isoflop_layers(s, 0.5)) for name, s in SHAPES.items()}
    assert found["DeiT-Tiny"] == ((7, 7), (9, 9))
    # The paper's six layers lie 10 % below A-MoD; seven are nearer.
    assert found["DeiT-Small"] == ((7, 7), (9, 9))
    assert found["ViT-Base"] == ((7, 7), (9, 9))
    assert found["ViT-Large"] == ((13, 14), (18, 18))


def test_kept_blocks_keep_their_weights() -> None:
    assert kept_layers(8, 5, "first") == [0, 1, 2, 3, 4]
    assert kept_layers(8, 5, "even") == [0, 2, 4, 5, 7]
    assert kept_layers(8, 8, "even") == list(range(8))
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 8, "num_heads": 3}
    model = timm.create_model("vit_tiny_patch16_224", **settings)
    blocks = list(model.blocks)
    cut = cut_depth(model, 5, "even")
    assert [blocks.index(block) for block in cut.blocks] == [0, 2, 4, 5, 7]
    assert cut(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
    with pytest.raises(ValueError, match="1 to 5"):
        cut_depth(cut, 6)
