"""What the studies on images are made of: worlds, diffusion models, lengths, shared arms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cg_augment.method.chain import Chain
from cg_augment.method.stepwise import Stepwise
from cg_augment.method.views import Views
from cg_augment.study.committed import Committed
from cg_augment.study.generator import Network, TrainGenerator
from cg_augment.study.nets import JUDGE, STUDENT, TEACHER
from cg_augment.study.rows import Budget, Row, rows
from cg_augment.study.shapes import Shapes
from cg_augment.study.stages import Biased, Judge, Teach
from cg_augment.study.textured import Textured
from cg_augment.study.worlds import Pool, World
from cg_augment.use.distillation import Distillation
from cg_augment.use.lessons import View
from repro_shared.study.paper import Arm, Stage

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
BLIND = 1  # of these: in the first one x says nothing of x0
JUDGED = 0.17  # what teacher and student cost on one image, in passes of the diffusion network
CHANNELS = (32, 64, 64)
WIDE = (56, 112)  # at most 4 MB in float16
VIEWS = Views(4)
# Engines as the rule in the protocol chooses them from `tries_on_shapes`.
STEPWISE = Stepwise(scale=10.0, share=1.0, views=VIEWS, unguided=False)
CHAIN = Chain(rounds=10, learning_rate=0.02, views=VIEWS, checkpoints=False)


@dataclass(frozen=True)
class Drawn:
    """A diffusion model, how it is trained, and the pool that it is trained on.

    Attributes:
        pool: pictures with their classes.
        steps: of its training.
        channels: of its network.
        sha256: of the weights that come along; "" where the study trains the model first.
    """

    pool: Pool
    steps: int = 3500
    channels: tuple[int, ...] = CHANNELS
    sha256: str = ""

    @property
    def network(self) -> Network:
        """Its size."""
        scene = self.pool.world.scene
        return Network(len(scene.classes), self.channels, scene.size)

    @property
    def committed(self) -> Committed:
        """As rows load it."""
        return Committed(self.file, self.sha256, self.network, SAMPLED)

    @property
    def file(self) -> str:
        """Its name below `weights/`."""
        return f"{self.pool.world.name}-{100 * self.pool.share:g}"

    @property
    def words(self) -> str:
        """What rows say of it."""
        return f"{100 * self.pool.share:g} % aligned"

    def training(self, run: Stage, smoke: bool, control: bool = False) -> Arm:
        """The arm that trains it; its stage is named by the recipe."""
        config = TrainGenerator(self.steps, self.network)
        pool = replace(self.pool, count=36) if smoke else self.pool
        config = replace(config, steps=2, batch_size=8) if smoke else config
        wide = "" if self.channels == CHANNELS else f", {' and '.join(map(str, WIDE))} channels"
        name = f"{self.pool.world.name}, {self.words}, {self.steps} steps{wide}"
        return Arm(name, config, run, data=pool, seed=0, control=control)

    def before(
        self, run: Stage, smoke: bool, retrain: bool, control: bool
    ) -> tuple[tuple[Arm, ...], Committed]:
        """The arm that trains it, where no weights come along, and the model for rows."""
        if self.sha256 and not retrain and not smoke:
            return (), self.committed
        model = replace(self.committed, sha256="", steps=3 if smoke else SAMPLED)
        return (self.training(run, smoke, control),), model


SHAPES_97 = Drawn(
    Pool(SHAPES, 0.97), steps=1800,
    sha256="0401bce3f6b33a0df657a38352156d8404fd805958efcf08fb78fd70bf13c50a",
)  # fmt: skip
SHAPES_80 = Drawn(Pool(SHAPES, 0.8))
SHAPES_100 = Drawn(Pool(SHAPES, 1.0))  # has no minority at all: the negative control
DIGITS_95 = Drawn(Pool(DIGITS, 0.95))
SIX_90 = Drawn(Pool(SIX, 0.9))
DRAWN = (SHAPES_97, SHAPES_80, SHAPES_100, DIGITS_95, SIX_90)


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

    def row(self, name: str) -> Row:
        """One of them."""
        return next(row for row in self.rows() if row.name == name)


def lengths(smoke: bool, mirror: bool = True, per_class: int = 100, taught: int = 400) -> Lengths:
    """Of the studies on images.

    Args:
        smoke: the small scale.
        mirror: a mirrored picture is of the same class.
        per_class: generated images.
        taught: steps of teacher and judge, which see corrupted pictures; the student does not.
    """
    view = View("shift", pixels=2, mirror=mirror)
    hard = replace(view, augment="corrupted")
    if smoke:
        base = Distillation(1, 16, learning_rate=3e-3, view=view)
        budget = Budget(3, 2, per_class=2, sampler_steps=3, blind=BLIND, batch=8)
        own = Chain(1, views=VIEWS, checkpoints=False)
        return Lengths(base, replace(base, steps=2, view=hard), budget, chain=own)
    base = Distillation(1, learning_rate=3e-3, view=view)
    budget = Budget(
        200, 200, per_class=per_class, sampler_steps=SAMPLED, blind=BLIND, judged=JUDGED, batch=50
    )
    return Lengths(base, replace(base, steps=taught, view=hard), budget)


def before(
    run: tuple[Stage, Stage, Stage], world: World, own: Lengths, smoke: bool, empty: bool = False
) -> tuple[tuple[Arm, Arm, Arm], World]:
    """Teacher, judge and biased student, whose stages the recipe names, and the world as small."""
    small = replace(world, student=48, teacher=72, judge=72, test=4) if smoke else world
    teach = Teach(own.teacher, TEACHER, empty=empty)
    teacher = Arm("teacher", teach, run[0], data=small)
    judge = Arm("judge", Judge(own.teacher, JUDGE), run[1], data=small)
    kd = Arm("KD", Biased(own.row("KD"), STUDENT, empty=empty), run[2], (teacher,),
             data=small)  # fmt: skip
    return (teacher, judge, kd), small
