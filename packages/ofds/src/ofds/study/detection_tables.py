"""Tables of the studies with detectors; every row says what its labels cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ofds.method.budget import SECONDS_AN_OBJECT
from ofds.study.proposed import Propose
from ofds.study.scenes import ScenePools
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
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
SPREAD = (
    "Intervals cover parts of one pool and initial weights, not other pools, tests or proposers: "
    "each seed sees 60 % of the pool, and all have the same scored images and the same proposer."
)
"""Of studies on composed scenes (`scenes.ScenePools`)."""
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
    return selectors(results, DETECTION, "objects", "at equal cost in objects", SPREAD)


def by_images(results: Results) -> Table:
    """Selectors at equal numbers of images, which buy different numbers of objects."""
    warning = (
        "Images are no equal cost: selectors that like crowded images buy more objects, see the "
        "columns on the right."
    )
    return selectors(results, DETECTION, "images", "at equal numbers of images", warning, SPREAD)


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
    found = verdict_table(
        results.study.claims, results.verdicts, f"{tag(results)}-verdicts",
        f"{results.study.name}: verdicts", results.sentence,
    )  # fmt: skip
    composed = isinstance(results.study.data, ScenePools)
    return replace(found, notes=(SPREAD, *found.notes)) if composed else found
