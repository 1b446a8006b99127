"""The command `clip-distill`."""

from __future__ import annotations

import sys
from dataclasses import replace

import clip_distill
from clip_distill.study import (
    bench,
    bench_tables,
    freeze,
    paper_recipes,
    photographs_recipes,
    recipes,
    tuning,
)
from clip_distill.study.distill_command import distill
from clip_distill.study.readme import blocks
from clip_distill.use.cache_command import cache
from clip_distill.use.classify_command import classify
from clip_distill.use.corruptions_command import corruptions
from clip_distill.use.cue_swap_command import cue_swap
from clip_distill.use.evaluate_command import evaluate
from clip_distill.use.export_command import export
from clip_distill.use.overlap_command import overlap
from clip_distill.use.probe_command import probe
from clip_distill.use.synthetic.generate_command import generate
from clip_distill.use.synthetic.prompts_command import prompts
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.study.command import main as run
from repro_shared.study.paper import Paper, Recipe

PAPER = Paper(
    package=clip_distill,
    command="clip-distill",
    description="Small zero-shot image encoders, distilled from CLIP with synthetic images.",
    citation=Citation(
        key="popp2024zeroshot",
        title=(
            "Zero-Shot Distillation for Image Encoders: How to Make Effective Use of Synthetic Data"
        ),
        authors=("Niclas Popp", "Jan Hendrik Metzen", "Matthias Hein"),
        year=2024,
        arxiv="2404.16637",
        version=1,
    ),
    repository=Repository(
        key="clip_distill_reproduction",
        title="clip-distill: an independent reproduction of arXiv 2404.16637",
        version=clip_distill.__version__,
        year=2026,
    ),
    recipes=(
        Recipe(recipes.parameter_counts, ("cpu",), default=("smoke", "cpu")),
        Recipe(recipes.teacher_training, ("smoke", "cpu"), default=("smoke",)),
        Recipe(recipes.confounded_objects, ("smoke", "cpu"), default=("smoke", "cpu")),
        Recipe(recipes.coarse_digits, ("smoke", "cpu"), default=("smoke",)),
        Recipe(photographs_recipes.confounded_photographs, ("smoke", "cpu")),
        Recipe(tuning.confounded_objects_tuning, ("smoke", "cpu")),
        Recipe(tuning.confounded_objects_tuning_again, ("cpu",)),
        Recipe(tuning.coarse_digits_tuning, ("smoke", "cpu")),
        Recipe(tuning.coarse_digits_tuning_again, ("cpu",)),
        Recipe(tuning.confounded_photographs_tuning, ("smoke", "cpu")),
        Recipe(tuning.confounded_photographs_tuning_again, ("cpu",)),
        Recipe(paper_recipes.teaser, ("paper",), default=("paper",)),
    ),
    distributions=("clip-distill", "torch", "timm", "open_clip_torch", "numpy", "pillow"),
    bench_table=bench_tables.table,
    blocks=blocks,
    estimate=paper_recipes.estimate,
    verbs={
        "prompts": prompts,
        "generate": generate,
        "cache": cache,
        "distill": distill,
        "evaluate": evaluate,
        "probe": probe,
        "corruptions": corruptions,
        "cue-swap": cue_swap,
        "overlap": overlap,
        "classify": classify,
        "export": export,
        "bench": bench.command,
    },
)  # fmt: skip
PAPER = replace(PAPER, verbs={**PAPER.verbs, "freeze": freeze.verb(PAPER)})


def main() -> None:
    """Entry point of the `clip-distill` command."""
    sys.exit(run(PAPER))


if __name__ == "__main__":
    main()
