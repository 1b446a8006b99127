"""The teaser of the paper at its own scale: an arm for each of its twelve accuracies.

The stages are those of the other studies, but for scoring, which reads its images from disk. What
must lie below `--data`: `study.paper_world`; `clip-distill prompts` and `generate` make the
synthetic images (265 prompts a class, 15 options a dimension), `--plan` says what is missing.

Read in the authors' scripts: batches of 256, AdamW at a constant 5e-4, one pass over the web and 96
over synthetic images, crops from 8 % on, mirrored or not; L2 alone in stage 1. Not read, so ours:
which student the teaser is of (TinyViT-11M, as in all scripts), how many web images, the
temperature of the vision-language rows (1, the default of the authors' code), and that these start
from the same stage 1. A view is cached for every pass, so a student sees what it would see online.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clip_distill.method.objective import PRESETS
from clip_distill.study import stages
from clip_distill.study.paper_world import Domain, OpenedDomain, Web
from clip_distill.study.stages import (
    Cached,
    Ceiling,
    StageOne,
    StageTwo,
    fit_part,
    left_folder,
    new_student,
)
from clip_distill.train import Trained, fit
from clip_distill.use.original_sets import LAYOUTS
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.steps import STAGES, Training
from clip_distill.use.students import CONFIG, load_student, save_student
from clip_distill.use.teachers import encode_pixels
from clip_distill.use.views import Views
from clip_distill.use.zero_shot import encode, scores, similarities
from repro_shared.evidence.cells import read_cells, slug
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Context, Outcome, Scale, Study, ids
from repro_shared.study.results import Results
from repro_shared.study.trip import steps_through
from repro_shared.timing.counts import count_operations

ROWS = {
    "feature distillation": "feature",
    "vision-language distillation": "authors-vision-language",
}
"""Rows of the teaser, and the preset of each."""


@dataclass(frozen=True)
class Lengths:
    """Of the paper's arms; tests have shorter ones."""

    first: Training = STAGES[1]
    second: Training = STAGES[2]
    backbone: str = "tiny_vit_11m_224"
    size: int = 224


def teaser(scale: Scale) -> Study:
    """Zero-shot accuracy on six sets, feature against vision-language distillation.

    Cells: the twelve of the teaser. Cost: as `--plan` says, about 15 hours of
    a GPU a seed in arithmetic, besides decoding: stage 1 is one pass over the web images given,
    stage 2 96 passes over 9,805 to 51,940 synthetic images a set, twice.
    Deviations: see this module.
    """
    return study_of(Lengths(), scale)


def study_of(lengths: Lengths, scale: Scale = "paper") -> Study:
    """The study at these lengths."""
    web = Web()
    cache = Arm("cache, web", Cached("generic", Views(1, "random-crop")), stages.cached, data=web,
                seed=0)  # fmt: skip
    config = StageOne(lengths.first, lengths.backbone, size=lengths.size)
    first = Arm("stage 1", config, web_stage, (cache,), web)
    arms = [cache, first]
    passes = max(1, round(lengths.second.epochs))
    for name, layout in LAYOUTS.items():
        data = Domain(name)
        views = Cached("synthetic", Views(passes, "random-crop"))
        own = Arm(f"cache, {layout.title}", views, stages.cached, (), data, seed=0)
        arms += [Arm(f"the teacher, {layout.title}", Ceiling(), domain_teacher, (), data, seed=0),
                 own]  # fmt: skip
        for row, preset in ROWS.items():
            two = StageTwo(lengths.second, lengths.backbone, PRESETS[preset], lengths.size,
                           captions=PRESETS[preset].needs_texts)  # fmt: skip
            arms.append(Arm(f"{row}, {layout.title}", two, domain_stage, (own, first), data))
    return Study("teaser", scale, web, tuple(arms), (0,), tables=(beside_reported,))


@steps_through(fit)
def web_stage(config: StageOne, ctx: Context) -> Outcome:
    """Stage 1: nothing is scored, the student is left."""
    made = fit_part(new_student(config, ctx), "generic", config, ctx)
    save_student(made.student.cpu(), ctx.folder)
    return _outcome({"loss": made.losses[-1]}, made)


@steps_through(fit)
def domain_stage(config: StageTwo, ctx: Context) -> Outcome:
    """Stage 2 on a set's synthetic images; scored on its real test images."""
    before = left_folder(ctx, CONFIG)
    student = load_student(before)[0] if before else new_student(config, ctx)
    made = fit_part(student, "synthetic", config, ctx, captions=config.captions)
    save_student(made.student.cpu(), ctx.folder)
    world: OpenedDomain = ctx.data
    network, prepared = made.student.to(ctx.device), made.student.config.preprocessing
    rows = encode(network, world.real, prepared, workers=ctx.workers, label=ctx.label)
    return _outcome(_scored(world, rows), made)


