"""The studies: every arm written out."""

from __future__ import annotations

from dataclasses import replace

from cg_augment.method.chain import Chain
from cg_augment.method.objectives import Objective
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.study import costs, generation
from cg_augment.study.generation import Generation, Worlds
from cg_augment.study.mixture import Mixture
from repro_shared.study.paper import Arm, Scale, Study
from repro_shared.study.protocols import Arithmetic

PAPERS = Objective("pow", 2.0)
LOG = Objective("log")
ROUNDS = Chain(rounds=10, learning_rate=0.2, checkpoints=False)
STEPS = Stepwise(unguided=False)
SHARES = (1.0, 0.998, 0.99, 0.95, 0.8, 0.5)  # both ends are controls


def passes_by_engine(scale: Scale) -> Study:
    """How many passes of the networks an image takes, by engine.

    Cells: none that could be read. Cost: seconds. Deviations: none; it is arithmetic.
    """
    return Study("passes_by_engine", scale, Arithmetic(), (), (0,), tables=(costs.passes,))


def engines_on_the_mixture(scale: Scale) -> Study:
    """What each engine and objective makes where the diffusion model is known exactly.

    Cells: none that could be read. Cost: about 5 s a seed and share at the cpu scale. Deviations:
    points and not images; no student is trained, the one that guides is given; the paper's engine
    could not be read (`chain` is that of its authors' earlier DiG-IN).
    """
    engines = {
        "unguided": Generation(Select(1), PAPERS),
        "best of 8": Generation(Select(8), PAPERS),
        "stepwise, logarithm": Generation(STEPS, LOG),
        "stepwise, logarithm, not through the network": Generation(
            replace(STEPS, jacobian=False), LOG
        ),
        "stepwise, squares, as they are": Generation(replace(STEPS, follows="objective"), PAPERS),
        "stepwise, squares, normalised": Generation(
            replace(STEPS, follows="objective", normalise=True), PAPERS
        ),
        "chain, squares": Generation(ROUNDS, PAPERS),
        "chain, logarithm": Generation(ROUNDS, LOG),
        "chain, difference": Generation(ROUNDS, Objective("difference")),
        "chain, teacher alone": Generation(ROUNDS, replace(LOG, parts="teacher")),
        "chain, student alone": Generation(ROUNDS, replace(LOG, parts="student")),
    }
    smoke = scale == "smoke"
    arms = tuple(
        Arm(
            f"{name}, {100 * share:g} % aligned",
            replace(made, share=share, count=24 if smoke else 400, sampling=6 if smoke else 25),
            generation.generation,
            control=share in (SHARES[0], SHARES[-1]),
        )
        for share in ((0.9,) if smoke else SHARES)
        for name, made in engines.items()
    )
    return Study(
        name="engines_on_the_mixture",
        scale=scale,
        data=Worlds(Mixture()),
        arms=arms,
        seeds=(0,) if smoke else (0, 1, 2, 3, 4),
        tables=(generation.by_engine,),
    )
