"""How a budget is shared among classes, and whose turn it is, so that a list can be cut anywhere.

Turns follow worst-case fair weighted queueing (WF2Q, Bennett and Zhang 1996): of the classes that
have not yet had more than their share, the one goes first that will have used its share first. So
after every turn what was spent for a class is within one image's cost of its share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]


def quotas(amount: float, available: Costs) -> Costs:
    """Equal shares of a budget, none above what is available; what is left goes to the others.

    Args:
        amount: the budget.
        available: (classes,) most that could be spent for each.

    Returns:
        (classes,), together the budget, or all that is available.
    """
    share = np.zeros(len(available))
    left, order = min(amount, float(available.sum())), np.argsort(available, kind="stable")
    for place, label in enumerate(order):
        share[label] = min(available[label], left / (len(order) - place))
        left -= share[label]
    return share


class Turns:
    """Whose turn it is.

    Args:
        share: (classes,) quotas; a class without one has no turn.
        rarity: (classes,) place in the order that breaks ties: the rarest class first.
    """

    def __init__(self, share: Costs, rarity: NDArray[np.int64]) -> None:
        self.share = share / share.sum() if share.sum() else share
        self.rarity = rarity
        self.spent = np.zeros(len(share))
        self.active = share > 0

    def next(self, cost: float) -> int:
        """The class to serve, given what an image costs as a rule; -1 if none is left."""
        return next(iter(self.order(cost)), -1)

    def order(self, cost: float) -> list[int]:
        """All classes that have turns, in the order in which they should be served now."""
        if not self.active.any():
            return []
        weight = np.where(self.active, self.share, 0.0)
        begun = self.spent[self.active].sum()
        start = self.spent / np.maximum(weight, 1e-300)
        finish = (self.spent + cost) / np.maximum(weight, 1e-300)
        ready = self.active & (start <= begun / weight.sum() + 1e-9)
        found = np.lexsort((self.rarity, finish, ~ready, ~self.active))
        return found[: np.count_nonzero(self.active)].tolist()

    def charge(self, label: int, cost: float) -> None:
        """Book an image that was chosen for a class."""
        self.spent[label] += cost

    def retire(self, label: int) -> None:
        """A class that has nothing left to choose; the others share what it does not use."""
        self.active[label] = False
