"""Tables of the studies with detectors; every row says what its labels cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofds.method.budget import SECONDS_AN_OBJECT
from ofds.study.proposed import Propose
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results

COST = (
    Column("images", "", 0),
    Column("objects", "", 0),
    Column("pixels", "thousands", 0),
    Column("annotation", "hours", 1),
)


@dataclass(frozen=True)
class Measures:
    """What a task is scored by: columns and the records' names of them, the first one paired; and
    what people draw, a preset of `SECONDS_AN_OBJECT`."""

    columns: tuple[Column, ...]
    metrics: tuple[str, ...]
    drawn: str = "boxes"

    @property
    def hours(self) -> str:
        """What the column of hours counts."""
        return f"Annotation: {SECONDS_AN_OBJECT[self.drawn]:g} seconds an object ({self.drawn})."


DETECTION = Measures(
    (Column("AP50", "%", 1), Column("AP", "%", 1), Column("AP50 of the rarest third", "%", 1)),
    ("ap50", "ap", "rare_ap50"),
)
SCORES = DETECTION.columns
HOURS = DETECTION.hours


def tag(results: Results) -> str:
    """Of table ids: the study's name."""
    return results.study.name.replace("_", "-")


def cost_cells(results: Results, arm: Arm, measures: Measures = DETECTION) -> list[Cell]:
    """Means of what people's labels cost: images, objects, thousands of pixels, hours."""
    images, objects, pixels = (mean(results, arm, n) for n in ("images", "objects", "pixels"))
    return [
        images,
        objects,
        None if pixels is None else pixels / 1000,
        None if objects is None else objects * SECONDS_AN_OBJECT[measures.drawn] / 3600,
    ]


def score_cells(results: Results, arm: Arm, measures: Measures = DETECTION) -> list[Cell]:
    """What the task is scored by, with intervals."""
    return [interval(results.values(arm, name)) for name in measures.metrics]


def mean(results: Results, arm: Arm, metric: str) -> float | None:
    """Over the seeds."""
    values = results.values(arm, metric)
    return sum(values) / len(values) if values else None


def paired(results: Results, arm: Arm, rival: Arm, metric: str = "ap50") -> list[float]:
    """The arm's metric minus the rival's, by seeds that both have run."""
    base = {run.seed: run.metrics[metric] for run in results.runs(rival)}
    return [r.metrics[metric] - base[r.seed] for r in results.runs(arm) if r.seed in base]


def selections(results: Results) -> list[Arm]:
    """The arms that choose images under a budget, or take all."""
    return [arm for arm in results.study.arms if hasattr(arm.config, "selector")]


def random_of(results: Results, arm: Arm) -> Arm | None:
    """The arm with random images under the same budget."""
    for other in selections(results):
        same = other.config.budget == arm.config.budget and other.config.budget is not None
        if same and other.config.selector == "random":
            return other
    return None


def by_objects(results: Results) -> Table:
    """All selectors at equal cost in objects."""
    return selectors(results, DETECTION, "objects", "at equal cost in objects")


def by_images(results: Results) -> Table:
    """Selectors at equal numbers of images, which buy different numbers of objects."""
    warning = (
        "Images are no equal cost: selectors that like crowded images buy more objects, see the "
        "columns on the right."
    )
    return selectors(results, DETECTION, "images", "at equal numbers of images", warning)


def selectors(
    results: Results, measures: Measures, unit: str, title: str, *notes: str, classes: int = 10
) -> Table:
    """All selectors under the budgets of a unit, and people's labels on all images."""
    rows, arms = list[tuple[Cell, ...]](), list[Arm]()
    for arm in selections(results):
        budget = arm.config.budget
        if budget is not None and budget.unit != unit:
            continue
        rival, covered = random_of(results, arm), mean(results, arm, "covered")
        over: Cell = None
        if rival is not None and rival is not arm:
            over = interval(paired(results, arm, rival, measures.metrics[0]))
        arms.append(arm)
        rows.append((
            arm.name.rpartition(", ")[0] or arm.name,
            f"{budget.amount:,.0f} {budget.unit}" if budget else "all images",
            *score_cells(results, arm, measures),
            over,
            None if covered is None else classes - covered,
            *cost_cells(results, arm, measures),
        ))  # fmt: skip
    columns = (
        Column("selector"), Column("budget"), *measures.columns,
        Column(f"{measures.columns[0].name} over random, paired", "points", 1, signed=True),
        Column("classes without an object", "", 2), *COST,
    )  # fmt: skip
    return Table(
        f"{tag(results)}-{unit}", f"{results.study.name}: selectors {title}", columns,
        tuple(rows), (*notes, measures.hours, *results.notes), ids(arms),
    )  # fmt: skip


