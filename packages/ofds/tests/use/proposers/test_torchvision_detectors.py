"""torchvision's detectors with drawn weights, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofds.use.proposers.hub import Machine
from ofds.use.proposers.torchvision_detectors import TorchvisionDetector
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights

OWN = ["dog", "cat", "bird"]


def saved(folder: Path, name: str, sure: float = 6.0) -> tuple[str, Any]:
    """A model with drawn weights that is sure of cats everywhere."""
    from torchvision import models

    torch.manual_seed(0)
    model: Any = models.get_model(
        name, weights=None, weights_backbone=None, num_classes=len(OWN) + 1
    )
    if hasattr(model, "roi_heads"):
        model.roi_heads.box_predictor.cls_score.bias.data[2] = sure
    save_weights(model, folder / "model.safetensors")
    return str(folder / "model.safetensors"), model.eval()


@pytest.mark.parametrize(
    "name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"]
)
def test_wanted_classes_with_scores_boxes_and_features(
    name: str, tmp_path: Path, machine: Machine, draw: Any
) -> None:
    file, model = saved(tmp_path, name)
    images, classes = [draw(60, 90), draw(80, 70, 1)], ["cat", "dog"]
    found = TorchvisionDetector(name, file, OWN, classes, machine).detect(images, 0.0)
    with torch.inference_mode():
        theirs = model([torch.from_numpy(i).permute(2, 0, 1).float() / 255 for i in images])
    assert sum(map(len, found))
    for seen, other in zip(found, theirs, strict=True):
        wanted = other["labels"] != 3  # a bird
        assert np.allclose(seen.boxes, other["boxes"][wanted], atol=1e-3)
        assert np.allclose(seen.scores.max(axis=1), other["scores"][wanted], atol=1e-5)
        labels = np.array([2, 1])[seen.scores.argmax(axis=1)]
        assert np.array_equal(labels, other["labels"][wanted])
        assert (np.count_nonzero(seen.scores, axis=1) == 1).all()
        assert seen.features is not None
        assert len(seen.features) == len(seen)
        assert np.isfinite(seen.features).all()


def test_masks_come_along(tmp_path: Path, machine: Machine, draw: Any) -> None:
    file, _ = saved(tmp_path, "maskrcnn_resnet50_fpn")
    detector = TorchvisionDetector("maskrcnn_resnet50_fpn", file, OWN, ["cat"], machine)
    detector.model.transform.min_size, detector.model.transform.max_size = (64,), 96
    detector.model.roi_heads.detections_per_img = 3
    (seen,) = detector.detect([draw(60, 90)], 0.0)
    assert seen.masks is not None
    assert len(seen.masks) == len(seen) > 0


def test_names_of_outputs_are_needed(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    file, _ = saved(tmp_path, name)
    with pytest.raises(UserError, match="no class 'digit 0'; --labels FILE names the outputs"):
        TorchvisionDetector(name, file, [], ["digit 0"], machine)
    with pytest.raises(UserError, match="no class 'fish'"):
        TorchvisionDetector(name, file, OWN, ["fish"], machine)
    with pytest.raises(UserError, match=r"another architecture.*cls_score"):
        TorchvisionDetector(name, file, [*OWN, "fish"], ["fish"], machine)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="nothing is downloaded here"):
        TorchvisionDetector(name, "", [], ["cat"], machine)
