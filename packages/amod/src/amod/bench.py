"""`amod bench`: routed against dense, interleaved in one process, beside the ceiling by FLOPs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import nn

from amod.flops import Shape, ceiling
from amod.model import convert
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.errors import UserError
from repro_shared.timing.calibrate import calibrate

CAPACITIES = (0.5, 0.125)


def bench(model: str, batch: int, rounds: int, device: str = "cpu", **changes: Any) -> Table:
    """Images per second of a routed model over timm's dense one with fused attention.

    Both run in inference mode with the same random weights and the same head; neither is compiled.

    Args:
        model: a timm model name.
        batch: images a step.
        rounds: timed rounds.
        device: cpu or cuda.
        changes: settings for `timm.create_model`, e.g. a smaller width.

    Raises:
        UserError: unknown model, one that cannot be routed, or no such device.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    try:
        dense: Any = timm.create_model(model, **changes).eval().to(device)
    except RuntimeError as error:
        raise UserError(f"timm knows no model {model!r}: {error}") from error
    models: dict[str, nn.Module] = {"dense": dense}
    try:
        for capacity in CAPACITIES:
            models[f"{capacity:g}"] = convert(copy.deepcopy(dense), capacity=capacity)
    except ValueError as error:
        raise UserError(str(error)) from error
    image = torch.randn(batch, 3, *dense.patch_embed.img_size, device=device)
    steps: dict[str, Callable[[], None]] = {
        name: _step(network, image) for name, network in models.items()
    }
    with torch.inference_mode():
        result = calibrate(steps, warmup=2, rounds=rounds)
    shape = Shape(
        dense.embed_dim,
        len(dense.blocks),
        image_size=dense.patch_embed.img_size[0],
        patch_size=dense.patch_embed.patch_size[0],
        prefix_tokens=dense.num_prefix_tokens,
        classes=dense.num_classes,
    )
    rows = []
    for capacity in CAPACITIES:
        speed = 1 / result.ratio(f"{capacity:g}", "dense")
        low, high = result.spread("dense", f"{capacity:g}")
        top = ceiling(shape, capacity)
        rows.append((f"{capacity:g}", speed, low, high, top, speed / top))
    return Table(
        "bench",
        f"{model}, batch {batch}: routed over dense, images per second",
        (
            Column("capacity"),
            Column("speed-up", "x dense", 3),
            Column("10 %", "x dense", 3),
            Column("90 %", "x dense", 3),
            Column("ceiling by FLOPs", "x dense", 3),
            Column("realised", "of ceiling", 3),
        ),
        tuple(rows),
        (
            f"{rounds} interleaved rounds, {result.threads} threads, {device}, random weights, "
            "inference mode, not compiled; the score's own work is not in the ceiling.",
        ),
    )


def _step(network: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        network(image)

    return step
