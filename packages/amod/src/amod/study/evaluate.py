"""`amod evaluate`: accuracy of a user's checkpoint, dense and right after conversion.

With ImageNet's validation set this is the experiment of the paper's table 3, whose cells are put
beside what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import tyro

from amod.method.model import set_capacity
from amod.study import stages
from amod.study.configs import Converted, Given, Variant
from amod.study.data import Pictures, RandomWeights, Weights
from amod.study.flop_table import reported
from amod.study.paper_tables import TIMM
from amod.use.classes import gives_numbers, read_class_map
from amod.use.metadata import names_in, routing_in
from amod.use.options import NO_FLAGS, RANDOM, Checkpoint, RoutingSettings
from amod.use.views import eval_transform
from amod.use.weights import create_model, file_of, routing_for
from repro_shared.datasets.class_folders import ClassFolder
from repro_shared.evidence.cells import slug
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import say
from repro_shared.study.paper import Arm, Context, Start

CAPACITIES = (0.5, 0.125)
TABLE3 = {name: printed for printed, name in TIMM.items()}
Flat = tyro.conf.OmitArgPrefixes


def command(
    checkpoint: Annotated[Checkpoint, Flat] = RANDOM,
    routing: Annotated[RoutingSettings, Flat] = NO_FLAGS,
    *,
    model: str = "deit_small_patch16_224",
    data: str = "",
    capacity: tuple[float, ...] = (),
    class_map: str | None = None,
    ema: bool = False,
    batch_size: int = 64,
    workers: int = 2,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Accuracy of a checkpoint, dense and right after conversion, beside the paper's table 3.

    Args:
        checkpoint: the weights.
        routing: how the routed rows are routed; what is not given is as stored with the weights.
        model: a timm model name; a tag (.fb_in1k) chooses how images are normalised.
        data: folder of class folders, such as ImageNet's val.
        capacity: capacities of the routed rows, usually 0.5 and 0.125; of weights that were trained
            routed, theirs.
        class_map: file that says which output of the model each class folder is: a name a line in
            order, or JSON from name to number; then scored among these classes only (ImageNet-A,
            -R). Without it as stored with the weights, or in natural order.
        ema: score the averaged weights that a training script of timm's or DeiT's has kept.
        batch_size: images a step.
        workers: loading processes.
        device: cpu or cuda.
    """
    if not data:
        raise UserError("no data: give a folder of class folders with --data DIR")
    made = evaluate(
        model, file_of(checkpoint, model), data, capacity, routing,
        class_map=class_map, ema=ema, batch_size=batch_size, device=device, workers=workers,
        model_kwargs=checkpoint.settings,
    )  # fmt: skip
    print(made.to_terminal())