def of_proposals(results: Results) -> Table:
    """What the proposer finds and how much of it is right, by class."""
    rows = []
    for arm in results.study.arms:
        if isinstance(arm.config, Propose):
            names = ["", *(f"/digit {digit}" for digit in range(10))]
            for name in names:
                recall, precision = (
                    mean(results, arm, f"{kind}{name}") for kind in ("recall", "precision")
                )
                rows.append((name.strip("/") or "all classes", recall, precision))
    columns = (Column("class"), Column("recall", "%", 1), Column("precision", "%", 1))
    note = "At an overlap of 0.5 and the score from which proposals are chosen by; the whole pool."
    return Table(
        f"{tag(results)}-proposals", f"{results.study.name}: proposals against the truth", columns,
        tuple(rows), (note, *results.notes),
    )  # fmt: skip


def verdicts(results: Results) -> Table:
    """The verdict of every claim."""
    return verdict_table(
        results.study.claims, results.verdicts, f"{tag(results)}-verdicts",
        f"{results.study.name}: verdicts", results.sentence,
    )  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """Which share of people's labels gives the AP50 of labels that cost nothing, by seed.

    Attributes:
        complexity: of the scenes.
        shares: in percent, one a seed; where AP50 lies outside people's curve, the curve's end.
        below, above: seeds that lie outside.
    """

    complexity: str
    shares: tuple[float, ...]
    below: int
    above: int

    @property
    def interval(self) -> Interval | None:
        """Over the seeds."""
        return interval(self.shares)


def people(results: Results, complexity: str) -> list[Arm]:
    """The arms with people's labels only, by ascending share."""
    found = [
        arm for arm in selections(results)
        if arm.name.startswith(f"{complexity}: ") and arm.config.share and not arm.config.autolabels
        and not arm.starts_from
    ]  # fmt: skip
    return sorted(found, key=lambda arm: float(arm.config.share))


def rate(results: Results, complexity: str) -> Rate:
    """Interpolated for each seed between the shares that were run, on a logarithmic axis.

    The curve is made monotone first (running maximum), so that there is one answer.
    """
    arms = people(results, complexity)
    alone = results.study.arm(f"{complexity}-autolabels-only")
    shares, below, above = list[float](), 0, 0
    by_seed = [{run.seed: run.metrics["ap50"] for run in results.runs(arm)} for arm in arms]
    for run in results.runs(alone):
        if not all(run.seed in each for each in by_seed):
            continue
        value = run.metrics["ap50"]
        curve = np.maximum.accumulate([each[run.seed] for each in by_seed])
        below, above = below + int(value < curve[0]), above + int(value > curve[-1])
        shares.append(interpolated(value, curve, [arm.config.share for arm in arms]))
    return Rate(complexity, tuple(shares), below, above)


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
        outside = each.below + each.above
        also = f" {outside} of {len(each.shares)} seeds lie outside the curve." if outside else ""
        said.append(
            f"**On {kind} scenes, autolabels alone are worth {each.interval.mean:.0f} % of "
            f"people's labels.** So much of the pool would people have to annotate.{also}"
        )
    return said


def exchange(results: Results) -> Table:
    """What autolabels are worth."""
    rows = list[tuple[Cell, ...]]()
    for complexity in ("simple", "complex"):
        found = rate(results, complexity)
        rows.append((complexity, found.interval, found.below, found.above, len(found.shares)))
    columns = (
        Column("scenes"), Column("autolabels only are worth", "% of people's labels", 1),
        Column("seeds below people's curve"), Column("seeds above it"), Column("seeds"),
    )  # fmt: skip
    note = (
        "Interpolated for each seed between people's labels on random images. A seed outside that "
        "curve counts with its end."
    )
    return Table(
        f"{tag(results)}-exchange", f"{results.study.name}: what autolabels are worth", columns,
        tuple(rows), (note, *sources(results), *results.notes),
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
        "Pre-trained: on the pool's autolabels, then half as many steps on people's labels. Joint: "
        "people's labels on their images, autolabels with half the weight on all others."
    )
    return Table(
        f"{tag(results)}-labels", f"{results.study.name}: people's and autolabels", columns,
        tuple(rows), (note, HOURS, *sources(results), *results.notes), ids(arms),
    )  # fmt: skip
