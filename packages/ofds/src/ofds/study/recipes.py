"""The studies: every arm written out."""

from __future__ import annotations

from ofds.study import claims, stages, tables
from ofds.study.selectors import SELECTORS
from ofds.study.small_pools import Cover, SmallPools, cover, missed
from ofds.study.stages import Pick
from ofds.study.world import World, Worlds
from repro_shared.study.paper import Arm, Scale, Study

SEEDS = claims.SEEDS[:5]  # of a quick run; verdicts need all
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


def coverage(scale: Scale) -> Study:
    """Minima on small pools, where trying all selections tells which can be met.

    Cells: none; the paper's abstract says that all target classes are represented. Cost: about ten
    seconds a seed. Deviations: none known; the full text was not at hand.
    """
    smoke = scale == "smoke"
    pools = 10 if smoke else 200
    name = "coverage_smoke" if smoke else "coverage"
    arms = (
        Arm("exhaustive search", Cover("exhaustive", pools), cover),
        Arm("OFDS with contract", Cover("contract", pools), cover),
        Arm("OFDS, turns alone", Cover("turns", pools), cover),
        Arm("class-balanced random", Cover("balanced", pools), cover),
        Arm("random", Cover("random", pools), cover),
    )
    return Study(
        name=name,
        scale=scale,
        data=SmallPools(),
        arms=arms,
        seeds=(0, 1) if smoke else SEEDS,
        tables=(missed, *(() if smoke else (tables.verdicts,))),
        claims=() if smoke else claims.coverage_claims(name, arms),
    )


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
