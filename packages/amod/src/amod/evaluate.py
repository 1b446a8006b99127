"""`amod evaluate`: accuracy of a user's checkpoint, dense and right after conversion.

With ImageNet's validation set this is the experiment of the paper's table 3, whose cells are put
beside what is measured.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amod.checks import check_device, check_preset
from amod.flop_table import reported
from amod.folders import Batches, ClassFolder, eval_transform
from amod.model import PRESETS, convert, set_capacity
from amod.weights import create_model, load_weights
from repro_shared.evidence.cells import slug
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import isolated_rng

CAPACITIES = (0.5, 0.125)
TABLE3 = {
    "deit_tiny_patch16_224": "DeiT-Tiny",
    "deit_small_patch16_224": "DeiT-Small",
    "vit_base_patch16_224": "ViT-Base",
    "vit_large_patch16_224": "ViT-Large",
}


def evaluate(
    model: str,
    weights: str | None,
    data: str,
    capacities: Sequence[float] = CAPACITIES,
    router: str = "attention",
    preset: str = "paper",
    batch_size: int = 64,
    device: str = "cpu",
    workers: int = 2,
    model_kwargs: Mapping[str, int] | None = None,
) -> Table:
    """Top-1 and top-5 accuracy, dense and routed, with timm's evaluation transform.

    Args:
        model: a timm model name; a tag (`.fb_in1k`) chooses how images are normalised.
        weights: a checkpoint of it, dense or routed (.safetensors or .pth); None for random ones.
        data: folder of class folders, such as ImageNet's `val`.
        capacities: of the routed rows.
        router: a name of `amod.routers.make_router`.
        preset: a name of `amod.PRESETS`.
        batch_size: images a step.
        device: cpu or cuda.
        workers: threads that read images.
        model_kwargs: settings for `timm.create_model`, e.g. a smaller width.

    Returns:
        The table `evaluate`: dense, then one row a capacity, in percent.

    Raises:
        UserError: what is wrong with model, weights, data, device or settings.
    """
    check_device(device)
    check_preset(preset)
    folder = ClassFolder(data)
    dense = create_model(model, len(folder.classes), **(model_kwargs or {}))
    try:
        routed = _routed(dense, weights, capacities, router, PRESETS[preset])
        transform, config = eval_transform(dense)
        batches = Batches(folder, transform, batch_size, workers)
    except ValueError as error:
        raise UserError(str(error)) from error
    rows = [_row("dense", dense.to(device), batches)]
    routed.to(device)
    arm = "A-MoD" if router == "attention" else router
    for capacity in capacities:
        set_capacity(routed, capacity)
        rows.append(_row(f"{arm} {100 * capacity:g} %", routed, batches))
    height, width = config["input_size"][1:]
    notes = [
        f"{len(folder.classes)} classes; timm's evaluation transform: {height} x {width} pixels, "
        f"crop {config['crop_pct']:g}, {config['interpolation']}; float32 on {device}; preset "
        f"{preset}.",
        f"Weights: {Path(weights).name}, sha256 {sha256_file(weights)}."
        if weights
        else "Random weights.",
    ]
    columns = (
        Column("model"),
        Column("top-1", "percent", 2),
        Column("top-5", "percent", 2),
        Column("images"),
    )
    title = f"{model}: accuracy dense and right after conversion, no training"
    table = Table("evaluate", title, columns, tuple(rows), tuple(notes))
    is_table3 = model.partition(".")[0] in TABLE3 and len(folder.classes) == 1000
    if is_table3 and not model_kwargs and router == "attention" and preset == "paper":
        return beside_table3(table, model.partition(".")[0], capacities)
    return table


def top_accuracy(
    model: nn.Module, batches: Batches | Sequence[tuple[Tensor, Tensor]]
) -> tuple[float, float, int]:
    """Top-1 and top-5 accuracy in percent, and the number of images.

    A random router's draws begin from a fixed seed each time.

    Args:
        model: in evaluation mode, gives logits (B, classes); with at most five classes the second
            value is 100.
        batches: images (B, 3, H, W) and targets (B,), at least one batch.
    """
    device = next(model.parameters()).device
    first = five = seen = 0
    progress = Progress(len(batches), "batches evaluated")
    with torch.inference_mode(), isolated_rng(0), progress:
        for step, (images, targets) in enumerate(batches, start=1):
            logits = model(images.to(device))
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices.cpu()
            hits = best == targets[:, None]
            first, five = first + int(hits[:, 0].sum()), five + int(hits.sum())
            seen += len(targets)
            progress.update(step, top1=100 * first / seen)
    return 100 * first / seen, 100 * five / seen, seen


def beside_table3(table: Table, model: str, capacities: Sequence[float]) -> Table:
    """The table with a column of the paper's cells, and what must be known before comparing.

    Args:
        table: a row for the dense model, then one a capacity.
        model: a key of `TABLE3`.
        capacities: of the rows; where the paper has none, nothing is shown.
    """
    known = {cell.id: cell.value for cell in reported()}
    row = f"table3/{slug(TABLE3[model])}-a-mod"
    cells = [
        known.get(f"{row}/{slug(f'top-1 at {100 * capacity:g} %')}/imagenet-1k")
        for capacity in capacities
    ]
    notes = [
        "Reported: arXiv 2412.20875v1, table 3, A-MoD without training; the paper does not say "
        "which checkpoints it converted."
    ]
    if TABLE3[model].startswith("DeiT"):
        notes.append(
            "In table 3 the A-MoD values of DeiT-Tiny and DeiT-Small at 50 % look exchanged: the "
            "curves of figures 3 and 11 start at the other's value."
        )
    return dataclasses.replace(
        table,
        columns=(*table.columns, Column("reported top-1", "percent")),
        rows=tuple((*row, cell) for row, cell in zip(table.rows, [None, *cells], strict=True)),
        notes=(*table.notes, *notes),
    )


def _routed(
    dense: Any,
    weights: str | None,
    capacities: Sequence[float],
    router: str,
    settings: dict[str, Any],
) -> Any:
    """A routed twin of the dense model, both with the weights; ValueError as `convert`."""
    with isolated_rng(0):  # a learned router begins at random
        routed = convert(copy.deepcopy(dense), router=router, **settings)
    for capacity in capacities:  # refused before hours of evaluation, not after
        set_capacity(routed, capacity)
    if weights is not None:
        load_weights(routed, weights)
        dense.load_state_dict(routed.state_dict(), strict=False)  # all but a router's weights
    return routed


def _row(name: str, model: nn.Module, batches: Batches) -> tuple[Cell, ...]:
    top1, top5, images = top_accuracy(model, batches)
    return name, top1, top5, images
