"""The command `seg-kd`: what the paper is, its studies, and the verbs that it adds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import seg_kd
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe
from seg_kd.study import bench, recipes
from seg_kd.study.own import Own
from seg_kd.study.readme import blocks

CITATION = Citation(
    key="ali2026canonical",
    title=(
        "The Surprising Effectiveness of Canonical Knowledge Distillation for Semantic Segmentation"
    ),
    authors=(
        "Muhammad Ali",
        "Kevin Alexander Laube",
        "Madan Ravi Ganesh",
        "Lukas Schott",
        "Niclas Popp",
        "Thomas Brox",
    ),
    year=2026,
    arxiv="2604.25530",
    version=2,
)
REPOSITORY = Repository(
    key="seg_kd_reproduction",
    title="seg-kd: an independent reproduction of arXiv 2604.25530",
    version=seg_kd.__version__,
    year=2026,
)
PAPER = Paper(
    package=seg_kd,
    command="seg-kd",
    description=(
        "Distillation for semantic segmentation, compared at equal wall-clock time "
        "(arXiv 2604.25530)."
    ),
    citation=CITATION,
    repository=REPOSITORY,
    recipes=(
        Recipe(recipes.equal_time_digits, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(recipes.equal_time_camvid, ("smoke", "cpu")),
        Recipe(recipes.equal_time_cityscapes, ("paper",), default=("paper",)),
        Recipe(recipes.equal_time_digits_tuning, ("cpu",)),
        Recipe(recipes.equal_time_camvid_tuning, ("cpu",)),
        Recipe(recipes.camvid_teachers, ("cpu",)),
    ),
    distributions=(
        "seg-kd", "mmengine", "mmcv-lite", "onedl-mmsegmentation", "torchvision", "timm",
    ),
    bench_table=bench.table,
    blocks=blocks,
)  # fmt: skip


def data_check(directory: str, *, set: Literal["camvid", "cityscapes"] = "camvid") -> None:
    """Verify a data set's folder: counts, labels, unreadable files, fingerprint.

    Args:
        directory: holds images/<split> and labels/<split>.
        set: which set it is; gives classes and splits.
    """
    source = recipes.CITYSCAPES_MAPS if set == "cityscapes" else recipes.CAMVID_MAPS
    splits = source.open(Path(directory))
    for name, images in ((source.train_split, splits.train), (source.test_split, splits.test)):
        print(f"{name}: {len(images)} images, fingerprint {images.fingerprint}")


_OWN = Own(PAPER)
PAPER = replace(
    PAPER,
    verbs={
        "train": _OWN.train,
        "distill": _OWN.distill,
        "evaluate": _OWN.evaluate,
        "calibrate": _OWN.calibrate,
        "bench": bench.command,
        "data check": data_check,
    },
)


def main() -> None:
    """Entry point of the `seg-kd` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
