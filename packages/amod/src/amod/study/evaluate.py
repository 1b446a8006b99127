"""`amod evaluate`: accuracy of a user's checkpoint, dense and right after conversion.

With ImageNet's validation set this is the experiment of the paper's table 3, whose cells are put
beside what is measured.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torch.utils.data import DataLoader

from amod.method.model import PRESETS, convert, set_capacity
from amod.study.flop_table import reported
from amod.study.paper_tables import TIMM
from amod.use.views import eval_transform
from amod.use.weights import check_preset, create_model, load_weights
from repro_shared.datasets.class_folders import ClassFolder
from repro_shared.datasets.views import Seeded, batches
from repro_shared.evidence.cells import slug
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.metrics.classification import top_accuracy
from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import isolated_rng

CAPACITIES = (0.5, 0.125)
TABLE3 = {name: printed for printed, name in TIMM.items()}


def command(
    *,
    model: str = "deit_small_patch16_224",
    data: str = "",
    weights: str | None = None,
    capacity: tuple[float, ...] = CAPACITIES,
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
    batch_size: int = 64,
    workers: int = 2,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Accuracy of a checkpoint, dense and right after conversion, beside the paper's table 3.

    Args:
        model: a timm model name; a tag (.fb_in1k) chooses how images are normalised.
        data: folder of class folders, such as ImageNet's val.
        weights: the checkpoint, dense or routed (.safetensors or .pth); random weights without.
        capacity: capacities of the routed rows.
        router: attention, linear, linear-sigmoid, linear-unit, random or l2norm.
        preset: paper, or practical (class token protected, first blocks dense).
        batch_size: images a step.
        workers: loading processes.
        device: cpu or cuda.
    """
    if not data:
        raise UserError("no data: give a folder of class folders with --data DIR")
    made = evaluate(model, weights, data, capacity, router, preset, batch_size, device, workers)
    print(made.to_terminal())


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

    Arguments as of `command`; `model_kwargs` are settings for `timm.create_model`.

    Returns:
        The table `evaluate`: dense, then one row a capacity, in percent.

    Raises:
        UserError: what is wrong with model, weights, data, device or settings.
    """
    check_device(device)
    check_preset(preset)
    if batch_size < 1 or workers < 0:
        raise UserError(f"batch_size {batch_size} must be at least 1, workers {workers} at least 0")
    folder = ClassFolder(data)
    dense = create_model(model, len(folder.classes), **(model_kwargs or {}))
    try:
        routed = _routed(dense, weights, capacities, router, PRESETS[preset])
    except ValueError as error:
        raise UserError(str(error)) from error
    transform, config = eval_transform(dense)
    loader = batches(folder, Seeded(transform), batch_size, workers)
    rows = [_row("dense", dense.to(device), loader)]
    routed.to(device)
    arm = "A-MoD" if router == "attention" else router
    for capacity in capacities:
        set_capacity(routed, capacity)
        rows.append(_row(f"{arm} {100 * capacity:g} %", routed, loader))
    height, width = config["input_size"][1:]
    table = Table(
        "evaluate",
        f"{model}: accuracy dense and right after conversion, no training",
        (
            Column("model"),
            Column("top-1", "percent", 2),
            Column("top-5", "percent", 2),
            Column("images"),
        ),
        tuple(rows),
        (
            f"{len(folder.classes)} classes; timm's evaluation transform: {height} x {width} "
            f"pixels, crop {config['crop_pct']:g}, {config['interpolation']}; float32 on {device}; "
            f"preset {preset}.",
            f"Weights: {Path(weights).name}, sha256 {sha256_file(weights)}."
            if weights
            else "Random weights.",
        ),
    )
    is_table3 = model.partition(".")[0] in TABLE3 and len(folder.classes) == 1000
    if is_table3 and not model_kwargs and router == "attention" and preset == "paper":
        return beside_table3(table, model.partition(".")[0], capacities)
    return table


def beside_table3(table: Table, model: str, capacities: Sequence[float]) -> Table:
    """The table with a column of the paper's cells, and what must be known before comparing.

    Its first row is the dense model's, then one a capacity; where the paper has none, nothing is
    shown.
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


def _row(name: str, model: nn.Module, loader: DataLoader[Any]) -> tuple[Cell, ...]:
    with Progress(len(loader), f"{name}, batches") as progress:
        return name, *top_accuracy(model, loader, progress)
