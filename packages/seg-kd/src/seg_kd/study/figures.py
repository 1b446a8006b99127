"""mIoU against budget: means with intervals, every seed a point."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from repro_shared.evidence.figures import caption, line_styles, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.study.results import Results
from seg_kd.method.objectives import PLAIN
from seg_kd.study.arms import (
    WORDS,
    budgets,
    objectives,
    place,
    students,
    tag,
    teacher,
    untrained,
)
from seg_kd.study.calibration import drifted

APART = 1.05  # markers of different objectives at one budget, so that points stay readable


def equal_time_figure(results: Results) -> tuple[str, Figure]:
    """One line an objective; what lies far above is said below."""
    study = results.study
    names = [objective.name for objective in objectives(study)]
    styles: dict[str, Any] = dict(line_styles(names))
    drawing = new_figure(6.4, 4.0)
    axes = drawing.add_subplot()
    for number, name in enumerate(names):
        look = {**styles[name], "label": WORDS.get(name, name)}
        means, low, high, places = [], [], [], []
        for budget in budgets(study, "time"):
            arm = next(
                a for a in students(study, "time", budget)
                if a.config.objective.name == name and not untrained(a)
            )  # fmt: skip
            values = results.values(arm, "miou")
            found = interval(values)
            if found is None:
                continue
            x = budget * APART ** (number - (len(names) - 1) / 2)
            axes.plot([x] * len(values), values, linestyle="none", alpha=0.45, markersize=3.5,
                      color=look["color"], marker=look["marker"])  # fmt: skip
            places.append(x)
            means.append(found.mean)
            low.append(found.mean - (found.mean if found.low is None else found.low))
            high.append((found.mean if found.high is None else found.high) - found.mean)
        axes.errorbar(places, means, yerr=(low, high), capsize=2.5, elinewidth=1, **look)
    ticks = budgets(study, "time")
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(budget) for budget in ticks])
    axes.minorticks_off()
    axes.set_xlabel("time budget, in iterations of logit distillation")
    axes.set_ylabel("mIoU (percent)")
    refused = " (refused: step costs moved)" if drifted(results.facts) else ""
    axes.set_title(f"Students at equal time on {place(results)}{refused}")
    axes.legend(loc="upper left")
    caption(drawing, " ".join([*_below(results), *_elsewhere(results)]))
    return f"equal-time-{tag(study)}", drawing


def _below(results: Results) -> list[str]:
    """What points and bars are, and of which pictures."""
    data = results.sentence
    return [
        f"Points: single seeds ({len(results.seeds)}); bars: 95 % t intervals of the mean.",
        f"{data[0].upper()}{data[1:]}.",
    ]


def _elsewhere(results: Results) -> list[str]:
    """What lies far above the axes: the teacher, and plain training for longer."""
    study, said = results.study, []
    best = results.values(teacher(study), "miou")
    if best:
        said.append(f"The teacher has {best[0]:.1f} percent.")
    last = budgets(study, "time")[-1]
    for arm in students(study, "time"):
        values = results.values(arm, "miou")
        if arm.control and arm.config.objective.name == PLAIN.name and values:
            times, mean = arm.config.budget // last, sum(values) / len(values)
            said.append(f"Plain training for {times} times the last budget reaches {mean:.1f}.")
    return said
