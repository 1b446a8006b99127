"""A registered amod model as mmseg's backbone: TIMMBackbone needs nothing but its name."""

from __future__ import annotations

from typing import Any

import torch

import amod.use.registry  # noqa: F401 - registers the names with timm
from seg_kd.use import adapter, models

CONFIG: dict[str, Any] = {
    "type": "EncoderDecoder",
    "data_preprocessor": models.preprocessor_config((64, 96)),
    "backbone": {
        "type": "TIMMBackbone",
        "model_name": "amod_deit_tiny_patch16_224",
        "pretrained": False,
        "features_only": True,
        "out_indices": (1, 3),
        "capacity": 0.3,
        "img_size": (64, 96),
        "dynamic_img_size": True,
        "embed_dim": 48,
        "depth": 4,
        "num_heads": 3,
    },
    "decode_head": {
        "type": "FCNHead",
        "in_channels": 48,
        "in_index": 1,
        "channels": 16,
        "num_convs": 1,
        "concat_input": False,
        "num_classes": 5,
        "norm_cfg": {"type": "BN"},
        "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
    },
    "train_cfg": {},
    "test_cfg": {"mode": "whole"},
}


def test_an_mmseg_segmentor_trains_on_a_routed_backbone() -> None:
    torch.manual_seed(0)
    model = adapter.build_model(CONFIG)
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    images = torch.randn(2, 3, 64, 96)
    maps = model.extract_feat(images)
    assert [tuple(one.shape) for one in maps] == [(2, 48, 4, 6)] * 2
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 64, 96))),
            metainfo={"img_shape": (64, 96), "ori_shape": (64, 96)},
        )
        for _ in images
    ]
    losses = model.loss(images, samples)
    losses["decode.loss_ce"].backward()
    backbone = model.backbone.timm_model.model
    assert backbone.routing.capacity == 0.3
    for block in backbone.blocks:  # 0 and 2 are dense, 1 and 3 routed
        assert block.attn.qkv.weight.grad.abs().sum() > 0
    # A map is complete: a token that no block processed still holds its embedding.
    assert (maps[1].abs().sum(dim=1) > 0).all()
    other = model.eval().extract_feat(torch.randn(1, 3, 96, 64))
    assert tuple(other[1].shape) == (1, 48, 6, 4)
