"""Figures of the regime: effects at equal time, and mIoU by length of training."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from repro_shared.evidence.figures import caption, line_styles, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.study.results import Results
from seg_kd.method.objectives import PLAIN
from seg_kd.study.regime_claims import MATCHES, arm_of, budgets, compared, data_of, teacher
from seg_kd.study.regime_tables import tag

TITLES = {"camvid": "CamVid", "digits": "digit scenes"}


def _said(results: Results) -> str:
    data = results.sentence
    return (
        f"Points: single seeds ({len(results.seeds)}); bars: 95 % t intervals of the mean. "
        f"{data[0].upper()}{data[1:]}."
    )


def regime_figure(results: Results) -> tuple[str, Figure]:
    """mIoU above plain training at the largest budget: equal time beside equal iterations."""
    study = results.study
    last = budgets(study, "time")[-1]
    names = [n for n in dict.fromkeys(a.config.objective.name for a in compared(study))
             if n != PLAIN.name]  # fmt: skip
    drawing = new_figure(6.4, 0.5 * len(names) + 1.8)
    axes = drawing.add_subplot()
    styles: dict[str, Any] = dict(line_styles(["equal time", "equal iterations"]))
    for number, match in enumerate(MATCHES):
        plain = arm_of(study, PLAIN.name, match, last)
        base = {r.seed: r.metrics["miou"] for r in results.runs(plain)} if plain else {}
        look = {k: v for k, v in styles[f"equal {match}"].items() if k in ("color", "marker")}
        label: str | None = f"equal {match}"
        for place, name in enumerate(names):
            arm = arm_of(study, name, match, last)
            runs = results.runs(arm) if arm else []
            effects = [r.metrics["miou"] - base[r.seed] for r in runs if r.seed in base]
            found, y = interval(effects), place + 0.24 * (number - 0.5)
            if found is None:
                continue
            axes.plot(effects, [y] * len(effects), linestyle="none", alpha=0.45, markersize=3.5,
                      **look)  # fmt: skip
            low = found.mean if found.low is None else found.low
            high = found.mean if found.high is None else found.high
            axes.errorbar([found.mean], [y], xerr=([found.mean - low], [high - found.mean]),
                          capsize=2.5, elinewidth=1, label=label, **look)  # fmt: skip
            label = None
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("mIoU points above plain training")
    where = results.place(TITLES[data_of(study)])
    axes.set_title(f"Objectives at a budget of {last} logit iterations, {where}")
    axes.legend(loc="best")
    caption(drawing, _said(results))
    return f"objectives-{tag(study)}", drawing


def extended_figure(results: Results) -> tuple[str, Figure]:
    """mIoU by time, each point a run with a complete schedule."""
    study = results.study
    lengths = sorted({a.config.budget for a in compared(study) if a.config.match == "time"})
    names = dict.fromkeys(a.config.objective.name for a in compared(study)
                          if a.config.budget == lengths[-1])  # fmt: skip
    styles: dict[str, Any] = dict(line_styles(list(names)))
    drawing = new_figure(6.4, 4.0)
    axes = drawing.add_subplot()
    for number, name in enumerate(names):
        places, means, low, high = [], [], [], []
        for budget in lengths:
            arm = arm_of(study, name, "time", budget)
            values = results.values(arm, "miou") if arm else []
            found = interval(values)
            if found is None:
                continue
            x = budget * 1.05 ** (number - (len(names) - 1) / 2)
            axes.plot([x] * len(values), values, linestyle="none", alpha=0.45, markersize=3.5,
                      color=styles[name]["color"], marker=styles[name]["marker"])  # fmt: skip
            places.append(x)
            means.append(found.mean)
            low.append(found.mean - (found.mean if found.low is None else found.low))
            high.append((found.mean if found.high is None else found.high) - found.mean)
        look = {**styles[name], "label": name}
        axes.errorbar(places, means, yerr=(low, high), capsize=2.5, elinewidth=1, **look)
    best = results.values(teacher(study), "miou")
    if best:
        axes.axhline(best[0], color="0.5", linestyle=":", linewidth=1, label="teacher")
    axes.set_xscale("log")
    axes.set_xticks(lengths, [str(each) for each in lengths])
    axes.minorticks_off()
    axes.set_xlabel("time budget, in iterations of logit distillation")
    axes.set_ylabel("mIoU of scored classes (percent)")
    axes.set_title(f"Longer training on {results.place(TITLES[data_of(study)])}")
    axes.legend(loc="best")
    caption(drawing, _said(results))
    return f"extended-{tag(study)}", drawing
