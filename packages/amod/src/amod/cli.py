"""The command `amod`: what the paper is made of, and the verbs that it has."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

import amod
from amod.study import bench, evaluate, own, paper_tables, recipes, tuning
from amod.study.flop_table import computed
from amod.study.readme import blocks
from amod.use.classes import read_class_map
from amod.use.metadata import names_in
from amod.use.options import NO_FLAGS, RANDOM, Checkpoint, RoutingSettings
from amod.use.weights import file_of, routed_model
from repro_shared.datasets.class_folders import check
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe

Flat = tyro.conf.OmitArgPrefixes

PAPER = Paper(
    package=amod,
    command="amod",
    description="Mixture-of-Depths for timm ViTs, routed by attention (arXiv 2412.20875).",
    citation=Citation(
        key="gadhikar2024attention",
        title="Attention Is All You Need For Mixture-of-Depths Routing",
        authors=(
            "Advait Gadhikar",
            "Souptik Kumar Majumdar",
            "Niclas Popp",
            "Piyapat Saranrittichai",
            "Martin Rapp",
            "Lukas Schott",
        ),
        year=2024,
        arxiv="2412.20875",
        version=1,
    ),
    repository=Repository(
        key="amod_reproduction",
        title="amod: an independent reproduction of arXiv 2412.20875",
        version=amod.__version__,
        year=2026,
    ),
    recipes=(
        Recipe(recipes.flops, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(recipes.routing_digits, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(recipes.routing_cifar10, ("smoke", "cpu")),
        Recipe(tuning.routing_digits_tuning, ("smoke", "cpu")),
        Recipe(tuning.routing_cifar10_tuning, ("smoke", "cpu")),
        Recipe(paper_tables.table1, ("paper",), default=("paper",)),
        Recipe(paper_tables.table3, ("paper",), default=("paper",)),
        Recipe(paper_tables.table4, ("paper",), default=("paper",)),
        Recipe(paper_tables.table5, ("paper",), default=("paper",)),
    ),
    distributions=("amod", "timm", "torchvision"),
    bench_table=bench.table,
    computed=computed,
    blocks=blocks,
)


def show(
    image: str,
    checkpoint: Annotated[Checkpoint, Flat] = RANDOM,
    routing: Annotated[RoutingSettings, Flat] = NO_FLAGS,
    *,
    model: str = "deit_small_patch16_224",
    out: str = "routing.png",
    capacity: float | None = None,
    animate: bool = False,
) -> None:
    """Draw which patches of an image each routed block processes.

    Args:
        image: an image file; it is scaled and cropped by timm's evaluation transform.
        checkpoint: the weights.
        routing: how the model is routed; what is not given is as stored with the weights.
        model: a timm model name.
        out: file to write, .png, or .gif for an animation over capacity.
        capacity: of a still picture, usually 0.5; an animation goes from 0.9 to 0.1.
        animate: animate a .png, too.
    """
    from amod.use.show import show as draw

    weights, settings = file_of(checkpoint, model), checkpoint.settings
    print(draw(image, model, weights, out, capacity, routing, animate, **settings))


def export(
    model: str,
    out: str,
    checkpoint: Annotated[Checkpoint, Flat] = RANDOM,
    routing: Annotated[RoutingSettings, Flat] = NO_FLAGS,
    *,
    capacity: float | None = None,
) -> None:
    """Write a routed model as ONNX.

    Args:
        model: a timm model name.
        out: the .onnx file.
        checkpoint: the weights.
        routing: how the model is routed; what is not given is as stored with the weights.
        capacity: share of tokens in routed blocks, usually 0.5.
    """
    from amod.use.export import export_onnx

    weights, settings = file_of(checkpoint, model), checkpoint.settings
    network = routed_model(model, weights, capacity, routing, **settings)
    try:
        print(export_onnx(network, out))
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from error


def convert(
    model: str,
    out: str,
    checkpoint: Annotated[Checkpoint, Flat] = RANDOM,
    routing: Annotated[RoutingSettings, Flat] = NO_FLAGS,
    *,
    capacity: float | None = None,
) -> None:
    """Write a converted model: weights, config.json and a card, as the Hugging Face hub has them.

    Args:
        model: a timm model name.
        out: folder to write; `amod.use.hub.from_pretrained` reads it.
        checkpoint: the weights, dense or routed.
        routing: how the model is routed; what is not given is as stored with the weights.
        capacity: share of tokens in routed blocks, usually 0.5.
    """
    from amod.use.hub import save_pretrained

    weights, settings = file_of(checkpoint, model), checkpoint.settings
    if weights is None:
        raise UserError("nothing to convert: give --weights FILE or --pretrained")
    if (Path(out) / "config.json").exists():
        raise UserError(f"{out} holds a model already: give another folder")
    network = routed_model(model, weights, capacity, routing, **settings)
    save_pretrained(network, out, names_in(weights))
    print(f"{model}, {100 * network.routing.capacity:g} % of the tokens in routed blocks, in {out}")


def data_check(directory: str, *, class_map: str | None = None) -> None:
    """Verify class folders: counts, order of the classes, unreadable files, fingerprint.

    Args:
        directory: holds class folders, or train/, val/, test/ with class folders in each.
        class_map: file that numbers the classes: a name a line, or JSON from name to number.
    """
    print(check(directory, read_class_map(class_map) if class_map else None))


PAPER = replace(
    PAPER,
    verbs={
        **own.verbs(PAPER),
        "evaluate": evaluate.command,
        "show": show,
        "export": export,
        "convert": convert,
        "bench": bench.command,
        "data check": data_check,
    },
)


def main() -> None:
    """Entry point of the `amod` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
