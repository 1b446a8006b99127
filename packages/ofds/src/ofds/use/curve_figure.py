"""The picture of `ofds curve`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from ofds.use.runs import Curves, Run, Unit, cost
from repro_shared.evidence.figures import (
    caption,
    house_style,
    line_styles,
    new_figure,
    save_figure,
)
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError

__all__ = ["figure", "save_figure"]

ACROSS = 3  # panels in a row


def figure(curves: Curves, metrics: Sequence[str], control: str, unit: Unit) -> Figure:
    """A panel for each metric: means with intervals over cost, every seed a point."""
    names = [control, *(name for name in curves if name != control)]
    try:
        styles = line_styles(names)
    except ValueError as error:
        raise UserError(f"{error}: choose some by --where method=NAME method=NAME") from None
    wide = min(ACROSS, len(metrics))
    high = math.ceil(len(metrics) / wide)
    drawing = new_figure(2.2 + 2.6 * wide, 0.9 + 2.3 * high)
    seeds = sorted({len(rows) for budgets in curves.values() for rows in budgets.values()})
    with house_style():
        panels = drawing.subplots(high, wide, squeeze=False).flat
        for metric, axes in zip(metrics, panels, strict=False):
            for name in names:
                style = styles[name]
                look = {key: style[key] for key in ("color", "marker")}
                found = _points(curves[name], metric, unit)
                x, means = [p[0] for p in found], [p[1].mean for p in found]
                reach = [[p[1].mean - _end(p[1].low, p[1]) for p in found],
                         [_end(p[1].high, p[1]) - p[1].mean for p in found]]  # fmt: skip
                line = "--" if name == control else "-"
                axes.errorbar(x, means, yerr=reach, capsize=2.5, linestyle=line, **style)
                for place, _, values in found:
                    axes.plot([place] * len(values), values, linestyle="none", alpha=0.35,
                              markersize=2.5, **look)  # fmt: skip
            axes.set_title(metric)
            axes.set_xlabel(f"annotated {unit}")
        for axes in panels:  # that no metric is left for
            axes.set_axis_off()
        drawing.axes[0].legend(loc="best", fontsize=7)
        caption(
            drawing,
            f"Means over {' or '.join(map(str, seeds))} seeds with 95 % t intervals, each by "
            f"itself; small points are seeds. Dashed: {control}.",
        )
    return drawing


def _points(
    budgets: Mapping[float, dict[int, Run]], metric: str, unit: Unit
) -> list[tuple[float, Interval, list[float]]]:
    """Mean cost, mean metric with its interval, and the seeds' values at each budget."""
    found = list[tuple[float, Interval, list[float]]]()
    for rows in budgets.values():
        values = [run.numbers[metric] for run in rows.values()]
        place, ends = cost(rows, unit), interval(values)
        if place is not None and ends is not None:
            found.append((place, ends, values))
    return sorted(found, key=lambda each: each[0])


def _end(value: float | None, ends: Interval) -> float:
    return ends.mean if value is None else value
