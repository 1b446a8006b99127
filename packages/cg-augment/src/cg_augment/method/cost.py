"""What a guided image costs, counted in passes: arithmetic, the same for every network.

A pass backward gives the gradient with respect to the input alone, since the weights are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

from cg_augment.method.chain import Chain
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise

SMALL_BACKWARD = 1.2
"""Passes forward that one backward costs in the small networks of the studies, in the batches that
they draw and on one thread; `bench` measures it."""


@dataclass(frozen=True)
class Passes:
    """Passes for one image.

    Attributes:
        forward, backward: of the diffusion network (guidance without a classifier counts twice
            where it evaluates the network with and without the condition).
        decodes, decodes_backward: of the decoder with both classifiers.
        views: further passes of both classifiers in both directions, where they see several views.
    """

    forward: int
    backward: int
    decodes: int
    decodes_backward: int
    views: int = 0

    @property
    def network(self) -> int:
        """Passes of the network in both directions."""
        return self.forward + self.backward

    def forwards(self, backward: float = SMALL_BACKWARD, judged: float = 0.0) -> float:
        """The whole cost in passes forward of the diffusion network.

        Args:
            backward: passes forward that one backward costs.
            judged: passes forward of the network that a decode with both classifiers costs.
        """
        seen, gone = self.decodes + self.views, self.decodes_backward + self.views
        return self.forward + judged * seen + backward * (self.backward + judged * gone)


def unguided(steps: int) -> Passes:
    """An image without guidance, decoded once."""
    return Passes(steps, 0, 1, 0)


def select(steps: int, candidates: int) -> Passes:
    """The best of several images, each decoded once."""
    return Passes(candidates * steps, 0, candidates, 0)


def stepwise(steps: int, guided: int, *, jacobian: bool = True, views: int = 0) -> Passes:
    """Gradients at `guided` of the steps, through the network or not, and the final image."""
    more = guided * max(0, views - 1)
    return Passes(steps, guided if jacobian else 0, guided + 1, guided, more)


def chain(
    steps: int, rounds: int, scored: int, *, checkpoints: bool = True, views: int = 0
) -> Passes:
    """`rounds` gradients through all steps, `scored` predictions decoded in each.

    With checkpoints every round runs steps and decodes forward, and again before each pass
    backward. Every iterate is decoded once more to be scored in full, the last one after a last run
    forward.
    """
    twice = 2 if checkpoints else 1
    return Passes(
        (twice * rounds + 1) * steps,
        rounds * steps,
        rounds * (twice * scored + 1) + 1,
        rounds * scored,
        rounds * scored * max(0, views - 1),
    )


def of_engine(engine: Chain | Stepwise | Select, steps: int, blind: int = 0) -> Passes:
    """Of one image at most: samples that stop early make fewer.

    Args:
        engine: with its settings; a `Stepwise` that also makes the image without guidance pays.
        steps: of the sampler.
        blind: of these, the first ones, in which x says nothing of x0 (`Schedule.blind`).
    """
    if isinstance(engine, Select):
        return select(steps, engine.candidates)
    views = engine.views.count
    if isinstance(engine, Chain):
        scored = min(engine.scored, steps)
        return chain(steps, engine.rounds, scored, checkpoints=engine.checkpoints, views=views)
    guided = min(engine.guided(steps), steps - blind)
    own = stepwise(steps, guided, jacobian=engine.jacobian, views=views)
    plain = unguided(steps) if engine.unguided else Passes(0, 0, 0, 0)
    return Passes(own.forward + plain.forward, own.backward, own.decodes + plain.decodes,
                  own.decodes_backward, own.views)  # fmt: skip
