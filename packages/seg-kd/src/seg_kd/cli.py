"""The command `seg-kd`: what the paper is, its studies, and the verbs that it adds."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

import seg_kd
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe
from seg_kd.study import bench, cost, freeze, lineage, published, recipes, regime
from seg_kd.study import compare as comparing
from seg_kd.study.estimate import estimate
from seg_kd.study.own import Own
from seg_kd.study.own_arms import HOW_MANY, Images
from seg_kd.study.readme import blocks
from seg_kd.study.trained import Trained
from seg_kd.use.check import check

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
        Recipe(regime.rivals_digits, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(regime.rivals_camvid, ("smoke", "cpu")),
        Recipe(regime.screen_digits, ("smoke", "cpu"), default=("smoke",)),
        Recipe(regime.screen_camvid, ("smoke", "cpu")),
        Recipe(regime.imagenet_student_camvid, ("smoke", "cpu")),
        Recipe(published.published_numbers, ("cpu",)),
        Recipe(recipes.equal_time_digits, ("smoke", "cpu")),
        Recipe(recipes.equal_time_camvid, ("smoke", "cpu")),
        Recipe(lineage.equal_time_cityscapes, ("paper",), default=("paper",)),
        Recipe(lineage.equal_time_ade20k, ("paper",), default=("paper",)),
        Recipe(recipes.equal_time_digits_tuning, ("cpu",)),
        Recipe(recipes.equal_time_camvid_tuning, ("cpu",)),
        Recipe(recipes.camvid_teachers, ("cpu",)),
    ),
    distributions=(
        "seg-kd", "mmengine", "mmcv-lite", "onedl-mmsegmentation", "torchvision", "timm",
    ),
    bench_table=bench.table,
    blocks=blocks,
    estimate=estimate,
)  # fmt: skip


def data_check(
    directory: str,
    images: Annotated[Images, tyro.conf.OmitArgPrefixes] = Images(),
    *,
    set: Literal["camvid", "cityscapes", "ade20k"] | None = None,
) -> None:
    """Read a data set's folder: counts, classes that occur, what is wrong, fingerprint.

    Args:
        directory: the folder.
        images: how it is read, as for `train`.
        set: read it as this study's data instead.

    Raises:
        UserError: what is wrong; where the number of classes is not known, after the values that
            occur.
    """
    images = replace(images, data=directory)
    unknown = set is None and not images.num_classes
    if unknown:
        images = replace(images, num_classes=254, ignore=(), allow_absent_classes=True)
    sets = {
        "camvid": recipes.CAMVID_MAPS,
        "cityscapes": recipes.CITYSCAPES_MAPS,
        "ade20k": lineage.ADE20K_MAPS,
    }
    source = images.source() if set is None else sets[set]
    for line in check(source, Path(directory), absent=not unknown):
        print(line)
    if unknown:
        raise UserError(HOW_MANY)


_OWN, _TRAINED = Own(PAPER), Trained(PAPER)
PAPER = replace(
    PAPER,
    verbs={
        "train": _OWN.train,
        "distill": _OWN.distill,
        "evaluate": _TRAINED.evaluate,
        "predict": _TRAINED.predict,
        "calibrate": _OWN.calibrate,
        "compare": comparing.verb(PAPER),
        "bench": bench.command,
        "freeze": freeze.verb(PAPER),
        "cost": cost.command,
        "data check": data_check,
    },
)
compare = partial(comparing.compare, PAPER)
distill = _OWN.distill


def main() -> None:
    """Entry point of the `seg-kd` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
