"""`ofds compare`: what one method gains over another at equal cost in objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from ofds.use.runs import (
    COSTS,
    Run,
    Unit,
    by_seed,
    cost,
    metrics_of,
    read_runs,
    same_seeds,
    unequal,
)
from repro_shared.evidence.claims import MINIMUM_SEEDS
from repro_shared.evidence.statistics import family_intervals, interval
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text


@dataclass(frozen=True)
class Settings:
    """How methods are compared.

    Attributes:
        metric: columns to compare, higher being better; needed where there are several.
        lower: lower is better.
        baseline: method that the others are compared with; by default the first.
        cost: what has to be equal: objects, images, pixels or seconds. The count of objects is
            needed whatever it is.
        tolerance: how far the mean costs may differ, as a share of the larger.
        where: rows to keep, COLUMN=VALUE.
        out: CSV file for the table.
    """

    metric: tuple[str, ...] = ()
    lower: bool = False
    baseline: str | None = None
    cost: Unit = "objects"
    tolerance: float = 0.05
    where: tuple[str, ...] = ()
    out: str | None = None


NOTHING = Settings()


@dataclass(frozen=True)
class Gain:
    """A method against the baseline in one metric.

    Attributes:
        method, metric: their names.
        effects: paired by seed, positive for better.
        ends: 95 % interval, corrected for the family; None for a single seed or a refusal.
        refused: why there is no gain to show; "" if there is.
    """

    method: str
    metric: str
    effects: tuple[float, ...]
    ends: Interval | None
    refused: str

    @property
    def verdict(self) -> str:
        """What follows, in the words of the studies' tables."""
        if self.refused:
            return "refused"
        if self.ends is None or self.ends.low is None or self.ends.high is None:
            return f"no verdict (n < {MINIMUM_SEEDS})"
        if len(self.effects) < MINIMUM_SEEDS:
            return f"no verdict (n < {MINIMUM_SEEDS})"
        word = "supported" if self.ends.low > 0 else "inconclusive"
        return "contradicted" if self.ends.high < 0 else word

    @property
    def detectable(self) -> float | None:
        """The interval's longer half: a smaller gain could hardly have been told from none."""
        ends = self.ends
        if ends is None or ends.low is None or ends.high is None:
            return None
        return max(ends.mean - ends.low, ends.high - ends.mean)


def compare(
    runs: tuple[str, ...], settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = NOTHING
) -> None:
    """Compare methods by paired seeds, at equal cost in objects, with intervals.

    Args:
        runs: tables, CSV or JSON: a row a run with method (else the file's name), seed, metrics,
            and the counts of images, objects, pixels and seconds that it cost.
        settings: how to compare.
    """
    require(0 <= settings.tolerance < 1, "--tolerance", "0 to 1", settings.tolerance)
    if not runs:
        raise UserError("give the tables of runs to compare; see `ofds compare --help`")
    methods = read_runs(runs, settings.where)
    metrics = metrics_of(methods, settings.metric)
    first = settings.baseline or next(iter(methods))
    if first not in methods:
        raise UserError(f"--baseline {first!r}: the methods are {', '.join(methods)}")
    seeded = {name: by_seed(rows) for name, rows in methods.items()}
    if len(seeded) < 2:
        raise UserError(f"there is one method, {first!r}: name another table, or a column `method`")
    gains = paired(seeded, first, metrics, settings)
    if all(gain.refused for gain in gains):
        raise UserError(f"{gains[0].refused}: no gain is shown at unequal cost (--tolerance)")
    found = table(seeded, first, gains, settings)
    if settings.out:
        atomic_write_text(settings.out, found.to_csv())
    print(found.to_terminal(120), end="")


def paired(
    methods: dict[str, dict[int, Run]], first: str, metrics: Sequence[str], settings: Settings
) -> list[Gain]:
    """Gains of all methods but the first, in all metrics, as one family."""
    base, sign = methods[first], -1.0 if settings.lower else 1.0
    names, refused, effects = list[tuple[str, str]](), list[str](), list[tuple[float, ...]]()
    for name, rows in methods.items():
        if name == first:
            continue
        same_seeds(base, rows)
        why = unequal(base, rows, settings.cost, settings.tolerance)
        if settings.cost != "objects":
            unequal(base, rows, "objects", math.inf)  # the counts have to be there
        for metric in metrics:
            names.append((name, metric))
            refused.append(why)
            effects.append(
                tuple(sign * (rows[s].numbers[metric] - base[s].numbers[metric]) for s in base)
            )
    # What is refused keeps its place in the family: leaving it out would be a way to look again.
    used = [() if why else each for why, each in zip(refused, effects, strict=True)]
    ends = family_intervals(used, [0.0] * len(used))
    return [
        Gain(*name, each, end, why)
        for name, each, end, why in zip(names, effects, ends, refused, strict=True)
    ]


def table(
    methods: dict[str, dict[int, Run]], first: str, gains: Sequence[Gain], settings: Settings
) -> Table:
    """A row for each method and metric, with all that it cost."""
    metrics = [*dict.fromkeys(gain.metric for gain in gains)]
    of = {(gain.method, gain.metric): gain for gain in gains}
    rows = list[tuple[Cell, ...]]()
    for metric in metrics:
        for name in (first, *(each for each in methods if each != first)):
            runs = methods[name]
            values = interval([run.numbers[metric] for run in runs.values()])
            gain = of.get((name, metric))
            shown = tuple(cost(runs, unit) for unit in COSTS)
            ends = None if gain is None or gain.refused else gain.ends or _alone(gain)
            rows.append((
                name, metric, *shown, values, ends, gain.detectable if gain else None,
                gain.verdict if gain else "",
            ))  # fmt: skip
    digits = decimals([run.numbers[m] for runs in methods.values() for run in runs.values()
                          for m in metrics])  # fmt: skip
    notes = [
        f"{len(methods[first])} seeds, paired; brackets: 95 % Student t intervals, those of gains "
        "corrected by Holm where there are several.",
        "Detectable: the longer half of the interval of a gain; a smaller one could hardly have "
        "been called.",
        *dict.fromkeys(f"Refused: {gain.refused}." for gain in gains if gain.refused),
    ]
    if len(methods[first]) < MINIMUM_SEEDS:
        notes.append(f"Fewer than {MINIMUM_SEEDS} seeds: no verdict.")
    columns = (
        Column("method"), Column("metric"), Column("images", "", 1), Column("objects", "", 1),
        Column("pixels", "", 0), Column("seconds", "", 0), Column("mean", "", digits),
        Column(f"above {first}", "", digits, signed=True), Column("detectable", "", digits),
        Column("verdict", bold=True),
    )  # fmt: skip
    title = f"Gains over {first} at equal cost in {settings.cost}"
    return Table("compare", title, columns, tuple(rows), tuple(notes))


def _alone(gain: Gain) -> Interval:
    """The gain of a single seed, which has no interval."""
    return Interval(sum(gain.effects) / len(gain.effects), None, None)


def decimals(values: Sequence[float]) -> int:
    """Four digits of the largest value, as far as decimals go."""
    most = max((abs(value) for value in values), default=1.0) or 1.0
    return min(max(3 - math.floor(math.log10(most)), 0), 6)
