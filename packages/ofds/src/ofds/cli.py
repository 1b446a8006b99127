"""The command `ofds`."""

from __future__ import annotations

import sys

import ofds
from ofds.study import (
    active_recipes,
    bench,
    bench_tables,
    detection_recipes,
    detection_voc_recipes,
    photographs_recipes,
    recipes,
    segmentation_recipes,
)
from ofds.study.readme import blocks
from ofds.verbs import DESCRIPTION, VERBS
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe

PAPER = Paper(
    package=ofds,
    command="ofds",
    description=DESCRIPTION,
    citation=Citation(
        key="popp2024ofds",
        title="Single-Pass Object-Focused Data Selection",
        authors=(
            "Niclas Popp", "Dan Zhang", "Jan Hendrik Metzen", "Matthias Hein", "Lukas Schott",
        ),
        year=2024,
        arxiv="2412.10032",
        version=2,
    ),
    repository=Repository(
        key="ofds_reproduction",
        title="ofds: an independent reproduction of arXiv 2412.10032",
        version=ofds.__version__,
        year=2026,
    ),
    recipes=(
        Recipe(recipes.selection_long_tail, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(recipes.selection_balanced, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(detection_recipes.proposer_training, ("smoke", "cpu"), default=("smoke",)),
        Recipe(detection_recipes.detection_long_tail, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(detection_recipes.detection_long_tail_complex, ("smoke", "cpu"), default=("smoke",)),
        Recipe(detection_recipes.detection_balanced, ("smoke", "cpu"), default=("smoke",)),
        Recipe(detection_recipes.autolabels, ("smoke", "cpu"), default=("smoke",)),
        Recipe(active_recipes.active_learning, ("smoke", "cpu"), default=("smoke",)),
        Recipe(detection_voc_recipes.detection_voc, ("paper",), default=("paper",)),
        Recipe(segmentation_recipes.segmentation_long_tail, ("smoke", "cpu"), default=("smoke",)),
        Recipe(segmentation_recipes.segmentation_balanced, ("smoke", "cpu"), default=("smoke",)),
        Recipe(photographs_recipes.cells_bccd, ("smoke", "cpu")),
        Recipe(photographs_recipes.cells_bccd_tuning, ("smoke", "cpu")),
        Recipe(photographs_recipes.roads_camvid, ("smoke", "cpu")),
        Recipe(photographs_recipes.roads_camvid_tuning, ("smoke", "cpu")),
        Recipe(photographs_recipes.segmentation_cityscapes, ("smoke", "paper")),
        Recipe(recipes.coverage, ("smoke", "cpu"), default=("smoke", "cpu")),
    ),
    distributions=("ofds", "numpy", "scipy", "torch", "pycocotools"),
    bench_table=bench_tables.table,
    bench_figure=bench_tables.figure,
    blocks=blocks,
    verbs={**VERBS, "bench": bench.command},
)  # fmt: skip


def main() -> None:
    """What `ofds` does with all of its commands; see `ofds.__main__`."""
    sys.exit(run(PAPER))
