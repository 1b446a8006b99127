"""The command `cg-augment`."""

from __future__ import annotations

import sys
from dataclasses import replace

import cg_augment
from cg_augment.study import (
    bench,
    image_recipes,
    landing,
    paper_plan,
    paper_recipes,
    point_recipes,
    recipes,
    try_recipes,
)
from cg_augment.study.bench_tables import table
from cg_augment.study.demo_command import demo
from cg_augment.study.readme import blocks
from cg_augment.study.train_command import train
from cg_augment.use.audit_command import audit
from cg_augment.use.check_command import data_check
from cg_augment.use.evaluate_command import evaluate
from cg_augment.use.generate_command import generate
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe

PAPER = Paper(
    package=cg_augment,
    command="cg-augment",
    description="Diffusion images where a robust teacher and a biased student disagree.",
    citation=Citation(
        key="popp2025improving",
        title=(
            "Improving Knowledge Distillation Under Unknown Covariate Shift Through "
            "Confidence-Guided Data Augmentation"
        ),
        authors=("Niclas Popp", "Kevin Alexander Laube", "Matthias Hein", "Lukas Schott"),
        year=2025,
        arxiv="2506.02294",
        version=1,
    ),
    repository=Repository(
        key="cg_augment_reproduction",
        title="cg-augment: an independent reproduction of arXiv 2506.02294",
        version=cg_augment.__version__,
        year=2026,
    ),
    recipes=(
        Recipe(recipes.passes_by_engine, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(recipes.engines_on_the_mixture, ("smoke", "cpu"), default=("smoke",)),
        Recipe(point_recipes.students_of_the_mixture, ("smoke", "cpu"), default=("smoke",)),
        Recipe(image_recipes.shapes_on_grounds, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(image_recipes.digits_on_photographs, ("smoke", "cpu")),
        Recipe(image_recipes.six_grounds, ("smoke", "cpu")),
        Recipe(try_recipes.generator_training, ("smoke", "cpu")),
        Recipe(try_recipes.tries_on_shapes, ("smoke", "cpu")),
        Recipe(try_recipes.gates, ("smoke", "cpu")),
        Recipe(image_recipes.images_to_look_at, ("smoke", "cpu")),
        Recipe(paper_recipes.celeba_without_blond_men, ("paper",), default=("paper",)),
    ),
    distributions=("cg-augment", "torch", "diffusers", "numpy", "pillow"),
    bench_table=table,
    blocks=blocks,
    estimate=paper_plan.estimate,
    verbs={
        "bench": bench.command,
        "demo": demo,
        "train": train,
        "generate": generate,
        "audit": audit,
        "evaluate": evaluate,
        "data check": data_check,
    },
)
PAPER = replace(PAPER, verbs={**PAPER.verbs, "freeze": landing.verb(PAPER)})


def main() -> None:
    """Entry point of the `cg-augment` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
