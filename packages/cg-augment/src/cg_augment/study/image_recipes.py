"""The studies on images: worlds, their diffusion models, and every row written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cg_augment.method.chain import Chain
from cg_augment.method.stepwise import Stepwise
from cg_augment.study import figures, image_claims, image_tables, stages
from cg_augment.study.gallery import Gallery, gallery
from cg_augment.study.generator import Committed, Network, TrainGenerator, train_generator
from cg_augment.study.rows import Budget, Row, rows
from cg_augment.study.shapes import Shapes
from cg_augment.study.stages import Biased, Judge, Rowed, Teach
from cg_augment.study.textured import Textured
from cg_augment.study.worlds import Pool, World
from cg_augment.use.distillation import Distillation
from cg_augment.use.lessons import View
from repro_shared.study.paper import Arm, Scale, Study

SHAPES = World(
    "shapes",
    "rendered outlines of 3 and 5 lobes on two textured grounds, 32 x 32 pixels",
    Shapes(),
)
DIGITS = World(
    "textured-digits",
    "MNIST's digits 3 and 7 on photographs of grass and bricks, 32 x 32 pixels",
    Textured(),
)
SIX = World(
    "six-shapes",
    "rendered outlines of six kinds on six textured grounds, 32 x 32 pixels; negatives are grounds "
    "without an outline",
    Shapes(lobes=(0, 2, 3, 4, 5, 6)),
    student=1200, test=50,
)  # fmt: skip
SAMPLED = 12  # steps of DDIM
STEPWISE = Stepwise(scale=100.0, share=1.0, unguided=False)  # by what it makes; see the protocol
CHAIN = Chain(rounds=10, learning_rate=0.1, checkpoints=False)
TRAINING = TrainGenerator(1800)


@dataclass(frozen=True)
class Drawn:
    """A diffusion model and the pool that it is trained on.

    Attributes:
        pool: pictures with their classes.
        sha256: of the weights that come along; "" where the study trains the model first.
    """

    pool: Pool
    sha256: str = ""

    @property
    def committed(self) -> Committed:
        """As rows load it."""
        classes = len(self.pool.world.scene.classes)
        return Committed(self.file, self.sha256, Network(classes), SAMPLED)

    @property
    def file(self) -> str:
        """Its name below `weights/`."""
        return f"{self.pool.world.name}-{100 * self.pool.share:g}"

    @property
    def words(self) -> str:
        """What rows say of it."""
        return f"{100 * self.pool.share:g} % aligned"

    def training(self, smoke: bool) -> Arm:
        """The arm that trains it."""
        network = Network(len(self.pool.world.scene.classes))
        config = replace(TRAINING, network=network)
        pool = replace(self.pool, count=36) if smoke else self.pool
        config = replace(config, steps=2, batch_size=8) if smoke else config
        name = f"{self.pool.world.name}, {self.words}"
        return Arm(name, config, train_generator, data=pool, seed=0)


SHAPES_97 = Drawn(
    Pool(SHAPES, 0.97), "0401bce3f6b33a0df657a38352156d8404fd805958efcf08fb78fd70bf13c50a"
)
SHAPES_80 = Drawn(Pool(SHAPES, 0.8))
DIGITS_95 = Drawn(Pool(DIGITS, 0.95))
SIX_90 = Drawn(Pool(SIX, 0.9))
DRAWN = (SHAPES_97, SHAPES_80, DIGITS_95, SIX_90)
MAIN = (
    "KD", "KD, longer", "mixup, relabelled", "CutMix, relabelled", "unguided", "best of several",
    "ConfiG, stepwise", "ConfiG, chain", "oracle",
)  # fmt: skip


@dataclass(frozen=True)
class Lengths:
    """What the trainings of a study have in common."""

    base: Distillation
    teacher: Distillation
    budget: Budget
    chain: Chain = CHAIN

    def rows(self) -> tuple[Row, ...]:
        """All of them."""
        return rows(self.base, self.budget, STEPWISE, self.chain)


def lengths(smoke: bool, mirror: bool = True, per_class: int = 100, taught: int = 200) -> Lengths:
    """Of the studies on images.

    Args:
        smoke: the small scale.
        mirror: a mirrored picture is of the same class.
        per_class: generated images.
        taught: steps of teacher and judge.
    """
    view = View("shift", pixels=2, mirror=mirror)
    if smoke:
        base = Distillation(1, 16, learning_rate=3e-3, view=view)
        budget = Budget(3, 2, per_class=2, sampler_steps=3, batch=8)
        return Lengths(base, replace(base, steps=2), budget, chain=Chain(1, checkpoints=False))
    base = Distillation(1, learning_rate=3e-3, view=view)
    budget = Budget(200, 200, per_class=per_class, sampler_steps=SAMPLED, batch=50)
    return Lengths(base, replace(base, steps=taught), budget)


def generator_training(scale: Scale) -> Study:
    """The diffusion models of the studies on images.

    Cells: none. Cost: about 9 minutes of one core each. Deviations: the paper's generator draws
    photographs from text; these have seen pictures that a program made, and their classes.
    """
    smoke = scale == "smoke"
    arms = tuple(each.training(smoke) for each in DRAWN)
    first = arms[0].data
    assert first is not None
    return Study("generator_training" + "_smoke" * smoke, scale, first, arms, (0,))


def shapes_on_grounds(scale: Scale, retrain: bool = False) -> Study:
    """Worst-group accuracy of every row on rendered outlines, the generator's minority being rare.

    Cells: table1 (worst group), in kind only. Cost: about 10 minutes of a core a seed, with
    --controls (the second share) sixteen. Deviations: rendered outlines and not CelebA, a diffusion
    model of 1 M parameters and not Stable Diffusion, teacher and student of three or four
    convolutions, guidance by log t + log(1 - f); the paper's engine could not be read.
    """
    known = {SHAPES_97: False} if scale == "smoke" else {SHAPES_97: False, SHAPES_80: True}
    return _study("shapes_on_grounds", scale, SHAPES, known, lengths(scale == "smoke"), retrain,
                  shapes_on_grounds)  # fmt: skip


def digits_on_photographs(scale: Scale, retrain: bool = False) -> Study:
    """The main rows on real strokes and real textures.

    Cells: table1 (worst group), in kind only. Cost: about 7 minutes of a core a seed, and 9 once.
    Deviations: as of `shapes_on_grounds`.
    """
    own = lengths(scale == "smoke", mirror=False)
    return _study("digits_on_photographs", scale, DIGITS, {DIGITS_95: False}, own, retrain,
                  digits_on_photographs, MAIN)  # fmt: skip


def six_grounds(scale: Scale, retrain: bool = False) -> Study:
    """Spurious mAUC of the main rows: six classes, negatives that show the ground alone.

    Cells: none that could be read. Cost: about 8 minutes of a core a seed, and 9 once. Deviations:
    as of `shapes_on_grounds`; 75 negatives a class to 50 positives, as in Spurious ImageNet.
    """
    own = lengths(scale == "smoke", per_class=34, taught=400)
    return _study("six_grounds", scale, SIX, {SIX_90: False}, own, retrain, six_grounds, MAIN,
                  empty=True)  # fmt: skip


def images_to_look_at(scale: Scale) -> Study:
    """The generated images that the figure shows: same noise, with and without guidance.

    Cells: figure 1, in kind only. Cost: a minute. Deviations: a seed from 100 up, so that nobody
    chose the images of a final run.
    """
    smoke = scale == "smoke"
    own = lengths(smoke)
    before, world = _before(SHAPES, own, smoke, False)
    generators, model = _generator(SHAPES_97, smoke, False)
    ways = tuple(row for row in own.rows() if row.name in ("unguided", "ConfiG, stepwise",
                                                           "ConfiG, chain"))  # fmt: skip
    teacher, _, student = before
    arm = Arm("images to look at", Gallery(ways, model), gallery,
              (teacher, student, *generators))  # fmt: skip
    name = "images_to_look_at" + "_smoke" * smoke
    return Study(name, scale, world, (*generators, *before, arm), (100,))


def _study(
    name: str, scale: Scale, world: World, known: Mapping[Drawn, bool], own: Lengths,
    retrain: bool, again: Callable[[Scale, bool], Study], names: Sequence[str] = (),
    empty: bool = False,
) -> Study:  # fmt: skip
    """Teacher, judge and biased student, then every row; `known` says which shares are controls."""
    smoke = scale == "smoke"
    before, small = _before(world, own, smoke, empty)
    teacher, judge, student = before
    arms, kept = list(before), [row for row in own.rows() if not names or row.name in names]
    for row in kept:
        if row.way is None and row.name != "KD":
            alike = row.sampling == "all" and row.plan.first == student.config.row.plan.first
            starts = (teacher, student) if alike else (teacher,)
            arms.append(Arm(row.name, Rowed(row, empty=empty), stages.row, starts))
    for drawn, control in known.items():
        generators, model = _generator(drawn, smoke, retrain)
        arms = [*generators, *arms]
        arms += [
            Arm(f"{row.name}, {drawn.words}", Rowed(row, empty=empty, generator=model), stages.row,
                (teacher, student, judge, *generators), control=control)
            for row in kept if row.way is not None
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


def _before(world: World, own: Lengths, smoke: bool, empty: bool) -> tuple[tuple[Arm, ...], World]:
    """The arms that rows start from, and the world at this scale."""
    (first,) = (row for row in own.rows() if row.name == "KD")
    arms = (
        Arm("teacher", Teach(own.teacher, empty=empty), stages.teach),
        Arm("judge", Judge(own.teacher), stages.judge),
    )
    kd = Arm("KD", Biased(first, empty=empty), stages.biased, arms[:1])
    small = replace(world, student=48, teacher=72, judge=72, test=4) if smoke else world
    return (*arms, kd), small


def _generator(drawn: Drawn, smoke: bool, retrain: bool) -> tuple[tuple[Arm, ...], Committed]:
    """The arm that trains the diffusion model, where none comes along, and the model."""
    if drawn.sha256 and not retrain and not smoke:
        return (), drawn.committed
    model = replace(drawn.committed, sha256="", steps=3 if smoke else SAMPLED)
    return (drawn.training(smoke),), model
