"""Faster R-CNN behind our interface: two steps, local weights, ignored boxes, weights of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofds.train import Training, fit
from ofds.use.nets.detector import Target, detect_all
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights

detectors = pytest.importorskip("ofds.use.nets.torchvision_detectors")


def small(weights: Path | None = None) -> Any:
    torch.manual_seed(0)
    return detectors.FasterRcnn(3, "resnet18", weights, min_size=64, max_size=64)


def target(boxes: list[list[float]], labels: list[int], **more: torch.Tensor) -> Target:
    label = torch.tensor(labels, dtype=torch.long)
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": label, **more}


def test_two_steps_and_detections() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    own = [target([[8.0, 8.0, 40.0, 40.0]], [2]), target([], [])]
    config = Training(2, optimiser="SGD", learning_rate=1e-3)
    done = fit(small(), lambda m, b: m.loss(*b), lambda g: (x, own), config, seed=0)
    assert len(done.losses) == 2
    found = detect_all(done.model, images, batch_size=2)
    assert set(found.label.tolist()) <= {0, 1, 2}
    assert (found.box[:, 2:] > 0).all()


def test_backbone_from_a_local_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(1)
    network = resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    made = small(tmp_path / "resnet18.pth").model.backbone.body
    assert torch.equal(made.conv1.weight, network.conv1.weight)
    assert torch.equal(made.layer4[1].bn2.weight, network.layer4[1].bn2.weight)
    assert not made.conv1.weight.requires_grad
    assert made.layer4[0].conv1.weight.requires_grad
    state = network.state_dict()
    del state["layer1.0.conv1.weight"]
    save_weights(state, tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match="another architecture"):
        small(tmp_path / "cut.safetensors")


def test_ignored_boxes_are_no_examples() -> None:
    from torchvision.models.detection.image_list import ImageList

    model = small()
    rpn = model.model.rpn
    grid = [torch.zeros(1, 256, 16, 16)]
    anchors = rpn.anchor_generator(ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)]), grid * 5)
    box = [[10.0, 10.0, 42.0, 42.0]]
    plain = detectors.with_ignored(target(box, [0]))
    both = detectors.with_ignored(target([], [], ignored=torch.tensor(box)))
    assert plain["labels"].tolist() == [1]
    assert both["labels"].tolist() == [-1]
    positive = rpn.assign_targets_to_anchors(anchors, [plain])[0][0] == 1
    labels = rpn.assign_targets_to_anchors(anchors, [both])[0][0]
    assert positive.any()
    assert (labels[positive] == -1).all()
    assert not (labels == 1).any()
    proposals = [torch.tensor([[10.0, 10.0, 42.0, 42.0], [0.0, 0.0, 5.0, 5.0]])]
    found = model.model.roi_heads.assign_targets_to_proposals(
        proposals, [both["boxes"]], [both["labels"]]
    )[1][0]
    assert found.tolist() == [-1, 0]


def test_an_image_without_weight_teaches_nothing() -> None:
    x = torch.rand(2, 3, 64, 64)
    own = target([[8.0, 8.0, 40.0, 40.0]], [2], weight=torch.tensor(1.0))
    other = target([[0.0, 0.0, 20.0, 20.0]], [1], weight=torch.tensor(0.0))
    model = small().train()
    for each in model.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            each.eval()
    torch.manual_seed(0)
    alone = model.loss(x[:1], [own]).item()
    torch.manual_seed(0)
    assert model.loss(x, [own, other]).item() == pytest.approx(alone, rel=1e-4)
