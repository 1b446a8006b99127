"""What a guided image costs, counted in passes: arithmetic, the same for every network.

A pass backward gives the gradient with respect to the input alone, since the weights are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Passes:
    """Passes for one image.

    Attributes:
        forward, backward: of the diffusion network (guidance without a classifier counts twice
            where it evaluates the network with and without the condition).
        decodes, decodes_backward: of the decoder with both classifiers.
    """

    forward: int
    backward: int
    decodes: int
    decodes_backward: int

    @property
    def network(self) -> int:
        """Passes of the network in both directions."""
        return self.forward + self.backward


def unguided(steps: int) -> Passes:
    """An image without guidance, decoded once."""
    return Passes(steps, 0, 1, 0)


def select(steps: int, candidates: int) -> Passes:
    """The best of several images, each decoded once."""
    return Passes(candidates * steps, 0, candidates, 0)


def stepwise(steps: int, guided: int, *, jacobian: bool = True) -> Passes:
    """Gradients at `guided` of the steps, through the network or not, and the final image."""
    return Passes(steps, guided if jacobian else 0, guided + 1, guided)


def chain(steps: int, rounds: int, scored: int, *, checkpoints: bool = True) -> Passes:
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
    )
