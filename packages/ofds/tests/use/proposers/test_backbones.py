"""Features of regions, from maps and from crops, of networks with drawn weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from ofds.use.nets.lite0 import lite0
from ofds.use.proposers.backbones import Backbone
from ofds.use.proposers.crops import Lite0Crops, cut
from ofds.use.proposers.hub import Machine
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights

BOXES = [np.array([[0, 0, 40, 40], [40, 8, 80, 48]], np.float32), np.zeros((0, 4), np.float32)]


def timm_folder(folder: Path, name: str, **settings: Any) -> tuple[str, Any]:
    """A model of timm as it is on the hub, in a folder."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **settings).eval()
    timm.models.save_for_hf(model, folder, model_args=settings, safe_serialization="both")
    return str(folder), model


def test_a_vision_transformer_of_timm_by_its_map(
    tmp_path: Path, machine: Machine, draw: Any
) -> None:
    from torchvision.ops import roi_align

    settings = {"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 64}
    folder, model = timm_folder(tmp_path, "vit_tiny_patch16_224", **settings)
    images = [draw(48, 80), draw(50, 50, 1)]
    backbone = Backbone(f"timm:{folder}", "", machine, side=64)
    first, second = backbone.features(images, BOXES)
    assert (first.shape, second.shape) == ((2, 16), (0, 16))
    assert backbone.mapped
    from PIL import Image

    square = np.asarray(Image.fromarray(images[0]).resize((64, 64), Image.Resampling.BILINEAR))
    config: Any = model.pretrained_cfg
    x = (square / 255 - np.array(config["mean"])) / np.array(config["std"])
    with torch.inference_mode():
        tokens = model.forward_features(torch.from_numpy(x).float().permute(2, 0, 1)[None])
    grid = tokens[:, model.num_prefix_tokens :].transpose(1, 2).reshape(1, 16, 4, 4)
    scale = torch.tensor([4 / 80, 4 / 48, 4 / 80, 4 / 48])
    where = [torch.from_numpy(BOXES[0]) * scale]
    by_hand = roi_align(grid, where, 7, 1.0, 2, aligned=True).mean(dim=(2, 3))
    assert np.allclose(first, by_hand, atol=1e-5)


def test_a_region_is_where_the_box_is(tmp_path: Path, machine: Machine) -> None:
    folder, _ = timm_folder(tmp_path, "resnet18", num_classes=3)
    image = np.zeros((64, 160, 3), np.uint8)
    image[:, :80] = 255
    boxes = np.array([[0, 0, 60, 64], [8, 4, 40, 60], [110, 0, 150, 64]], np.float32)
    for regions in ("map", "crops"):
        backbone = Backbone(f"timm:{folder}", "", machine, side=128, regions=regions)  # type: ignore[arg-type]
        (found,) = backbone.features([image], [boxes])
        alike = np.corrcoef(found)
        assert alike[0, 1] > alike[0, 2]
        assert found.shape == (3, 512)


def test_torchvision_from_a_file_by_map_and_by_crops(
    tmp_path: Path, machine: Machine, draw: Any
) -> None:
    from torchvision import models

    torch.manual_seed(0)
    net = models.mobilenet_v3_small(weights=None).eval()
    save_weights(net, tmp_path / "net.safetensors")
    name, file = "torchvision:mobilenet_v3_small", str(tmp_path / "net.safetensors")
    images = [draw(48, 80), draw(50, 50, 1)]
    mapped = Backbone(name, file, machine, side=96).features(images, BOXES)
    assert [each.shape for each in mapped] == [(2, 576), (0, 576)]
    crops = Backbone(name, file, machine, side=64, regions="crops").features(images, BOXES)
    assert [each.shape for each in crops] == [(2, 1024), (0, 1024)]
    part = torch.from_numpy(cut(images[0], BOXES[0][1], 64) / 255).permute(2, 0, 1).float()
    normal = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        pooled = net.avgpool(net.features((part - normal[0])[None] / normal[1])).flatten(1)
        assert np.allclose(crops[0][1], net.classifier[:2](pooled)[0], atol=1e-5)


def test_open_clip_from_a_folder(tmp_path: Path, machine: Machine, draw: Any) -> None:
    import json

    import open_clip

    model_config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1,
        },
    }  # fmt: skip
    prepared = {"size": 64, "mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"model_cfg": model_config, "preprocess_cfg": prepared}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.CLIP(**model_config).eval()
    save_weights(model, tmp_path / "open_clip_model.safetensors")
    images = [draw(48, 80), draw(50, 50, 1)]
    mapped = Backbone(f"open_clip:{tmp_path}", "", machine)
    assert mapped.mapped
    assert [each.shape for each in mapped.features(images, BOXES)] == [(2, 64), (0, 64)]
    crops = Backbone(f"open_clip:{tmp_path}", "", machine, regions="crops")
    found = crops.features(images, BOXES)[0]
    part = torch.from_numpy(cut(images[0], BOXES[0][0], 64) / 127.5 - 1).permute(2, 0, 1)
    with torch.inference_mode():
        assert np.allclose(found[0], model.encode_image(part[None].float())[0], atol=1e-5)


def test_what_is_not_there_is_said(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for name, message in (
        ("torchvision:resnet18", r"nothing is downloaded here: put resnet18-\w+.pth there"),
        ("torchvision:nothing", "no such image network"),
        ("timm:nobody/nothing", "neither a folder nor in the hub library's cache"),
        ("open_clip:ViT-B-32", "give the model's folder"),
        ("caffe:net", "give one of timm, open_clip, torchvision"),
    ):
        with pytest.raises(UserError, match=message):
            Backbone(name, "", machine)
    torch.save({"module": torch.nn.Linear(2, 2)}, tmp_path / "pickled.pth")
    with pytest.raises(UserError, match=r"holds more than tensors|no state_dict"):
        Backbone("torchvision:resnet18", str(tmp_path / "pickled.pth"), machine)


def test_lite0_sees_crops_with_a_little_around(machine: Machine, draw: Any) -> None:
    image = draw(64, 80)
    found, none = Lite0Crops(machine, 32).features([image, image], BOXES)
    part = torch.from_numpy(cut(image, BOXES[0][0], 32) / 255).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        assert np.allclose(found[0], lite0()(part)[0], atol=1e-5)
    assert none.shape == (0, 1280)


def test_crops_of_the_strangest_boxes_are_squares(draw: Any) -> None:
    image = draw(20, 30)
    for box in ([5, 5, 5, 5], [29.9, 19.9, 30, 20], [-9, -9, 90, 90], [40, 40, 50, 50]):
        assert cut(image, np.array(box, np.float32), 8).shape == (8, 8, 3)
    assert cut(image, np.array([10, 0, 20, 20]), 26)[:, 0].mean() == pytest.approx(
        image[:, 7].mean(), abs=25
    )  # 3 pixels, 0.15 of 20, lie around
