"""The studies: every arm written out."""

from __future__ import annotations

from ofds.study import claims, stages, tables
from ofds.study.selectors import SELECTORS
from ofds.study.stages import Pick
from ofds.study.world import World, Worlds
from repro_shared.study.paper import Arm, Scale, Study

SEEDS = (0, 1, 2, 3, 4)  # of a quick run; verdicts need `claims.SEEDS`
TAIL = 1.3  # Zipf exponent of the long-tailed pool


def selection_long_tail(scale: Scale) -> Study:
    """Selectors in feature space, on a pool in which some classes are rare.

    Cells: none; the paper's abstract claims the largest gains here. Cost: about half a minute a
    seed. Deviations: no pictures and no trained detector; the full text was not at hand, so that
    the protocol is ours.
    """
    return _study("selection_long_tail", scale, TAIL)


def selection_balanced(scale: Scale) -> Study:
    """The same on a pool in which all classes are equally frequent: the negative control.

    Cells: none. Cost and deviations: as above.
    """
    return _study("selection_balanced", scale, 0.0)


def _study(name: str, scale: Scale, zipf: float) -> Study:
    smoke = scale == "smoke"
    world = World(zipf=zipf, images=150, test=10) if smoke else World(zipf=zipf)
    make = Pick if not smoke else lambda each: Pick(each, objects=(30, 60), images=(10, 20))
    arms = tuple(Arm(each, make(each), stages.pick) for each in SELECTORS)
    name = f"{name}_smoke" if smoke else name
    return Study(
        name=name,
        scale=scale,
        data=Worlds(world, f"feature-space-{'long-tail' if zipf else 'balanced'}"),
        arms=arms,
        seeds=(0, 1) if smoke else SEEDS,
        tables=(tables.by_objects, tables.by_images, *(() if smoke else (tables.verdicts,))),
        figures=() if smoke else (tables.gains,),
        claims=() if smoke else claims.claims(name, arms),
    )
