"""Write what the records of an output folder say: tables and the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repro_shared.evidence.figures import PALETTE, house_style, line_styles, new_figure, save_figure
from repro_shared.evidence.tables import Table, write_tables
from repro_shared.runtime.errors import UserError
from seg_kd.study.plan import arm_name, drifted
from seg_kd.study.report_tables import tables
from seg_kd.study.results import Results, suffix


def figure(results: Results, stem: Path) -> None:
    """mIoU against budget, one line an objective, every seed a point, the teacher a dashed line."""
    recipe = results.recipe
    names = [objective.name for objective in recipe.objectives]
    styles: dict[str, Any] = dict(line_styles(names))
    with house_style():
        drawing = new_figure()
        axes = drawing.add_subplot()
        for place, name in enumerate(names):
            means, budgets = [], []
            for budget in recipe.budgets:
                values = results.values(arm_name(name, "time", budget))
                if not values:
                    continue
                # Apart by a few percent, so that points of different objectives stay readable.
                x = budget * 1.03 ** (place - (len(names) - 1) / 2)
                axes.plot([x] * len(values), values, linestyle="none", alpha=0.45,
                          color=styles[name]["color"], marker=styles[name]["marker"],
                          markersize=3.5)  # fmt: skip
                budgets.append(x)
                means.append(sum(values) / len(values))
            axes.plot(budgets, means, **styles[name])
        longer = results.values(arm_name("plain", "time", recipe.long_budget))
        if longer:
            look = {**styles["plain"], "label": "plain, longer", "fillstyle": "none"}
            axes.plot([recipe.long_budget] * len(longer), longer, linestyle="none", **look)
        teacher = results.values("teacher")
        if teacher:
            axes.axhline(teacher[0], color="#555555", linestyle="--", linewidth=1, label="teacher")
        axes.set_xscale("log")
        ticks = [*recipe.budgets, *([recipe.long_budget] if longer else [])]
        axes.set_xticks(ticks, [str(b) for b in ticks])
        axes.minorticks_off()
        axes.set_xlabel("wall-clock budget in iterations of logit distillation (markers set apart)")
        axes.set_ylabel(f"mIoU on the {recipe.data.test_split} split (percent)")
        refused = ", refused: step costs moved" if drifted(results.plan) else ""
        axes.set_title(f"{recipe.name}: equal wall-clock time{refused}")
        axes.legend(loc="best")
        save_figure(drawing, stem)


def write_report(results: Results, out: Path) -> list[Table]:
    """Write tables and figure below `out`; returns the tables."""
    found = tables(results)
    write_tables(out / "tables", found)
    if len(results.recipe.objectives) <= len(
        PALETTE
    ):  # tuning has more lines than can be told apart
        figure(results, out / "figures" / f"equal-time-{suffix(results.recipe)}")
    return found


def refuse_drift(results: Results) -> None:
    """Stop where the two calibrations disagree.

    Raises:
        UserError: names the objectives whose cost moved, and what to do.
    """
    moved = drifted(results.plan)
    if moved:
        listed = ", ".join(f"{name} by {change:+.0%}" for name, change in moved.items())
        raise UserError(
            f"step costs moved since the plan was made ({listed}): this is no comparison at equal "
            "time; run again with --recalibrate on a quiet machine"
        )
