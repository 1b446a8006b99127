"""The main map and its feature, whatever a head returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from repro_shared.runtime.errors import UserError
from seg_kd.use import adapter
from seg_kd.use.outputs import feature_channels, last_head, watched


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_main_map_is_what_the_model_predicts_from(config: dict[str, Any]) -> None:
    model = adapter.build_model(config).eval()
    with torch.no_grad(), watched(model) as seen:
        model(images(), mode="tensor")
    with torch.no_grad():
        predicted = model.predict(images())
    scores = nn.functional.interpolate(
        seen.logits(), (64, 64), mode="bilinear", align_corners=model.align_corners
    )
    for own, answer in zip(scores, predicted, strict=True):
        torch.testing.assert_close(own, answer.seg_logits.data)
    head = last_head(model)
    if hasattr(head, "conv_seg"):  # the feature is the one that this classifier reads (DANet's
        # last branch, not its first), so that it makes the main map of it
        torch.testing.assert_close(head.conv_seg(seen.layer("pre-classifier")), seen.logits())
    assert seen.layer("pre-classifier").shape[1] == feature_channels(model, "pre-classifier")
    assert "forward" not in vars(head)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in head.modules())


def test_main_map_of_a_training_pass(config: dict[str, Any]) -> None:
    model = adapter.build_model(config).train()
    with watched(model) as seen:
        model(images(), mode="tensor")
    assert seen.logits().shape == (2, 5, 8, 8)
    if isinstance(seen.output, list):  # K-Net answers with its last stage
        assert seen.logits() is seen.output[-1]


def test_layer_c4_is_what_the_head_reads(plain: dict[str, Any]) -> None:
    model = adapter.build_model(plain).eval()
    with watched(model) as seen:
        model(images(), mode="tensor")
    assert torch.equal(seen.layer("c4"), model.extract_feat(images())[3])
    assert feature_channels(model, "c4") == 64


def test_head_without_a_classifier_gives_logits_only(segmenter: dict[str, Any]) -> None:
    model = adapter.build_model(segmenter).eval()
    with watched(model) as seen:
        model(images(), mode="tensor")
    assert seen.logits().shape == (2, 5, 8, 8)
    for ask in (lambda: seen.layer("pre-classifier"), lambda: feature_channels(model, "x")):
        with pytest.raises(UserError, match=r"SegmenterMask.*use --objective logit"):
            ask()


def test_one_score_for_two_classes_is_two_scores(binary: dict[str, Any]) -> None:
    model = adapter.build_model(binary).eval()
    with watched(model) as seen:
        alone = model(images(), mode="tensor")
    torch.testing.assert_close(seen.logits().softmax(dim=1)[:, 1:], alone.sigmoid())


def test_one_auxiliary_score_for_two_classes_is_two_scores(
    binary: dict[str, Any], plain: dict[str, Any]
) -> None:
    own = {"num_classes": 2, "out_channels": 1, "threshold": 0.3}
    loss = binary["decode_head"]["loss_decode"]
    binary["auxiliary_head"] = {**plain["auxiliary_head"], **own, "loss_decode": loss}
    model = adapter.build_model(binary).eval()
    with watched(model) as seen:
        model(images(), mode="tensor")
    alone = model.auxiliary_head(model.extract_feat(images()))
    assert alone.shape[1] == 1
    torch.testing.assert_close(seen.auxiliary().softmax(dim=1)[:, 1:], alone.sigmoid())


def test_masks_and_points_are_no_map(plain: dict[str, Any]) -> None:
    model = adapter.build_model(plain).eval()
    for output in ((torch.zeros(2, 10, 6), torch.zeros(2, 10, 8, 8)), torch.zeros(2, 5, 9), None):
        with watched(model) as seen:
            pass
        seen.output = output
        with pytest.raises(UserError, match=r"PSPHead gives no map of class scores"):
            seen.logits()
