"""Figures of the studies with detectors."""

from __future__ import annotations

from matplotlib.figure import Figure

from ofds.study.autolabel_tables import people, rate
from ofds.study.detection_tables import paired, random_of, selections, tag
from repro_shared.evidence.figures import PALETTE, caption, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.study.results import Results


def gains(results: Results) -> tuple[str, Figure]:
    """AP50 over random images of every selector, by budget in objects."""
    arms = [arm for arm in selections(results) if random_of(results, arm) not in (None, arm)]
    arms = [arm for arm in arms if arm.config.budget.unit == "objects"]
    amounts = sorted({arm.config.budget.amount for arm in arms})
    names = list(dict.fromkeys(arm.config.selector for arm in arms))[::-1]
    figure = new_figure(7.0, 1.4 + 0.26 * len(names))
    axes = figure.subplots(1, len(amounts), sharey=True, squeeze=False)[0]
    for panel, amount in zip(axes, amounts, strict=True):
        for arm in arms:
            rival = random_of(results, arm)
            if arm.config.budget.amount != amount or rival is None:
                continue
            values, place = paired(results, arm, rival), names.index(arm.config.selector)
            panel.plot(values, [place] * len(values), ".", color="0.7", markersize=3)
            found = interval(values)
            if found is not None and found.low is not None:
                panel.plot([found.low, found.high], [place, place], color="C0", linewidth=2)
                panel.plot(found.mean, place, "o", color="C0")
        panel.axvline(0, color="0.4", linewidth=0.8)
        panel.set_title(f"{amount:g} objects")
        panel.set_xlabel("AP50 over random images (points)")
    axes[0].set_yticks(range(len(names)), names)
    figure.suptitle("What a selector gains at equal cost in objects")
    caption(figure, f"Data: {results.sentence}. {_seeds(results)}; means with 95 % t intervals.")
    return tag(results), figure


def exchange(results: Results) -> tuple[str, Figure]:
    """AP50 by the share of people's labels, and where autolabels alone lie on that curve."""
    figure = new_figure(7.0, 3.8)
    axes = figure.subplots(1, 2, sharey=True)
    for panel, complexity in zip(axes, ("simple", "complex"), strict=True):
        curves = {"people's labels only": people(results, complexity)}
        for form, words in (("pre-trained", "autolabels, then people's"), ("joint", "joint")):
            start = f"{complexity}: {form}, "
            found = [arm for arm in selections(results) if arm.name.startswith(start)]
            curves[words] = found
        for (words, arms), colour in zip(curves.items(), PALETTE, strict=False):
            means = [(arm.config.share, interval(results.values(arm, "ap50"))) for arm in arms]
            known = [(100 * share, each) for share, each in means if each is not None]
            panel.plot(
                [share for share, _ in known], [each.mean for _, each in known], "o-",
                color=colour, label=words, markersize=4,
            )  # fmt: skip
            for share, each in known:
                if each.low is not None:
                    panel.plot([share, share], [each.low, each.high], color=colour, linewidth=1)
        alone = interval(results.values(results.study.arm(f"{complexity}-autolabels-only"), "ap50"))
        worth = rate(results, complexity)
        if alone is not None and worth.interval is not None:
            panel.axhline(alone.mean, color="0.3", linestyle="--", label="autolabels only")
            panel.axvline(worth.interval.mean, color="0.3", linestyle=":")
            outside = worth.below + worth.above
            also = f" ({outside} of {len(worth.shares)} seeds outside)" if outside else ""
            panel.set_title(f"{complexity}: worth {worth.words}{also}")
        else:
            panel.set_title(complexity)
        panel.set_xscale("log")
        panel.set_xticks([5, 10, 20, 40, 100], ["5", "10", "20", "40", "100"])
        panel.minorticks_off()
        panel.set_xlabel("objects labelled by people (% of the pool)")
    axes[0].set_ylabel("AP50 (%)")
    axes[0].legend(fontsize=7)
    figure.suptitle("What autolabels are worth in people's labels")
    caption(figure, f"Data: {results.sentence}. {_seeds(results)}; means with 95 % t intervals.")
    return tag(results), figure


def _seeds(results: Results) -> str:
    """How many; of how few to how many, while a study is not complete."""
    counts = [len(results.runs(arm)) for arm in selections(results)]
    most, least = max(counts, default=0), min(filter(None, counts), default=0)
    many = f"{most} seed{'s' * (most != 1)}"
    return many if least == most else f"{least} to {many}"