def evaluate(
    model: str,
    weights: str | None,
    data: str,
    capacities: Sequence[float] = (),
    routing: RoutingSettings = NO_FLAGS,
    *,
    class_map: str | None = None,
    ema: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    workers: int = 2,
    model_kwargs: dict[str, int] | None = None,
) -> Table:
    """Top-1 and top-5 accuracy, dense and routed, with timm's evaluation transform.

    Every row is the stage `converted` of the studies. Arguments as of `command`; `weights` is a
    file, `model_kwargs` are settings for `timm.create_model`.

    Returns:
        The table `evaluate`: dense, then one row a capacity, in percent.

    Raises:
        UserError: what is wrong with model, weights, data, device or settings.
    """
    check_device(device)
    require(batch_size >= 1, "--batch-size", "at least 1", batch_size)
    require(workers >= 0, "--workers", "0 or more", workers)
    require(weights is not None or not ema, "--ema", "given with --weights", ema)
    settings, known = model_kwargs or {}, routing_in(weights)
    arguments, capacities = routing_for(weights, routing, capacities, CAPACITIES)
    folder, origin = _pictures(data, class_map, weights)
    variants = [Variant(capacity=capacity, **arguments) for capacity in capacities]
    depth, config = _tried(model, variants, settings)
    say(folder.counts())
    say(f"classes, {origin}: {folder.order()}")
    given = Given(model, 0 if weights else len(folder.classes), tuple(settings.items()))
    begin = Weights(Path(weights) if weights else None, ema)
    label = "A-MoD" if arguments["router"] == "attention" else arguments["router"]
    named = [("dense", Variant(layers=depth))]
    named += [(f"{label} {100 * variant.capacity:g} %", variant) for variant in variants]
    mapped = class_map is not None and gives_numbers(class_map)
    pictures = Pictures(None, folder, mapped)
    rows = _scored(given, begin, pictures, named, batch_size, device, workers)
    height, width = config["input_size"][1:]
    averaged = "averaged weights (EMA) of " if ema else ""
    table = Table(
        "evaluate",
        f"{model}: accuracy dense and "
        + ("routed" if known else "right after conversion, no training"),
        (
            Column("model"),
            Column("top-1", "percent", 2),
            Column("top-5", "percent", 2),
            Column("images"),
        ),
        rows,
        (
            f"{len(folder.classes)} classes, {origin}: {folder.order()}.",
            f"timm's evaluation transform: {height} x {width} pixels, crop "
            f"{config['crop_pct']:g}, {config['interpolation']}; float32 on {device}; "
            f"routed: {variants[0].words}.",
            f"Weights: {averaged}{Path(weights).name}, sha256 {sha256_file(weights)}."
            if weights
            else "Random weights.",
        ),
    )
    is_table3 = model.partition(".")[0] in TABLE3 and folder.numbers == tuple(range(1000))
    if is_table3 and not (settings or known) and arguments == NO_FLAGS.resolved():
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
    return replace(
        table,
        columns=(*table.columns, Column("reported top-1", "percent")),
        rows=tuple((*row, cell) for row, cell in zip(table.rows, [None, *cells], strict=True)),
        notes=(*table.notes, *notes),
    )


def _scored(
    given: Given,
    weights: Weights,
    pictures: Pictures,
    variants: list[tuple[str, Variant]],
    batch_size: int,
    device: str,
    workers: int,
) -> tuple[tuple[Cell, ...], ...]:
    """A row for each named variant: its accuracy, by the stages `given` and `converted`."""
    rows: list[tuple[Cell, ...]] = []
    start = Arm("given", given, stages.given, data=RandomWeights())
    with TemporaryDirectory() as made:
        place = Path(made)
        stages.given(given, Context(weights, 0, device, place, key="", label="given"))
        for name, variant in variants:
            ctx = Context(
                pictures, 0, device, place, key="", label=name,
                starts=(Start(start, place),), workers=workers,
            )  # fmt: skip
            found = stages.converted(Converted(variant, batch_size), ctx).metrics
            rows.append((name, found["accuracy"], found["top5"], int(found["pictures"])))
    return tuple(rows)


def _pictures(data: str, class_map: str | None, weights: str | None) -> tuple[ClassFolder, str]:
    """The class folders, and in words what numbers them.

    Raises:
        UserError: as `ClassFolder` and `read_class_map`; folders of other names than the classes
            that are stored with the weights.
    """
    if class_map is not None:
        return ClassFolder(data, class_map=read_class_map(class_map)), f"as {class_map} has them"
    names = names_in(weights)
    if not names:
        folder, order = ClassFolder(data), "in the natural order of their names"
        if folder.classes != tuple(sorted(folder.classes)):
            order += (
                " (torchvision sorts them as text: weights trained in that order need --class-map)"
            )
        return folder, order
    try:
        known = {name: number for number, name in enumerate(names)}
        return ClassFolder(data, class_map=known), "as stored with the weights"
    except UserError as error:
        lacks, problem = "the class map lacks", str(error)
        if lacks not in problem:
            raise
        problem = problem.replace(lacks, "the weights were not trained on")
        raise UserError(f"{problem}; say which classes the folders are with --class-map") from None


def _tried(
    model: str, variants: Sequence[Variant], settings: dict[str, int]
) -> tuple[int, dict[str, Any]]:
    """Depth of the model and how timm views its pictures.

    UserError for variants that cannot be: before hours of evaluation, not after.
    """
    network = create_model(model, **settings)
    stages.build(variants[0], network, 0)
    depth, config = len(network.blocks), eval_transform(network)[1]
    for variant in variants:
        try:
            set_capacity(network, variant.capacity)
        except ValueError as error:
            raise UserError(str(error)) from error
    return depth, config
