"""The command `amod`: what the paper is made of, and the verbs that it has."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Literal

import amod
from amod.study import bench, evaluate, own, paper_tables, recipes, tuning
from amod.study.flop_table import computed
from amod.study.readme import blocks
from repro_shared.datasets.class_folders import check
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe

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
    *,
    model: str = "deit_small_patch16_224",
    weights: str | None = None,
    out: str = "routing.png",
    capacity: float = 0.5,
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
    animate: bool = False,
) -> None:
    """Draw which patches of an image each routed block processes.

    Args:
        image: an image file; it is scaled and cropped by timm's evaluation transform.
        model: a timm model name.
        weights: its checkpoint (.safetensors or .pth); random weights without.
        out: file to write, .png, or .gif for an animation over capacity.
        capacity: of a still picture; an animation goes from 0.9 to 0.1.
        router: as the model was trained.
        preset: as the model was trained.
        animate: animate a .png, too.
    """
    from amod.use.show import show as draw

    print(draw(image, model, weights, out, capacity, router, preset, animate))


def export(
    model: str,
    out: str,
    *,
    weights: str | None = None,
    capacity: float = 0.5,
    router: str = "attention",
    preset: Literal["paper", "practical"] = "paper",
) -> None:
    """Write a routed model as ONNX.

    Args:
        model: a timm model name.
        out: the .onnx file.
        weights: its checkpoint; random weights without.
        capacity: share of tokens in routed blocks.
        router: as the model was trained.
        preset: as the model was trained.
    """
    from amod.use.export import export_onnx
    from amod.use.weights import routed_model

    network = routed_model(model, weights, capacity, router, preset)
    try:
        print(export_onnx(network, out))
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from error


def data_check(directory: str) -> None:
    """Verify a folder of class folders: counts, unreadable files, fingerprint.

    Args:
        directory: holds class folders, or train/, val/, test/ with class folders in each.
    """
    print(check(directory))


PAPER = replace(
    PAPER,
    verbs={
        **own.verbs(PAPER),
        "evaluate": evaluate.command,
        "show": show,
        "export": export,
        "bench": bench.command,
        "data check": data_check,
    },
)


def main() -> None:
    """Entry point of the `amod` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
