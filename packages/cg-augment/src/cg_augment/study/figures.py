"""The figure: worst-group accuracy by row, beside generated images with both confidences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cg_augment.study.gallery import Shown, shown
from cg_augment.study.image_tables import shown_rows
from cg_augment.study.stages import Teach
from repro_shared.evidence.figures import PALETTE, caption, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.study.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURED = {"six_grounds": ("spurious-map", "spurious mAUC, as average precision (%)")}
"""What a study shows, where it is not the worst group's accuracy."""


def by_row(results: Results) -> tuple[str, Figure]:
    """A line a row, every seed a point, the mean with its interval."""
    metric, words = MEASURED.get(results.study.name, ("worst-group", "worst-group accuracy (%)"))
    images = shown() if results.study.name == "shapes_on_grounds" else None
    figure = new_figure(9.6 if images is not None else 6.4, 5.0)
    ratios = (1.2, 1.0) if images is not None else (1.0,)
    grid = figure.add_gridspec(1, len(ratios), width_ratios=ratios)
    axes = figure.add_subplot(grid[0])
    arms = shown_rows(results)
    for place, arm in enumerate(arms):
        values = results.values(arm, metric)
        found = interval(values)
        if found is None:
            continue
        colour = _colour(arm.name, isinstance(arm.config, Teach))
        axes.plot(values, [place] * len(values), ".", color=colour, alpha=0.5, markersize=5)
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place] * 2, color=colour, linewidth=1.2)
        axes.plot([found.mean], [place], "|", color=colour, markersize=9)
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms], fontsize=7)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel(words)
    if images is not None:
        _images(figure.add_subplot(grid[1]), images)
    figure.suptitle("What students make of grounds that their training set lacks")
    seeds = " ".join(map(str, results.seeds)) or "none"
    said = f"Data: {results.sentence}. Seeds {seeds}; means with 95 % t intervals."
    if images is not None:
        said += f" Images: seed {images.seed}, one noise a column."
    caption(figure, said)
    return results.study.name.replace("_", "-"), figure


def _images(axes: Any, images: Shown) -> None:
    """Ways in rows, noises in columns; below each image what both classifiers say."""
    ways, count, height, width = images.pixels.shape[:4]
    step = height + 14
    for way in range(ways):
        top = way * step
        for column in range(count):
            left = column * (width + 4)
            axes.imshow(images.pixels[way, column], extent=(left, left + width, top + height, top),
                        interpolation="nearest")  # fmt: skip
            confidences = (images.teacher[way, column], images.student[way, column])
            said = " / ".join(f"{100 * float(value):.0f}" for value in confidences)
            axes.text(left + width / 2, top + height + 1, said, fontsize=6, ha="center", va="top")
        axes.text(-2, top + height / 2, images.ways[way].replace(", ", "\n"), fontsize=7,
                  ha="right", va="center")  # fmt: skip
    axes.set_xlim(0, count * (width + 4))
    axes.set_ylim(ways * step, 0)
    axes.set_axis_off()
    axes.set_title("confidence in the class (%): teacher / biased student", fontsize=8)


def _colour(name: str, taught: bool) -> str:
    if taught or name.startswith("oracle"):
        return "#444444"
    return PALETTE[1] if name.startswith("ConfiG") else PALETTE[0]
