"""ONNX files give the model's logits in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import amod
from amod.use.export import OPSET, export_onnx
from repro_shared.runtime.errors import UserError

SMALL: dict[str, Any] = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 48,
                         "num_heads": 3, "num_classes": 7}  # fmt: skip


def routed(depth: int = 4, **routing: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **SMALL, depth=depth)
    for parameter in model.parameters():  # zero biases would hide mistakes
        nn.init.normal_(parameter, std=0.2)
    return amod.convert(model, **routing).eval()


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def run(path: Path, x: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": x.numpy()})
    return torch.from_numpy(np.asarray(logits))


@pytest.mark.parametrize(
    "routing",
    [
        {"capacity": 0.5},
        {"capacity": 1.0, "depth": 2},
        {"capacity": 0.3, "depth": 2, "router": "linear", "protect_prefix": True},
    ],
)
def test_onnxruntime_gives_the_same_logits_for_any_batch(
    routing: dict[str, Any], tmp_path: Path
) -> None:
    model = routed(**routing, backend="swapped").train()
    path = export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == [path]
    assert model.training
    assert model.routing.backend == "swapped"
    for batch in (1, 2, 5):
        x = images(batch)
        torch.testing.assert_close(run(path, x), model.eval()(x), rtol=1e-4, atol=1e-4)


def test_fixed_batch_opset_and_one_file(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    export_onnx(routed(depth=2), path, batch=3)
    graph = onnx.load(path)
    (image,) = graph.graph.input
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [3, 3, 32, 48]
    assert {o.domain: o.version for o in graph.opset_import}[""] == OPSET
    onnx.checker.check_model(graph)


def test_what_cannot_be_exported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match="VisionTransformer is not routed"):
        export_onnx(timm.create_model("vit_tiny_patch16_224", **SMALL), path)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        export_onnx(routed(), path, batch=0)
    fixing = routed(depth=2, router=lambda x, scores: scores * int(x.shape[0]))
    with pytest.raises(ValueError, match="batch cannot be left open"):
        export_onnx(fixing, path)
    monkeypatch.setattr("amod.use.export.find_spec", lambda name: None)
    with pytest.raises(UserError, match="onnx and onnxscript not installed"):
        export_onnx(routed(), path)
    assert not list(tmp_path.iterdir())
