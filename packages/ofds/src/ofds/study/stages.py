"""What an arm of the studies in feature space does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.budget import Budget, Unit
from ofds.method.objects import Pool
from ofds.method.selection import select
from ofds.rivals import images as by_image
from ofds.rivals import proposals as by_proposal
from ofds.study.selectors import chosen
from ofds.study.world import Drawn, Opened, draw
from ofds.train import Training
from repro_shared.runtime.rng import derive_seed
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

NEIGHBOURS = 5
CHUNK = 256  # test objects at a time

_EQUATIONS: dict[str, Callable[..., Any]] = {
    "random": by_proposal.at_random,
    "class-balanced random": by_proposal.balanced,
    "image prototypes": by_image.prototypes,
    "image k-centre": by_image.k_centre,
    "TypiClust": by_image.typiclust,
    "ProbCover": by_image.probcover,
    "herding": by_image.herding,
    "moderate": by_image.moderate,
    "FreeSel-like": by_image.freesel,
}


def equations_of(selector: str) -> tuple[Callable[..., Any], ...]:
    """What a selector's name stands for."""
    return (_EQUATIONS.get(selector, select),)


class Chosen:
    """What the configs have in common that train on what a selector chose."""

    training: Training
    selector: str

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The selector's."""
        return equations_of(self.selector)


@dataclass(frozen=True)
class Pick:
    """Images chosen by one selector, under budgets of true objects and of images.

    Attributes:
        selector: a name of `SELECTORS`.
        objects: budgets in objects.
        images: budgets in images.
    """

    selector: str
    objects: tuple[int, ...] = (150, 600)
    images: tuple[int, ...] = (40, 150)

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The selector."""
        return equations_of(self.selector)

    @property
    def budgets(self) -> tuple[tuple[str, Budget], ...]:
        """Each with the name that its metrics have."""
        pairs: tuple[tuple[Unit, tuple[int, ...]], ...] = (
            ("objects", self.objects), ("images", self.images)
        )  # fmt: skip
        return tuple((f"{n} {unit}", Budget(n, unit)) for unit, each in pairs for n in each)


@steps_through(chosen)
def pick(config: Pick, ctx: Context) -> Outcome:
    """Choose, pay for true objects until the budget is spent, and classify test objects by them."""
    opened: Opened = ctx.data
    drawn = draw(opened.world, ctx.seed)
    seed = derive_seed(ctx.seed, "selector") % 2**31
    metrics = dict[str, float]()
    for name, budget in config.budgets:
        order = chosen(config.selector, drawn, budget, seed)
        metrics |= {f"{key}/{name}": value for key, value in scored(drawn, order, budget).items()}
    return Outcome(metrics)


def paid(truth: Pool, order: list[int], budget: Budget) -> list[int]:
    """The images of an order that a budget pays for at their true cost.

    An image that does not fit is passed over, so that every selector spends the same.
    """
    costs, left, bought = budget.costs(truth), budget.amount, []
    for image in dict.fromkeys(order):
        if costs[image] <= left:
            left -= costs[image]
            bought.append(image)
    return bought


def scored(drawn: Drawn, order: list[int], budget: Budget) -> dict[str, float]:
    """What the images of an order are worth that the budget pays for.

    Returns:
        Accuracy in percent, classes covered, and what was bought: images, objects, pixels.
    """
    truth, bought = drawn.truth, paid(drawn.truth, order, budget)
    have = np.isin(truth.image, bought)
    return {
        "accuracy": accuracy(drawn, have),
        "covered": float(len(np.unique(truth.label[have]))),
        "images": float(len(bought)),
        "objects": float(have.sum()),
        "pixels": float(truth.area[have].sum(dtype=np.float64)),
    }


def accuracy(drawn: Drawn, have: NDArray[np.bool_]) -> float:
    """Of the 5 nearest annotated objects' majority, in percent; the nearer class wins a tie."""
    known = np.asarray(drawn.truth.features[drawn.truth.row[have]], np.float32)
    labels = drawn.truth.label[have]
    k, right = min(NEIGHBOURS, len(known)), 0
    weight = 1 + 1e-3 * np.arange(k, 0, -1)
    for start in range(0, len(drawn.test_labels), CHUNK):
        part = slice(start, start + CHUNK)
        apart = by_image.distances(drawn.test_features[part], known)
        near = np.argsort(apart, axis=1, kind="stable")[:, :k]
        votes = np.zeros((len(near), len(drawn.truth.classes)))
        for place in range(k):
            np.add.at(votes, (np.arange(len(near)), labels[near[:, place]]), weight[place])
        right += int((votes.argmax(axis=1) == drawn.test_labels[part]).sum())
    return 100 * right / len(drawn.test_labels)
