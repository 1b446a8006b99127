"""Tables of the study of autolabels: what they are worth beside people's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofds.study.detection_claims import FEWER
from ofds.study.detection_tables import (
    COST,
    HOURS,
    SCORES,
    SPREAD,
    cost_cells,
    score_cells,
    selections,
    tag,
)
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results


@dataclass(frozen=True)
class Rate:
    """Which share of people's labels alone gives the AP50 of an arm, by seed.

    Attributes:
        shares: in percent, one a seed; where AP50 lies outside people's curve, the curve's end.
        below, above: seeds that lie outside.
    """

    shares: tuple[float, ...]
    below: int
    above: int

    @property
    def interval(self) -> Interval | None:
        """Over the seeds, of the logarithm; the mean is the geometric one. None without a seed.

        Of seeds that lie outside the curve only a bound is known, so that there are no ends then.
        """
        found = interval(np.log(self.shares).tolist())
        if found is None:
            return None
        known = not (self.below or self.above)
        ends = (float(np.exp(e)) if known and e is not None else None for e in found[1:])
        return Interval(float(np.exp(found.mean)), *ends)

    @property
    def bound(self) -> str:
        """What the mean is where seeds lie outside the curve, in words; nothing elsewhere."""
        if self.below and self.above:
            return "about"
        return "at most" if self.below else "at least" if self.above else ""

    @property
    def words(self) -> str:
        """The mean, with what it is; empty without a seed."""
        mean = self.interval
        return "" if mean is None else f"{self.bound} {mean.mean:.0f} %".strip()

    @property
    def outside(self) -> str:
        """How many seeds lie outside, in words; nothing if none does."""
        count = self.below + self.above
        return f"{count} of {len(self.shares)} seeds lie outside the curve" if count else ""


def people(results: Results, complexity: str) -> list[Arm]:
    """The arms with people's labels only, by ascending share."""
    found = [
        arm for arm in selections(results)
        if arm.name.startswith(f"{complexity}: ") and arm.config.share and not arm.config.autolabels
        and not arm.starts_from
    ]  # fmt: skip
    return sorted(found, key=lambda arm: float(arm.config.share))


def rate(results: Results, complexity: str, labels: str = "autolabels only") -> Rate:
    """Interpolated for each seed between the shares that were run, on a logarithmic axis.

    The curve is made monotone first (running maximum), so that there is one answer.

    Args:
        results: of the study.
        complexity: of the scenes.
        labels: name of the arm, without the scenes.
    """
    arms = people(results, complexity)
    alone = next(a for a in results.study.arms if a.name == f"{complexity}: {labels}")
    shares, below, above = list[float](), 0, 0
    by_seed = [{run.seed: run.metrics["ap50"] for run in results.runs(arm)} for arm in arms]
    for run in results.runs(alone):
        if not all(run.seed in each for each in by_seed):
            continue
        value = run.metrics["ap50"]
        curve = np.maximum.accumulate([each[run.seed] for each in by_seed])
        below, above = below + int(value < curve[0]), above + int(value > curve[-1])
        shares.append(interpolated(value, curve, [arm.config.share for arm in arms]))
    return Rate(tuple(shares), below, above)


def interpolated(value: float, curve: Any, shares: Sequence[float]) -> float:
    """The share in percent at which an ascending curve has a value, or the nearer end."""
    if value <= curve[0]:
        return 100 * shares[0]
    place = int(np.searchsorted(curve, value))
    if place == len(curve):
        return 100 * shares[-1]
    low, high = np.log(shares[place - 1]), np.log(shares[place])
    part = (value - curve[place - 1]) / (curve[place] - curve[place - 1])
    return 100 * float(np.exp(low + part * (high - low)))


