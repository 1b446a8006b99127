"""What was tried before the final runs, on a seed that no final run has: generators and engines."""

from __future__ import annotations

from dataclasses import replace

from cg_augment.method.select import Select
from cg_augment.study import stages
from cg_augment.study.generator import train_generator
from cg_augment.study.image_worlds import (
    CHAIN,
    CHANNELS,
    DIGITS,
    SHAPES,
    SHAPES_97,
    SIX,
    STEPWISE,
    WIDE,
    before,
    lengths,
)
from cg_augment.study.nets import STUDENT
from cg_augment.study.rows import Way
from cg_augment.study.stages import Rowed
from cg_augment.study.tries import Tried, by_try, tried
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Column, Table
from repro_shared.study.paper import Arm, Scale, Study, ids
from repro_shared.study.results import Results

BEGIN = (stages.teach, stages.judge, stages.biased)
SEED = 100
COUNT = 40  # images of a try
LOOKED_AT = 200  # images of a generator
SCALES = (1.0, 3.0, 10.0, 30.0, 100.0)
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
CANDIDATES = (2, 4, 8, 16, 32)


def generator_training(scale: Scale) -> Study:
    """Diffusion models of outlines, and what their images are without any guidance.

    Cells: none. Cost: about 17 minutes of a core for 3,500 steps; with --controls those of 1,800
    steps (9 minutes), whose weights came along first, and the wider ones. Deviations: the paper's
    generator draws photographs from text; these have seen pictures that a program made, and their
    classes.
    """
    smoke = scale == "smoke"
    (teacher, judge, student), world = before(BEGIN, SHAPES, lengths(smoke), smoke)
    arms = [teacher, judge, student]
    longer = replace(SHAPES_97, steps=3500, channels=CHANNELS)
    others = (replace(longer, channels=WIDE), *(() if smoke else (replace(longer, steps=1800),)))
    for drawn in (longer, *others):
        generators, model = replace(drawn, sha256="").before(
            train_generator, smoke, True, drawn != longer
        )
        (training,) = generators
        config = Tried(Way(Select(1)), model, 4 if smoke else LOOKED_AT)
        looked = Arm(f"unguided, {training.name}", config, tried,
                     (teacher, student, judge, training), control=training.control)  # fmt: skip
        arms += [training, looked]
    return Study("generator_training" + "_smoke" * smoke, scale, world, tuple(arms), (SEED,),
                 tables=(by_try,))  # fmt: skip


def tries_on_shapes(scale: Scale) -> Study:
    """Settings of each engine, as many of one as of another, on images that nobody trains on.

    Cells: none. Cost: about 12 minutes of a core. Deviations: none; the paper's own settings could
    not be read.
    """
    smoke = scale == "smoke"
    (teacher, judge, student), world = before(BEGIN, SHAPES, lengths(smoke), smoke)
    generators, model = SHAPES_97.before(train_generator, smoke, False, False)
    chain = replace(CHAIN, rounds=1) if smoke else CHAIN
    ways = {"unguided": Way(Select(1))}
    ways |= {f"stepwise, scale {s:g}": Way(replace(STEPWISE, scale=s)) for s in SCALES}
    ways |= {f"chain, rate {r:g}": Way(replace(chain, learning_rate=r)) for r in RATES}
    ways |= {f"best of {k}": Way(Select(k)) for k in CANDIDATES}
    arms = tuple(
        Arm(name, Tried(way, model, 4 if smoke else COUNT), tried,
            (teacher, student, judge, *generators))
        for name, way in ways.items()
    )  # fmt: skip
    return Study("tries_on_shapes" + "_smoke" * smoke, scale, world,
                 (*generators, teacher, judge, student, *arms), (SEED,),
                 tables=(by_try,))  # fmt: skip


def gates(scale: Scale) -> Study:
    """Teacher, plain student and oracle of every world: what the gates are about, nothing else.

    Cells: none. Cost: about 6 minutes of a core. Deviations: none.
    """
    smoke, arms = scale == "smoke", list[Arm]()
    for world, more in ((SHAPES, {}), (DIGITS, {"mirror": False}), (SIX, {"taught": 600})):
        own, empty = lengths(smoke, **more), world is SIX
        (teacher, _, student), small = before(BEGIN, world, own, smoke, empty)
        taught = replace(teacher, name=f"{world.name}, teacher")
        plain = replace(student, name=f"{world.name}, KD", starts_from=(taught,))
        row = Rowed(own.row("oracle"), STUDENT, empty=empty)
        oracle = Arm(f"{world.name}, oracle", row, stages.row, (taught,), data=small)
        arms += [taught, plain, oracle]
    first = arms[0].data
    assert first is not None
    return Study("gates" + "_smoke" * smoke, scale, first, tuple(arms), (SEED,),
                 tables=(by_gate,))  # fmt: skip


def by_gate(results: Results) -> Table:
    """Worst-group accuracy, and the spurious score where the gate is about that."""
    arms, metrics = results.study.arms, ("worst-group", "mean-group", "spurious-map")
    rows = tuple((arm.name, *(interval(results.values(arm, m)) for m in metrics)) for arm in arms)
    columns = (Column("trained"), Column("worst-group accuracy", "%", 1),
               Column("mean-group accuracy", "%", 1), Column("spurious mAUC", "%", 1))  # fmt: skip
    name = results.study.name.replace("_", "-")
    return Table(name, "What the gates are about", columns, rows, results.notes, ids(arms))
