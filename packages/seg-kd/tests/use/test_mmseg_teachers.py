"""mmseg's encoder-decoders teach a convolutional student: other strides, widths and kinds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from repro_shared.runtime.errors import UserError
from seg_kd.method.objectives import FEATURE_LOGIT, Objective
from seg_kd.rivals.presets import RIVALS
from seg_kd.train import Distiller
from seg_kd.use import adapter, outputs
from seg_kd.use.outputs import feature_channels

EVERY: dict[str, Any] = {"num_classes": 5, "norm_cfg": {"type": "BN"}, "align_corners": False}
DEEPLAB = {
    "type": "DepthwiseSeparableASPPHead", **EVERY, "in_channels": 64, "in_index": 3, "channels": 24,
    "dilations": (1, 2), "c1_in_channels": 8, "c1_channels": 8,
}  # fmt: skip
UPER = {"type": "UPerHead", **EVERY, "in_channels": [8, 16, 32, 64], "in_index": [0, 1, 2, 3],
        "pool_scales": (1, 2), "channels": 24}  # fmt: skip
SEGFORMER = {"type": "SegformerHead", **EVERY, "in_channels": [8, 16, 32, 64],
             "in_index": [0, 1, 2, 3], "channels": 24}  # fmt: skip
TRANSFORMER = {
    "type": "MixVisionTransformer", "embed_dims": 8, "num_stages": 4, "num_layers": [1, 1, 1, 1],
    "num_heads": [1, 2, 4, 8], "patch_sizes": [7, 3, 3, 3], "sr_ratios": [8, 4, 2, 1],
    "out_indices": (0, 1, 2, 3),
}  # fmt: skip
FCN = {"type": "FCNHead", **EVERY, "in_channels": 64, "in_index": 3, "channels": 16, "num_convs": 1}
OCR = [FCN, {"type": "OCRHead", **EVERY, "in_channels": 64, "in_index": 3, "channels": 24,
             "ocr_channels": 8}]  # fmt: skip
TEACHERS: dict[str, dict[str, Any]] = {
    "DeepLabV3+": {"decode_head": DEEPLAB},
    "UPerNet": {"decode_head": UPER},
    "SegFormer": {"decode_head": SEGFORMER, "backbone": TRANSFORMER},
    "OCRNet": {"decode_head": OCR, "type": "CascadeEncoderDecoder", "num_stages": 2},
}
DEEP = Objective("deep", feature_weight=1.0, layer="c4")


def teacher_of(name: str, plain: dict[str, Any]) -> Any:
    config = {**copy.deepcopy(plain), "auxiliary_head": None, **copy.deepcopy(TEACHERS[name])}
    return adapter.build_model(config).eval()


@pytest.mark.parametrize("name", TEACHERS)
def test_encoder_decoders_teach(
    name: str, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(outputs, "once", said.append)
    teacher = teacher_of(name, plain)
    student = adapter.build_model(plain)
    assert feature_channels(teacher, "pre-classifier") == 24
    assert feature_channels(teacher, "c4") == 64
    pixels = torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8).numpy()
    labels = torch.randint(5, (2, 64, 64), dtype=torch.uint8).numpy()
    for objective in (FEATURE_LOGIT, DEEP, RIVALS["ifvd"], RIVALS["skd"]):
        model = Distiller(student, teacher, objective).train()
        student.zero_grad(set_to_none=True)
        pack = adapter.training_batch(edges=False)([*zip(pixels, labels, strict=True)])
        total, parts = model.parse_losses(model(**model.data_preprocessor(pack, True), mode="loss"))
        total.backward()
        assert any(part.startswith("distill.") for part in parts)
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
        assert any(p.grad.any() for p in student.backbone.parameters())
        assert all(p.grad is None for p in teacher.parameters())
    cascade = "the teacher is a cascade of 2 heads: the last one is distilled"
    assert {*said} == ({cascade} if name == "OCRNet" else set())
    if name == "OCRNet":
        with outputs.watched(teacher) as seen:
            answer = teacher(torch.randn(1, 3, 64, 64), mode="tensor")
        assert torch.equal(seen.logits(), answer)
        assert seen.head is teacher.decode_head[1]


def test_stages_that_are_read_as_one_map_have_no_last_one(plain: dict[str, Any]) -> None:
    plain["decode_head"] |= {
        "in_channels": [32, 64], "in_index": [2, 3], "input_transform": "resize_concat",
        "type": "FCNHead", "num_convs": 1,
    }  # fmt: skip
    plain["decode_head"].pop("pool_scales")
    teacher = adapter.build_model(plain)
    with pytest.raises(UserError, match="layer c4: FCNHead reads several stages as one map"):
        feature_channels(teacher, "c4")