@steps_through(encode_pixels)
def domain_teacher(config: Ceiling, ctx: Context) -> Outcome:
    """The teacher on a set's real test images."""
    world: OpenedDomain = ctx.data
    own, parts = world.teacher, list[np.ndarray]()
    for start in range(0, len(world.real), stages.BATCH):
        stop = min(start + stages.BATCH, len(world.real))
        seen = [own.preprocessing.centre(world.real.read(index)) for index in range(start, stop)]
        parts.append(encode_pixels(own, np.stack(seen), stages.BATCH))
    return Outcome(_scored(world, np.concatenate(parts)))


def _scored(world: OpenedDomain, rows: np.ndarray) -> dict[str, float]:
    guess = similarities(rows, world.texts.vectors).argmax(axis=1)
    found = scores(guess, world.targets, len(world.classes))
    return {"accuracy/real": found.top1, "accuracy/mean-per-class": found.mean_per_class}


def _outcome(metrics: dict[str, float], made: Trained) -> Outcome:
    return Outcome(metrics, made.seconds, made.samples, peak_memory_mb=made.peak_memory_mb)


def beside_reported(results: Results) -> Table:
    """The paper's cells, and beside them what was measured."""
    cells = {
        (c.row, c.dataset): c for c in read_cells(results.paper.source / "tables/reported.csv")
    }
    known = {arm.id: arm for arm in results.study.arms}
    rows, shown = list[tuple[Cell, ...]](), list[Arm]()
    for layout in LAYOUTS.values():
        ceiling = known[slug(f"the teacher, {layout.title}")]
        for row in ROWS:
            arm = known[slug(f"{row}, {layout.title}")]
            rows.append((layout.title, row, cells[row, layout.title].value,
                         interval(results.values(arm, "accuracy/real")),
                         interval(results.values(ceiling, "accuracy/real"))))  # fmt: skip
            shown.append(arm)
    return Table(
        "teaser", "Zero-shot accuracy of students: reported and measured",
        (Column("data set"), Column("stage 2"), Column("reported", "%", 1),
         Column("measured", "%", 1), Column("the teacher, measured", "%", 1)),
        tuple(rows),
        ("Reported: a figure in the authors' repository. One prompt a class, top-1. We could not "
         "read which student it is of, nor which temperature.",),
        ids(shown),
    )  # fmt: skip


WEB_IMAGES = 128e6  # our guess: DataComp's medium pool, once
PROMPTS = 265  # a class: pairs of 15 options in four dimensions (`method.covering`)
CLASSES = {"pets": 37, "flowers": 102, "cars": 196, "food": 101, "aircraft": 100, "textures": 47}
BACKWARD = 3  # a step against a forward pass


def estimate(study: Study, tflops: float) -> list[str]:
    """For `--plan`: images, arithmetic and hours of a GPU that sustains so many TFLOPS."""
    config = next(arm.config for arm in study.arms if arm.name == "stage 1")
    student, teacher = _macs(config.backbone, config.size)
    passes = next(arm.config.epochs for arm in study.arms if isinstance(arm.config, StageTwo))
    synthetic = PROMPTS * sum(CLASSES.values())
    forward = WEB_IMAGES + passes * synthetic  # of the teacher, into the caches
    steps = WEB_IMAGES + passes * synthetic * len(ROWS)
    hours = [2 * macs * count / tflops / 1e12 / 3600
             for macs, count in ((teacher, forward), (BACKWARD * student, steps))]  # fmt: skip
    return [
        f"  student {student / 1e9:.2f} GMAC an image, teacher {teacher / 1e9:.2f}",
        f"  {WEB_IMAGES / 1e6:.0f} M web images (a guess), {synthetic:,} synthetic ones "
        f"({PROMPTS} a class), each in {passes:g} views",
        f"  caches {hours[0]:.0f} h, students {hours[1]:.0f} h of one GPU a seed at {tflops:g} "
        "TFLOPS, besides decoding and the making of the images",
    ]


def _macs(backbone: str, size: int) -> tuple[int, int]:
    """Of a forward pass of student and teacher on an image."""
    import torch

    from clip_distill.study.parameters import SIZE, TEACHER, WIDTH
    from clip_distill.use.students import Student, StudentConfig

    with torch.device("meta"):
        student = Student(StudentConfig(backbone, WIDTH, Preprocessing(size)))
        image = torch.zeros(1, 3, SIZE, SIZE)
    import open_clip

    form = open_clip.get_model_config(TEACHER)
    with torch.device("meta"):
        tower = open_clip.CLIP(**form).visual
    own = count_operations(student.eval(), torch.zeros(1, 3, size, size, device="meta")).macs
    return own, count_operations(tower.eval(), image).macs
