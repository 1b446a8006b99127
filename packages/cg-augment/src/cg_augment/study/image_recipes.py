"""The studies on images: worlds, their diffusion models, and every row written out."""

from __future__ import annotations

from dataclasses import replace

from cg_augment.study.generator import TrainGenerator, train_generator
from cg_augment.study.shapes import Shapes
from cg_augment.study.worlds import Pool, World
from repro_shared.study.paper import Arm, Scale, Study

SHAPES = World(
    "shapes",
    "rendered outlines of 3 and 5 lobes on two textured grounds, 32 x 32 pixels",
    Shapes(),
)
SHAPE_SHARES = (0.97, 0.8)
TRAINING = TrainGenerator(1800)


def generator_training(scale: Scale) -> Study:
    """The diffusion models of the studies on images, whose weights come along.

    Cells: none. Cost: about 8 minutes of one core each. Deviations: the paper's generator draws
    photographs from text; these have seen pictures that a program made, and their classes.
    """
    smoke = scale == "smoke"
    pools = {
        f"shapes, {100 * share:g} % aligned": Pool(SHAPES, share) for share in SHAPE_SHARES
    }
    arms = tuple(
        Arm(
            name,
            TrainGenerator(2, batch_size=8) if smoke else TRAINING,
            train_generator,
            data=replace(pool, count=32) if smoke else pool,
        )
        for name, pool in pools.items()
    )
    first = arms[0].data
    assert first is not None
    return Study("generator_training" + "_smoke" * smoke, scale, first, arms, (0,))
