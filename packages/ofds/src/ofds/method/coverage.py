"""The coverage contract: each class's minimum is met, or it is said why it cannot be.

Taking turns alone can miss minima that some selection meets. Where it does, an integer program
decides (`scipy.optimize.milp`): the cheapest set of images that meets all minima, a proof that
there is none, or neither within the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from ofds.method.duplicates import components
from ofds.method.objects import Ints, Pool
from ofds.method.room import NO_LIMITS, Limits
from ofds.method.selection import Choice, Settings, select

Status = Literal["met", "infeasible", "undecided"]
SECONDS = 10.0
INFEASIBLE = 2  # status of `milp`


@dataclass(frozen=True)
class Contract:
    """What became of the minima.

    Attributes:
        status: all are met; or no selection can meet them; or that could not be decided in time.
        minimum: (classes,) objects asked for.
        found: (classes,) objects on the chosen images, which are predicted, and on annotated ones.
        reasons: a line for each thing that stands in the way.
    """

    status: Status
    minimum: Ints
    found: Ints
    reasons: tuple[str, ...] = ()


def select_covering(
    pool: Pool,
    costs: NDArray[np.float64],
    amount: float,
    minimum: Ints,
    settings: Settings = Settings(),
    required: Sequence[int] = (),
    annotated: Sequence[int] = (),
    excluded: Sequence[int] = (),
    seconds: float = SECONDS,
    limits: Limits = NO_LIMITS,
    have: Ints | None = None,
) -> tuple[list[Choice], Contract]:
    """`select`, with at least `minimum` objects of each class on its images and annotated ones.

    Args:
        pool, costs, amount, settings, required, annotated, excluded, limits: as of `select`.
        minimum: (classes,) objects of each class.
        seconds: for the integer program.
        have: (classes,) true objects on the annotated images, where they are known; else what is
            predicted there counts. Clusters are covered by predicted objects either way.

    Returns:
        The choices and what became of the minima. Where they cannot be met, the choices are those
        of `select`, and the contract says why; classes with too few proposals do not stand in the
        way of the others' minima. On images to choose all this concerns predicted objects.
    """
    counts = pool.counts
    more = np.zeros_like(minimum) if have is None else have - counts[[*annotated]].sum(axis=0)

    def run(images: Sequence[int] = ()) -> tuple[list[Choice], Ints]:
        whole = dict.fromkeys((*required, *images))
        made = select(
            pool, costs, amount, settings, tuple(whole), annotated, excluded, limits=limits
        )
        return made, counts[[*annotated, *(c.image for c in made)]].sum(axis=0) + more

    barred = np.setdiff1d(np.array(excluded, np.int64), annotated)
    there = counts.sum(axis=0) - counts[barred].sum(axis=0) + more
    if (there < minimum).any():
        on = "images that may be chosen" + (
            " or true on annotated ones" if have is not None else ""
        )
        short = tuple(
            f"{pool.classes[c]}: {minimum[c]} wanted, {there[c]} proposed on {on}"
            for c in np.flatnonzero(there < minimum)
        )
        # The others' minima still count.
        least = np.where(there < minimum, 0, minimum)
        choices, rest = select_covering(
            pool, costs, amount, least, settings, required, annotated, excluded, seconds, limits,
            have,
        )  # fmt: skip
        return choices, Contract("infeasible", minimum, rest.found, short + rest.reasons)
    choices, found = run()
    if (found >= minimum).all():
        return choices, Contract("met", minimum, found)
    copies = _copies(pool, limits)
    for once in (copies, None) if copies is not None else (None,):
        # Copies are bought only where the minima, or the budget, leave no other way.
        images, bound = cheapest(
            counts, costs, minimum - more, required, annotated, excluded, seconds, limits, once
        )
        if images is not None and costs[images].sum() <= amount + 1e-9:
            break
    if bound == np.inf:
        reason = f"no images with at most {limits.cap} of a group meet the minima"
        return choices, Contract("infeasible", minimum, found, (reason,))
    if images is None:
        reason = f"the integer program did not end within {seconds:g} s"
        return choices, Contract("undecided", minimum, found, (reason,))
    if costs[images].sum() > amount + 1e-9:
        if bound > amount + 1e-9:
            reason = f"the minima cost at least {bound:g}, the budget is {amount:g}"
            return choices, Contract("infeasible", minimum, found, (reason,))
        reason = f"the minima cost {bound:g} to {costs[images].sum():g}, the budget is {amount:g}"
        return choices, Contract("undecided", minimum, found, (reason,))
    choices, found = run(images)
    return choices, Contract("met", minimum, found)


def _copies(pool: Pool, limits: Limits) -> Ints | None:
    """Numbers that images share if they are equal or nearly the same; None if no two are."""
    found = components([pool.twin], limits.vectors, limits.alike)
    return found if len(found) and found.max() + 1 < len(found) else None


def cheapest(
    counts: Ints,
    costs: NDArray[np.float64],
    minimum: Ints,
    required: Sequence[int] = (),
    annotated: Sequence[int] = (),
    excluded: Sequence[int] = (),
    seconds: float = SECONDS,
    limits: Limits = NO_LIMITS,
    once: Ints | None = None,
) -> tuple[list[int] | None, float]:
    """The cheapest images that meet all minima, and a lower bound of what any such set costs.

    Args:
        counts: (images, classes) predicted objects.
        costs: (images,).
        minimum: (classes,) of predicted objects, on annotated images too.
        required, annotated, excluded: images by place.
        seconds: time limit.
        limits: of which the caps of groups count.
        once: (images,) numbers; of images with the same one, one is taken, or those that must be.

    Returns:
        Places of images, annotated ones left out, or None if none was found in time; and the bound,
        which is infinite where there is no such set.
    """
    prices, low, high = costs.copy(), np.zeros(len(costs)), np.ones(len(costs))
    low[[*required, *annotated]] = 1
    high[[*excluded]] = 0
    prices[[*annotated]] = 0
    high = np.maximum(low, high)
    constraints = [LinearConstraint(counts.T, minimum, np.inf)]
    alike = Limits(once, 1).capped()
    if groups := limits.capped() + alike:
        row = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        members = (np.ones(len(row)), (row, np.concatenate(groups)))
        caps = [limits.cap] * (len(groups) - len(alike)) + [1] * len(alike)
        # Images that must be there are, whatever their group may have.
        forced = [annotated] * (len(groups) - len(alike)) + [np.flatnonzero(low)] * len(alike)
        most = [
            max(cap, np.isin(group, must).sum())
            for cap, group, must in zip(caps, groups, forced, strict=True)
        ]
        matrix = csr_array(members, shape=(len(groups), len(costs)))
        constraints.append(LinearConstraint(matrix, -np.inf, most))
    found = milp(
        prices,
        integrality=np.ones(len(costs)),
        bounds=Bounds(low, high),
        constraints=constraints,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if found.status == INFEASIBLE:
        return None, np.inf
    bound = found.mip_dual_bound if found.mip_dual_bound is not None else 0.0
    if found.x is None:
        return None, float(bound)
    chosen = np.flatnonzero(np.round(found.x) > 0)
    own = set(annotated)
    return [int(image) for image in chosen if int(image) not in own], float(bound)
