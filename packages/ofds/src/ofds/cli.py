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
from ofds.use.audit_command import audit
from ofds.use.compare_command import compare
from ofds.use.curve_command import curve
from ofds.use.demo_command import demo
from ofds.use.estimate_command import estimate
from ofds.use.export_command import export
from ofds.use.ingest_command import ingest
from ofds.use.merge_command import merge
from ofds.use.parts_command import parts
from ofds.use.propose_command import propose
from ofds.use.sample_command import sample
from ofds.use.select_command import select
from ofds.use.split_command import split
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe

PAPER = Paper(
    package=ofds,
    command="ofds",
    description="Choose what to annotate by objects, every class covered, in one pass.",
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
    distributions=("ofds", "numpy", "scipy"),
    bench_table=bench_tables.table,
    bench_figure=bench_tables.figure,
    blocks=blocks,
    verbs={
        "propose": propose,
        "parts": parts,
        "select": select,
        "split": split,
        "export": export,
        "ingest": ingest,
        "merge": merge,
        "sample": sample,
        "estimate": estimate,
        "audit": audit,
        "compare": compare,
        "curve": curve,
        "demo": demo,
        "bench": bench.command,
    },
)  # fmt: skip


def main() -> None:
    """Entry point of the `ofds` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
