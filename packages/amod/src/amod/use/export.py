"""Write a routed model as an ONNX file, through torch.export.

The graph holds plain operators only (MatMul, Softmax, TopK, Gather, ScatterND, ...): the scores
come from attention maps, for torch's fused attention with logsumexps has no counterpart in ONNX.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from amod.method.blocks import routed_blocks
from amod.method.model import reroute
from repro_shared.runtime.errors import UserError

OPSET = 20
"""The first opset with Gelu as one operator; onnxruntime reads it from version 1.17."""
INPUT, OUTPUT = "images", "logits"


def export_onnx(model: nn.Module, path: str | os.PathLike[str], batch: int | None = None) -> Path:
    """Write a routed model for inference, in float32, at its present capacity and image size.

    Args:
        model: a converted model; it stays as it is.
        path: the file. It is there completely or not at all; weights above 1.5 GiB lie beside it in
            a second file, `path` and `.data`.
        batch: images a run; None leaves it open.

    Returns:
        The path. Input `images` (B, channels, H, W) as the model takes them, output `logits`
        (B, classes).

    Raises:
        ValueError: not a routed model, a batch below 1, or an open one that a router of the user's
            does not allow.
        UserError: onnx or onnxscript is not installed.
        OSError: the file cannot be written.
    """
    if not routed_blocks(model):
        raise ValueError(f"{type(model).__name__} is not routed; use amod.convert first")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} not installed; ONNX export needs both")
    routed: Any = copy.deepcopy(model).cpu().float().eval()
    reroute(routed, replace(routed.routing, backend="explicit"))
    channels, size = routed.patch_embed.proj.in_channels, routed.patch_embed.img_size
    # An open batch needs an example above 1: torch.export takes sizes of 0 and 1 for constants.
    example = torch.zeros(batch or 2, channels, *size)
    target = Path(path)
    with TemporaryDirectory(dir=target.parent) as made, torch.no_grad():
        program: Any = torch.onnx.export(
            routed,
            (example,),
            Path(made) / target.name,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=None if batch else ({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        # torch falls back to the example's batch where an operation cannot do without.
        if batch is None and isinstance(program.model.graph.inputs[0].shape[0], int):
            raise ValueError("this model's batch cannot be left open; say which batch")
        for file in sorted(Path(made).iterdir(), reverse=True):  # weights first, then the graph
            os.replace(file, target.parent / file.name)
    return target
