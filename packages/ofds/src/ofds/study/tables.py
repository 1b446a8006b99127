"""Tables and the figure of the studies in feature space."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from ofds.method.budget import SECONDS_AN_OBJECT
from ofds.study.selectors import SELECTORS
from ofds.study.stages import Pick
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.figures import caption, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import ids
from repro_shared.study.results import Results

COLUMNS = (
    Column("selector"),
    Column("budget"),
    Column("accuracy", "%", 1),
    Column("over random, paired", "points", 1, signed=True),
    Column("classes without an object", "", 2),
    Column("images", "", 0),
    Column("objects", "", 0),
    Column("pixels", "thousands", 0),
    Column("annotation", "hours", 1),
)


def tag(results: Results) -> str:
    """Of table ids: the study's name without `selection`."""
    return results.study.name.removeprefix("selection_").replace("_", "-")


def by_objects(results: Results) -> Table:
    """All selectors at equal cost in objects."""
    return _table(results, "objects", "at equal cost in objects")


def by_images(results: Results) -> Table:
    """All selectors at equal numbers of images, which buy different numbers of objects."""
    warning = (
        "Images are no equal cost: selectors that like crowded images buy more objects, see the "
        "columns on the right."
    )
    return _table(results, "images", "at equal numbers of images", warning)


def _table(results: Results, unit: str, title: str, *notes: str) -> Table:
    rows = []
    for arm in results.study.arms:
        config = arm.config
        assert isinstance(config, Pick)
        for name, budget in config.budgets:
            if budget.unit == unit:
                rows.append((arm.name, name, *_cells(results, arm.name, name)))
    judge = (
        "The judge, nearest annotated objects, looks at the features that OFDS clusters, so that a "
        "part of its gain is by construction."
    )
    hours = f"Annotation: {SECONDS_AN_OBJECT['boxes']:g} seconds a box."
    return Table(
        f"selection-{tag(results)}-{unit}",
        f"{results.study.name}: selectors {title}",
        COLUMNS,
        tuple(rows),
        (*notes, judge, hours, *results.notes),
        ids(results.study.arms),
    )


def _cells(results: Results, selector: str, budget: str) -> list[Cell]:
    arms = {arm.name: arm for arm in results.study.arms}
    arm = arms[selector]

    def mean(metric: str) -> float | None:
        values = results.values(arm, f"{metric}/{budget}")
        return sum(values) / len(values) if values else None

    objects, covered, pixels = mean("objects"), mean("covered"), mean("pixels")
    world: Any = results.study.data
    return [
        interval(results.values(arm, f"accuracy/{budget}")),
        None if selector == "random" else interval(gain(results, selector, budget)),
        None if covered is None else world.world.classes - covered,
        mean("images"),
        objects,
        None if pixels is None else pixels / 1000,
        None if objects is None else objects * SECONDS_AN_OBJECT["boxes"] / 3600,
    ]


def gain(results: Results, selector: str, budget: str) -> list[float]:
    """Accuracy minus that of random images, by seeds that both have run."""
    arms, metric = {arm.name: arm for arm in results.study.arms}, f"accuracy/{budget}"
    base = {run.seed: run.metrics[metric] for run in results.runs(arms["random"])}
    runs = results.runs(arms[selector])
    return [run.metrics[metric] - base[run.seed] for run in runs if run.seed in base]


def verdicts(results: Results) -> Table:
    """The verdict of every claim."""
    return verdict_table(
        results.study.claims,
        results.verdicts,
        f"{results.study.name.replace('_', '-')}-verdicts",
        f"{results.study.name}: verdicts",
        results.sentence,
    )


def gains(results: Results) -> tuple[str, Figure]:
    """Accuracy over random images of every selector, by budget in objects."""
    config = results.study.arms[0].config
    assert isinstance(config, Pick)
    names = [name for name in SELECTORS if name != "random"]
    figure = new_figure(7.0, 4.6)
    axes = figure.subplots(1, len(config.objects), sharey=True)
    for panel, amount in zip(axes, config.objects, strict=True):
        for place, name in enumerate(reversed(names)):
            values = gain(results, name, f"{amount} objects")
            panel.plot(values, [place] * len(values), ".", color="0.7", markersize=3)
            found = interval(values)
            if found is not None and found.low is not None:
                panel.plot([found.low, found.high], [place, place], color="C0", linewidth=2)
                panel.plot(found.mean, place, "o", color="C0")
        panel.axvline(0, color="0.4", linewidth=0.8)
        panel.set_title(f"{amount} objects")
        panel.set_xlabel("accuracy over random images (points)")
    axes[0].set_yticks(range(len(names)), list(reversed(names)))
    figure.suptitle("What a selector gains at equal cost in objects")
    seeds = len(results.seeds)
    caption(figure, f"Data: {results.sentence}. {seeds} seeds; means with 95 % t intervals.")
    return f"selection-{tag(results)}", figure