def worth(results: Results) -> list[str]:
    """The finding in words; every number comes from the records."""
    found, said = {kind: rate(results, kind) for kind in ("simple", "complex")}, list[str]()
    for kind, each in found.items():
        if each.interval is None:
            said.append(f"What autolabels are worth on {kind} scenes has not been tried yet.")
            continue
        if (done := len(each.shares)) < len(FEWER):
            left = f"{done} of {len(FEWER)} seeds have been run"
            said.append(f"What autolabels are worth on {kind} scenes cannot be said yet: {left}.")
            continue
        also = f" {each.outside}." if each.outside else ""
        said.append(
            f"**On {kind} scenes, autolabels alone are worth {each.words} of people's labels.** So "
            f"much of the pool would people have to annotate.{also}"
        )
    return [*said, *forms(results)]


def side(effect: float | None) -> str:
    """Where an effect lies."""
    return "above" if effect and effect > 0 else "below"


def forms(results: Results) -> list[str]:
    """Which use of autolabels beside people's labels is the better one, where that is known."""
    claims = [c for c in results.study.claims if (c.family or "").startswith("forms-")]
    means = [found.mean for c in claims if (found := results.verdict(c)).low is not None]
    if not claims or len(means) < len(claims):
        return []
    words = ", ".join(results.verdict(claim).verdict for claim in claims)
    ends = " and ".join(
        f"{abs(mean or 0.0):.1f} AP50 points {side(mean)} joint training on {kind} scenes"
        for mean, kind in zip(means, ("simple", "complex"), strict=True)
    )
    return [
        "The abstract says that it is best to pre-train on autolabels before people's labels. "
        f"**Here it ends {ends}** ({words}; with 10 % "
        "of people's labels)."
    ]


def exchange(results: Results) -> Table:
    """What autolabels are worth, alone and in both forms beside people's labels."""
    rows, worth_it = list[tuple[Cell, ...]](), ("autolabels only", "pre-trained, ", "joint, ")
    for arm in selections(results):
        complexity, _, labels = arm.name.partition(": ")
        if labels.startswith(worth_it):
            found = rate(results, complexity, labels)
            counts = (found.below, found.above, len(found.shares))
            rows.append((complexity, labels, found.interval, found.bound, *counts))
    columns = (
        Column("scenes"), Column("labels"), Column("are worth", "% of people's labels", 1),
        Column("which is"),
        Column("seeds below people's curve"), Column("seeds above it"), Column("seeds"),
    )  # fmt: skip
    note = (
        "The share of people's labels alone, on random images, that has its AP50: interpolated for "
        "each seed, averaged in the logarithm. A seed outside that curve counts with its end, "
        "so that the mean is a bound and has no interval."
    )
    return Table(
        f"{tag(results)}-exchange", f"{results.study.name}: what autolabels are worth", columns,
        tuple(rows), (note, SPREAD, *sources(results), *results.notes),
    )  # fmt: skip


def sources(results: Results) -> tuple[str, ...]:
    """What the pictures of arms with data of their own are."""
    found = dict.fromkeys(arm.data for arm in results.study.arms if arm.data is not None)
    return tuple(f"{each.name}: {each.sentence}." for each in found)


def of_autolabels(results: Results) -> Table:
    """Every mixture of people's and the proposer's labels."""
    rows, arms = list[tuple[Cell, ...]](), selections(results)
    for arm in arms:
        complexity, _, words = arm.name.partition(": ")
        rows.append((complexity, words, *score_cells(results, arm), *cost_cells(results, arm)))
    columns = (Column("scenes"), Column("labels"), *SCORES, *COST)
    note = (
        "All train for the same number of steps. Pre-training: half of them, on the pool's "
        "autolabels; pre-trained: this, then the other half on people's labels. Joint: people's "
        "labels on their images, autolabels with half the weight on all others."
    )
    return Table(
        f"{tag(results)}-labels", f"{results.study.name}: people's and autolabels", columns,
        tuple(rows), (note, SPREAD, HOURS, *sources(results), *results.notes), ids(arms),
    )  # fmt: skip
