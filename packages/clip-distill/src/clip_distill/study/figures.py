"""The figure: accuracy on real images against confounding, beside pictures of both domains."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clip_distill.study.objects import Domain, World, draw, render
from clip_distill.study.scoring import SEEN
from clip_distill.study.stages import Ceiling
from clip_distill.study.tables import sweep, tag
from clip_distill.study.tuned import data_of
from repro_shared.evidence.figures import caption, line_styles, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.study.results import Results

SHOWN = 6  # classes
SEED = 100  # of the pictures


def confounding(results: Results) -> tuple[str, Figure]:
    """A line a loss, every seed's point; the upper pictures are synthetic, the lower ones real."""
    figure = new_figure(8.2, 3.9)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.7, 1))
    axes = figure.add_subplot(grid[0])
    found = sweep(results)
    styles = dict[str, Any](line_styles(list(found)))
    levels = sorted({level for each in found.values() for level in each})
    for number, (name, by_level) in enumerate(found.items()):
        places, means = [], []
        for level, arm in sorted(by_level.items()):
            values = results.values(arm, SEEN)
            end = interval(values)
            if end is None:
                continue
            place = levels.index(level) + 0.06 * (number - len(found) / 2)
            axes.plot([place] * len(values), values, ".", color=styles[name]["color"],
                      markersize=3, alpha=0.5)  # fmt: skip
            if end.low is not None and end.high is not None:
                axes.plot([place] * 2, [end.low, end.high], color=styles[name]["color"],
                          linewidth=1)  # fmt: skip
            places.append(place)
            means.append(end.mean)
        if places:
            axes.plot(places, means, **styles[name], markersize=4)
    for arm in results.study.arms:
        level_line = interval(results.values(arm, SEEN))
        if level_line is not None and (isinstance(arm.config, Ceiling) or arm.name == "stage 1"):
            dashes = "--" if arm.name == "stage 1" else ":"
            axes.axhline(level_line.mean, color="0.4", linewidth=0.8, linestyle=dashes,
                         label=arm.name)  # fmt: skip
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    axes.set_xlabel("confounding of the synthetic images")
    axes.set_ylabel("accuracy on real images (%)")
    axes.legend(fontsize=7)
    pictures = figure.add_subplot(grid[1])
    pictures.imshow(examples(data_of(results.study.data).world), interpolation="nearest")
    pictures.set_axis_off()
    pictures.set_title("synthetic, confounding 1 (above); real (below)", fontsize=8)
    figure.suptitle("What a student of synthetic images knows of real ones")
    seeds = " ".join(map(str, results.seeds)) or "none"
    caption(figure, f"Data: {results.sentence}. Seeds {seeds}; means with 95 % t intervals.")
    return f"{tag(results)}-confounding", figure


def examples(world: World) -> Any:
    """Three pictures of each of some classes from either domain, as one image."""
    rows = []
    domains: tuple[Domain, ...] = ("synthetic", "real")
    for domain in domains:
        scenes = draw(world, domain, 3 * world.classes, SEED)
        images = render(world, scenes)
        for turn in range(3):
            start = turn * world.classes
            rows.append(np.concatenate(list(images[start : start + SHOWN]), axis=1))
    return np.concatenate(rows)
