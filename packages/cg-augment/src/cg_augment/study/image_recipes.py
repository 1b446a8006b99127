"""The studies on images, every row written out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from cg_augment.study import figures, image_claims, image_tables, stages
from cg_augment.study.gallery import Gallery, gallery
from cg_augment.study.generator import train_generator
from cg_augment.study.image_worlds import (
    DIGITS,
    DIGITS_95,
    SHAPES,
    SHAPES_80,
    SHAPES_97,
    SHAPES_100,
    SIX,
    SIX_90,
    Drawn,
    Lengths,
    before,
    lengths,
)
from cg_augment.study.nets import STUDENT
from cg_augment.study.rows import AS_CHAIN, AS_STEPWISE, Row
from cg_augment.study.stages import Rowed
from cg_augment.study.worlds import World
from repro_shared.study.paper import Arm, Scale, Study

BEGIN = (stages.teach, stages.judge, stages.biased)
ENGINES = ("unguided", "ConfiG, stepwise", "ConfiG, chain")
MAIN = ("KD", "KD, longer", "mixup, relabelled", "CutMix, relabelled", *ENGINES, "oracle")


def shapes_on_grounds(scale: Scale, retrain: bool = False) -> Study:
    """Worst-group accuracy of every row on rendered outlines, the generator's minority being rare.

    Cells: table1 (worst group), in kind only. Cost: about 15 minutes of a core a seed; with
    --controls (a pool that is a fifth of the minority, and one without any) 21, and two diffusion
    models once. Deviations: rendered outlines and not CelebA, a diffusion model of 1 M parameters
    and not Stable Diffusion, teacher and student of three or four convolutions, guidance by
    log t + log(1 - f); the paper's engine could not be read.
    """
    smoke = scale == "smoke"
    own = lengths(smoke)
    known: dict[Drawn, Collection[str] | None] = {SHAPES_97: None}
    if not smoke:
        known |= {SHAPES_80: (*ENGINES, *equal_cost(own)), SHAPES_100: ENGINES}
    return _study("shapes_on_grounds", scale, SHAPES, known, own, retrain, shapes_on_grounds)


def digits_on_photographs(scale: Scale, retrain: bool = False) -> Study:
    """The main rows on real strokes and real textures.

    Cells: table1 (worst group), in kind only. Cost: about 11 minutes of a core a seed, and 17 once.
    Deviations: as of `shapes_on_grounds`.
    """
    own = lengths(scale == "smoke", mirror=False)
    return _study("digits_on_photographs", scale, DIGITS, {DIGITS_95: None}, own, retrain,
                  digits_on_photographs, (*MAIN, *equal_cost(own)))  # fmt: skip


def six_grounds(scale: Scale, retrain: bool = False) -> Study:
    """Spurious mAUC of the main rows: six classes, negatives that show the ground alone.

    Cells: none that could be read. Cost: about 11 minutes of a core a seed, and 17 once.
    Deviations: as of `shapes_on_grounds`; 75 negatives a class to 50 positives, as in Spurious
    ImageNet.
    """
    own = lengths(scale == "smoke", per_class=34, taught=600)
    return _study("six_grounds", scale, SIX, {SIX_90: None}, own, retrain, six_grounds,
                  (*MAIN, *equal_cost(own)), empty=True)  # fmt: skip


def images_to_look_at(scale: Scale) -> Study:
    """The generated images that the figure shows: same noise, with and without guidance.

    Cells: figure 1, in kind only. Cost: two minutes. Deviations: a seed from 100 up, so that nobody
    chose the images of a final run.
    """
    smoke = scale == "smoke"
    own = lengths(smoke)
    (teacher, _, student), world = before(BEGIN, SHAPES, own, smoke)
    generators, model = SHAPES_97.before(train_generator, smoke, False, False)
    ways = tuple(own.row(name) for name in ENGINES)
    arm = Arm("images to look at", Gallery(ways, model), gallery,
              (teacher, student, *generators))  # fmt: skip
    name = "images_to_look_at" + "_smoke" * smoke
    return Study(name, scale, world, (*generators, teacher, student, arm), (100,))


def equal_cost(own: Lengths) -> tuple[str, ...]:
    """Rows of the best of several that cost what an engine costs."""
    return tuple(
        row.name for row in own.rows()
        if row.name.startswith("best of") and row.equal in (AS_STEPWISE, AS_CHAIN)
    )  # fmt: skip


def _study(
    name: str, scale: Scale, world: World, known: Mapping[Drawn, Collection[str] | None],
    own: Lengths, retrain: bool, again: Callable[[Scale, bool], Study],
    names: Collection[str] = (), empty: bool = False,
) -> Study:  # fmt: skip
    """Teacher, judge and biased student, then every row.

    `known` has the diffusion models and the rows that draw from each, None for all of the study's;
    all but the first are controls.
    """
    smoke = scale == "smoke"
    (teacher, judge, student), small = before(BEGIN, world, own, smoke, empty)
    arms = [teacher, judge, student]
    kept = [row for row in own.rows() if not names or row.name in names]
    for row in kept:
        if row.way is None and row.name != "KD":
            alike = row.sampling == "all" and row.plan.first == student.config.row.plan.first
            starts = (teacher, student) if alike else (teacher,)
            arms.append(Arm(row.name, Rowed(row, STUDENT, empty=empty), stages.row, starts))
    for number, (drawn, drawing) in enumerate(known.items()):
        control = number > 0
        generators, model = drawn.before(train_generator, smoke, retrain, control)
        arms = [*generators, *arms]
        arms += [
            Arm(named(row, drawn), Rowed(row, STUDENT, empty=empty, generator=model), stages.row,
                (teacher, student, judge, *generators), control=control)
            for row in kept if row.way is not None and (drawing is None or row.name in drawing)
        ]  # fmt: skip
    made, full = tuple(arms), name
    name += "_smoke" * smoke
    return Study(
        name, scale, small, made, (0,),
        tables=(image_tables.by_row, *(() if smoke else (image_tables.verdicts,))),
        figures=() if smoke else (figures.by_row,),
        claims=() if smoke else image_claims.claims(full, made),
        suspended=image_claims.suspended,
        retrain=lambda study: again(scale, True),
    )  # fmt: skip


def named(row: Row, drawn: Drawn) -> str:
    """An arm of a row and a diffusion model."""
    return f"{row.name}, {drawn.words}"
