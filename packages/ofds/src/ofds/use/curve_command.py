"""`ofds curve`: metrics by class against cost, with intervals, beside a random control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from scipy.special import stdtrit

from ofds.use.compare_command import MINIMUM_SEEDS, decimals
from ofds.use.runs import (
    COSTS,
    Curves,
    Run,
    Unit,
    by_seed,
    cost,
    metrics_of,
    read_runs,
    same_seeds,
    unequal,
)
from repro_shared.evidence.statistics import family_intervals, interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text, ensure_output_dir

POWER = 0.8


@dataclass(frozen=True)
class Settings:
    """What is drawn.

    Attributes:
        metric: columns, such as one for each class; a panel each, in this order.
        control: the method that all budgets are compared with.
        cost: what stands below the curves and has to be equal.
        tolerance: how far mean costs at a budget may differ, as a share of the larger.
        where: rows to keep, COLUMN=VALUE.
        out: a folder for curve.svg and curve.csv.
    """

    metric: tuple[str, ...] = ()
    control: str = "random"
    cost: Unit = "objects"
    tolerance: float = 0.05
    where: tuple[str, ...] = ()
    out: str = ""


NOTHING = Settings()


def curve(
    runs: tuple[str, ...], settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = NOTHING
) -> None:
    """Draw metrics against cost with intervals, and say what the seeds could have shown.

    Args:
        runs: tables, CSV or JSON: a row a run with method, seed, budget (what was planned), the
            metrics, and the counts of images, objects, pixels and seconds that it cost.
        settings: what to draw.
    """
    if not settings.out:
        raise UserError("--out is missing; see `ofds curve --help`")
    require(0 <= settings.tolerance < 1, "--tolerance", "0 to 1", settings.tolerance)
    if not runs:
        raise UserError("give the tables of runs; see `ofds curve --help`")
    methods = read_runs(runs, settings.where)
    metrics = metrics_of(methods, settings.metric)
    curves = by_budget(methods)
    if settings.control not in curves:
        raise UserError(f"--control {settings.control!r}: the methods are {', '.join(methods)}")
    found = table(curves, metrics, settings)
    from ofds.use.curve_figure import figure, save_figure  # takes a second to import

    drawing = figure(curves, metrics, settings.control, settings.cost)
    folder = ensure_output_dir(settings.out)
    atomic_write_text(folder / "curve.csv", found.to_csv())
    path = save_figure(drawing, folder / "curve")
    print(found.to_terminal(120), end="")
    print(f"written: {Path(path)}, {folder / 'curve.csv'}")


def by_budget(methods: Mapping[str, Sequence[Run]]) -> Curves:
    """Runs by method, budget and seed; UserError for one without a budget."""
    found: Curves = {}
    for name, rows in methods.items():
        apart = dict[float, list[Run]]()
        for run in rows:
            if "budget" not in run.numbers:
                raise UserError(f"{run.source}: no number in column 'budget', the planned cost")
            apart.setdefault(run.numbers["budget"], []).append(run)
        found[name] = {budget: by_seed(apart[budget]) for budget in sorted(apart)}
    return found


def table(curves: Curves, metrics: Sequence[str], settings: Settings) -> Table:
    """A row for each metric, budget and method: its mean, its gain, and what could be shown."""
    control = curves[settings.control]
    keys, refused, effects = list[tuple[str, float, str]](), list[str](), list[list[float]]()
    for metric in metrics:
        for name, budgets in curves.items():
            for budget, rows in budgets.items() if name != settings.control else ():
                if budget not in control:
                    raise UserError(f"{name!r} has budget {budget:g}, {settings.control!r} has not")
                same_seeds(control[budget], rows)
                keys.append((metric, budget, name))
                refused.append(unequal(control[budget], rows, settings.cost, settings.tolerance))
                effects.append([
                    run.numbers[metric] - control[budget][seed].numbers[metric]
                    for seed, run in rows.items()
                ])  # fmt: skip
    used = [() if why else each for why, each in zip(refused, effects, strict=True)]
    ends = dict(zip(keys, family_intervals(used, [0.0] * len(used)), strict=True))
    plain = dict(zip(keys, used, strict=True))
    rows_: list[tuple[Cell, ...]] = []
    for metric in metrics:
        for budget in sorted({b for budgets in curves.values() for b in budgets}):
            for name in (settings.control, *(n for n in curves if n != settings.control)):
                rows = curves[name].get(budget, {})
                if not rows:
                    continue
                key = metric, budget, name
                shown = tuple(cost(rows, unit) for unit in COSTS)
                values = interval([run.numbers[metric] for run in rows.values()])
                rows_.append((
                    metric, budget, name, len(rows), *shown, values, ends.get(key),
                    *powers(plain.get(key, ())),
                ))  # fmt: skip
    digits = decimals(
        [r.numbers[m] for b in curves.values() for s in b.values() for r in s.values()
         for m in metrics]
    )  # fmt: skip
    columns = (
        Column("metric"), Column("budget"), Column("method"), Column("seeds"),
        Column("images", "", 1), Column("objects", "", 1), Column("pixels", "", 0),
        Column("seconds", "", 0), Column("mean", "", digits),
        Column(f"above {settings.control}", "", digits, signed=True),
        Column("detectable", "", digits), Column("with 80 % power", "", digits),
    )  # fmt: skip
    notes = [
        "Brackets: 95 % Student t intervals; gains are paired by seed and corrected by Holm as one "
        "family.",
        "Detectable: half of the gain's own interval: half of all true gains of this size would "
        "be called. With 80 % power: the true gain of which four in five would be.",
        *dict.fromkeys(f"Refused, no gain is shown: {why}." for why in refused if why),
    ]
    if any(len(rows) < MINIMUM_SEEDS for budgets in curves.values() for rows in budgets.values()):
        notes.append(f"Fewer than {MINIMUM_SEEDS} seeds: intervals are no verdict.")
    title = f"Metrics by cost in {settings.cost}, beside {settings.control}"
    return Table("curve", title, columns, tuple(rows_), tuple(notes))


def powers(effects: Sequence[float]) -> tuple[float | None, float | None]:
    """The smallest true gain that these seeds could show: half of the time, and four in five."""
    n = len(effects)
    if n < 2:
        return None, None
    error = float(np.std(effects, ddof=1)) / math.sqrt(n)
    half, more = (float(stdtrit(n - 1, level)) for level in (0.975, POWER))
    return half * error, (half + more) * error
