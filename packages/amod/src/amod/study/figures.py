"""Figures of the routing studies: intervals, every seed's point, and what they are made of."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amod.study.claims import find, of_kind, variants
from amod.study.configs import Converted, Transferred, Variant
from amod.study.tables import base, cost, tag
from repro_shared.evidence.figures import line_styles, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.study.results import Results

SHOWN = (Variant(), Variant(score="cls-row"), *map(Variant, ("random", "l2norm", "linear")))
"""Routers in the figure of the conversion, beside fewer layers."""
APART = 0.004  # of the dense cost, so that markers stay readable
FEWER = {"first": "first layers", "even": "layers, evenly spaced"}


def conversion(results: Results) -> tuple[str, Figure]:
    """Accuracy kept right after conversion, by cost."""
    arms = results.study.arms
    found = variants(arms, Converted)
    lines = {
        shown.words: [v for v in found if v.words == shown.words] for shown in SHOWN
    } | {
        words: [v for v in found if v.layers and v.keep == keep] for keep, words in FEWER.items()
    }  # fmt: skip
    whole = {run.seed: run.metrics["accuracy"] for run in results.runs(base(results))}
    drawing = new_figure(6.8, 4.0)
    axes = drawing.add_subplot()
    for place, (words, style) in enumerate(dict[str, Any](line_styles(list(lines))).items()):
        points = {}
        for variant in lines[words]:
            kept = [
                100 * run.metrics["accuracy"] / whole[run.seed]
                for run in results.runs(find(arms, Converted, variant))
                if whole.get(run.seed)
            ]
            if kept:
                apart = APART * (place - len(lines) / 2)  # routers have one cost
                points[cost(results, variant) + apart] = kept
        _with_intervals(axes, points, style)
    axes.set_xlabel("multiply-accumulates (of the dense model's)")
    axes.set_ylabel("accuracy kept (% of the dense model's)")
    axes.set_title("Converted without training: accuracy kept, by cost")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _underline(drawing, results)
    return f"conversion-{tag(results)}", drawing


def transfer(results: Results) -> tuple[str, Figure]:
    """Accuracy over the steps of transfer."""
    arms = of_kind(results.study.arms, Transferred)
    words = {arm.config.variant.words: arm for arm in arms}
    drawing = new_figure(6.8, 4.0)
    axes = drawing.add_subplot()
    for name, style in dict[str, Any](line_styles(list(words))).items():
        curves = [results.curve(run) for run in results.runs(words[name])]
        if not curves:
            continue
        steps = [float(step or 0) for step in curves[0]["step"]]
        seeds = [[float(point or 0) for point in curve["accuracy"]] for curve in curves]
        ends = [interval(points) for points in zip(*seeds, strict=True)]
        for points in seeds:
            axes.plot(steps, points, color=style["color"], linewidth=0.4, alpha=0.4)
        means = [end.mean for end in ends if end]
        axes.plot(steps, means, **{**style, "markersize": 3}, markevery=4)
        if len(curves) > 1:
            low = [end.low or 0.0 for end in ends if end]
            high = [end.high or 0.0 for end in ends if end]
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.1, linewidth=0)
    axes.set_xlabel("step of transfer")
    axes.set_ylabel("accuracy (%)")
    share = arms[0].config.variant.share
    axes.set_title(f"Transfer to other digits with {share} of the tokens")
    axes.legend(loc="lower right", fontsize="small")
    _underline(drawing, results, " Thin: each seed.")
    return f"transfer-{tag(results)}", drawing


def _with_intervals(axes: Axes, points: dict[float, list[float]], style: dict[str, Any]) -> None:
    """A line through the means with error bars, and every seed's point."""
    ordered = sorted(points)
    ends = [end for end in (interval(points[x]) for x in ordered) if end]
    means = [end.mean for end in ends]
    reach = [
        [0.0 if end.low is None else end.mean - end.low for end in ends],
        [0.0 if end.high is None else end.high - end.mean for end in ends],
    ]
    axes.errorbar(ordered, means, yerr=reach, capsize=2, elinewidth=0.8, **style)
    across = [x for x in ordered for _ in points[x]]
    every = [y for x in ordered for y in points[x]]
    axes.scatter(across, every, s=6, color=style["color"], alpha=0.45, linewidths=0)


def _underline(drawing: Figure, results: Results, further: str = "") -> None:
    """Seeds and data, in a line below."""
    seeds = " ".join(map(str, results.seeds)) or "none"
    drawing.supxlabel(
        f"Data: {results.sentence}.\nSeeds {seeds}; means with 95 % t intervals.{further}",
        fontsize="x-small",
    )
