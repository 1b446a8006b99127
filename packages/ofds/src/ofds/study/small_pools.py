"""The study of the coverage contract: small pools on which every selection can be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ofds.method.coverage import select_covering
from ofds.method.objects import Ints, Pool, make_pool
from ofds.method.selection import select
from ofds.rivals.proposals import at_random, balanced
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.rng import derive_seed
from repro_shared.study.paper import Context, Outcome, ids
from repro_shared.study.results import Results
from repro_shared.study.trip import steps_through

Selector = Literal["exhaustive", "contract", "turns", "balanced", "random"]


@dataclass(frozen=True)
class Case:
    """A small pool, what each image costs, the budget, and the objects that must be found."""

    pool: Pool
    costs: NDArray[np.float64]
    amount: float
    minimum: Ints

    @cached_property
    def feasible(self) -> list[int] | None:
        """Images that meet the minima within the budget, found by trying all sets; None for no."""
        images = len(self.pool.images)
        sets = (np.arange(2**images)[:, None] >> np.arange(images)) & 1
        met = (sets @ self.pool.counts >= self.minimum).all(axis=1)
        fits = np.flatnonzero(met & (sets @ self.costs <= self.amount + 1e-9))
        return np.flatnonzero(sets[fits[0]]).tolist() if len(fits) else None


@dataclass(frozen=True)
class SmallPools:
    """The data source: pools of a few images, drawn anew for every seed.

    Attributes:
        name: in records.
        images: of a pool; all of their sets are tried.
        classes: the first is the most frequent.
    """

    name: str = "small-pools"
    images: int = 10
    classes: int = 4

    @property
    def sentence(self) -> str:
        """What the data are."""
        return f"drawn pools of {self.images} images and {self.classes} classes, no pictures"

    def missing(self, folder: Any) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Any) -> Drawer:
        """Its generator."""
        return Drawer(self)


class Drawer:
    """Draws cases; the fingerprint is that of one, so that a changed generator shows."""

    def __init__(self, source: SmallPools) -> None:
        self.source = source
        case = self.draw(100, 0)
        self.fingerprint = fingerprint_arrays({
            "counts": case.pool.counts, "costs": case.costs, "minimum": case.minimum,
            "features": np.asarray(case.pool.features),
        })  # fmt: skip

    def draw(self, seed: int, number: int) -> Case:
        """A pool by seed and number: 0 to 4 objects an image, minima of 0 to 2, and a budget that
        is sometimes too small. Costs are objects on even numbers, else given ones from 1 to 9."""
        g = np.random.default_rng([seed, number, 11])
        images, classes = self.source.images, self.source.classes
        owner = np.repeat(np.arange(images), g.integers(0, 5, images))
        n, share = len(owner), 0.5 ** np.arange(classes)
        names = [str(index) for index in range(images)]
        pool = make_pool(
            names, [f"class {index}" for index in range(classes)],
            [names[index] for index in owner], g.choice(classes, n, p=share / share.sum()),
            np.ones(n), np.tile([0.0, 0, 4, 4], (n, 1)),
            features=g.normal(size=(n, 4)).astype(np.float32),
        )  # fmt: skip
        counted = np.bincount(pool.image, minlength=images).astype(np.float64)
        costs = g.integers(1, 10, images).astype(np.float64) if number % 2 else counted
        amount = float(g.integers(3, 15)) * (2 if number % 2 else 1)
        return Case(pool, costs, amount, g.integers(0, 3, classes))


_EQUATIONS: dict[Selector, Callable[..., Any]] = {
    "exhaustive": Case,
    "contract": select_covering,
    "turns": select,
    "balanced": balanced,
    "random": at_random,
}


@dataclass(frozen=True)
class Cover:
    """Minima asked of one selector on many small pools.

    Attributes:
        selector: trying all sets, OFDS with its contract, OFDS without, or a random one.
        pools: drawn a seed.
    """

    selector: Selector
    pools: int = 200

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The selector."""
        return (_EQUATIONS[self.selector],)


def selected(selector: Selector, case: Case, seed: int) -> tuple[list[int], str]:
    """The images that a selector buys, and what it says of the minima, if it says something."""
    pool, costs, amount = case.pool, case.costs, case.amount
    match selector:
        case "exhaustive":
            return case.feasible or [], "met" if case.feasible is not None else "infeasible"
        case "contract":
            choices, contract = select_covering(pool, costs, amount, case.minimum)
            return [choice.image for choice in choices], contract.status
        case "turns":
            return [choice.image for choice in select(pool, costs, amount)], ""
    order = balanced(pool, costs, amount, seed) if selector == "balanced" else at_random(pool, seed)
    bought = list[int]()
    for image in order:  # one that does not fit is passed over
        if costs[[*bought, image]].sum() <= amount + 1e-9:
            bought.append(image)
    return bought, ""


@steps_through(selected)
def cover(config: Cover, ctx: Context) -> Outcome:
    """Count the pools whose minima can be met and are, what was said wrongly, and overspending."""
    feasible = met = wrong = over = 0
    for number in range(config.pools):
        case = ctx.data.draw(ctx.seed, number)
        seed = derive_seed(ctx.seed, f"pool {number}") % 2**31
        images, says = selected(config.selector, case, seed)
        can = case.feasible is not None
        found = bool((case.pool.counts[images].sum(axis=0) >= case.minimum).all())
        feasible += can
        met += can and found
        wrong += bool(says) and (says == "met", found) != (can, can)
        over += case.costs[images].sum() > case.amount + 1e-9
    return Outcome({
        "met": 100 * met / max(feasible, 1), "feasible": float(feasible),
        "missed": float(feasible - met), "wrong": float(wrong), "overspent": float(over),
        "pools": float(config.pools),
    })  # fmt: skip


def missed(results: Results) -> Table:
    """Feasible minima that each selector misses."""
    rows = []
    for arm in results.study.arms:
        total = {
            name: sum(values) if (values := results.values(arm, name)) else None
            for name in ("pools", "feasible", "missed", "wrong", "overspent")
        }
        says = arm.config.selector in ("exhaustive", "contract")
        rows.append((
            arm.name, total["pools"], total["feasible"], total["missed"],
            interval(results.values(arm, "met")), total["wrong"] if says else None,
            total["overspent"],
        ))  # fmt: skip
    columns = (
        Column("selector"), Column("pools", "", 0), Column("minima that can be met", "", 0),
        Column("missed", "", 0), Column("met", "% of these", 1),
        Column("wrong statements", "", 0), Column("over the budget", "", 0),
    )  # fmt: skip
    note = (
        "Whether minima can be met is found by trying all sets of images. A wrong statement is one "
        "of a selector that says whether the minima are met, or cannot be."
    )
    study = results.study
    title = f"{study.name}: feasible minima that selectors miss"
    notes = (note, *results.notes)
    return Table(study.name.replace("_", "-"), title, columns, tuple(rows), notes, ids(study.arms))
