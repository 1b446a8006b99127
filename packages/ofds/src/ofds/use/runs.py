"""Tables of runs that people bring: a row a run, with method, seed, metrics, and what it cost."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ofds.use.coco import read_json
from ofds.use.lists import read_text
from repro_shared.runtime.errors import UserError

METHODS, SEEDS = ("method", "arm", "selector"), ("seed", "repeat")
Unit = Literal["images", "objects", "pixels", "seconds"]
COSTS: tuple[Unit, ...] = get_args(Unit)
AT_BUDGET = re.compile(rf"(.+)/([0-9.]+) ({'|'.join(COSTS)})")


@dataclass(frozen=True)
class Run:
    """A row: the method's name, the seed, and all other columns that are numbers."""

    method: str
    seed: int
    numbers: dict[str, float]
    source: str


Curves = dict[str, dict[float, dict[int, Run]]]  # runs by method, budget and seed


def read_runs(paths: Sequence[str], where: Sequence[str] = ()) -> dict[str, list[Run]]:
    """Runs by method, in the order in which they come.

    Args:
        paths: CSV with a header, JSON (a list of objects), or JSON lines, such as the records of
            `ofds reproduce`. The method stands in a column `method`, `arm` or `selector`, else it
            is the file's name; the seed in `seed` or `repeat`. What lies in an object `metrics`
            counts as columns; `NAME/150 objects` there is NAME at budget 150 with unit objects.
        where: COLUMN=VALUE: other rows are left out; several values of a column may be given.

    Raises:
        UserError: no such file, no seed, nothing left.
    """
    wanted = dict[str, list[str]]()
    for column, value in map(_condition, where):
        wanted.setdefault(column, []).append(value)
    found, stems = dict[str, list[Run]](), [Path(path).stem for path in paths]
    for path, stem in zip(paths, stems, strict=True):
        name = stem if stems.count(stem) == 1 else str(Path(path).with_suffix(""))
        rows = _rows(Path(path))
        for column in wanted:
            if rows and not any(column in row for row in rows):
                raise UserError(f"{path}: no column {column!r} (--where); it has {_names(rows)}")
        for line, row in enumerate(rows, start=1):
            if all(any(_same(row.get(c), v) for v in values) for c, values in wanted.items()):
                run = _run(row, f"{path}, row {line}", name)
                found.setdefault(run.method, []).append(run)
    if not found:
        raise UserError(f"{', '.join(paths)}: no run" + (" is left by --where" if where else ""))
    return found


def metrics_of(runs: dict[str, list[Run]], wanted: Sequence[str]) -> list[str]:
    """Names of the metrics: those wanted, else the only one there is; UserError otherwise."""
    first = next(iter(runs.values()))[0]
    known = [name for name in first.numbers if name not in (*COSTS, "budget")]
    if not wanted and len(known) != 1:
        raise UserError(f"--metric is missing; {first.source} has {', '.join(known) or 'none'}")
    for name in wanted or known:
        for each in (run for rows in runs.values() for run in rows):
            if name not in each.numbers:
                raise UserError(f"{each.source}: no number in column {name!r}")
    return [*dict.fromkeys(wanted or known)]


def by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    """Runs of one method by ascending seed; UserError for a seed that is there twice."""
    found = dict[int, Run]()
    for run in runs:
        if run.seed in found:
            hint = "budgets apart, by --where COLUMN=VALUE"
            raise UserError(f"{run.source}: seed {run.seed} of {run.method!r} again; keep {hint}")
        found[run.seed] = run
    return dict(sorted(found.items()))


def same_seeds(first: dict[int, Run], second: dict[int, Run]) -> None:
    """UserError unless two methods have the same seeds."""
    if first.keys() == second.keys():
        return
    texts = [
        f"{next(iter(each.values())).method!r} has {' '.join(map(str, each))}"
        for each in (first, second)
    ]
    raise UserError(f"seeds do not pair: {', '.join(texts)}")


def cost(runs: dict[int, Run], unit: str) -> float | None:
    """Mean cost of a method's runs in a unit; None if a run does not say."""
    values = [run.numbers.get(unit) for run in runs.values()]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def unequal(first: dict[int, Run], second: dict[int, Run], unit: str, tolerance: float) -> str:
    """Why two methods' costs forbid a comparison; "" if they do not.

    Raises:
        UserError: a run without a cost in this unit.
    """
    for run in (*first.values(), *second.values()):
        if unit not in run.numbers:
            raise UserError(f"{run.source}: no column {unit!r}; no gain is shown without it")
        if run.numbers[unit] <= 0:
            raise UserError(f"{run.source}: {unit} is {run.numbers[unit]:g}, not above 0")
    one, two = cost(first, unit) or 0.0, cost(second, unit) or 0.0
    if abs(one - two) <= tolerance * max(one, two) + 1e-9:
        return ""
    names = [next(iter(each.values())).method for each in (first, second)]
    return f"{unit} differ: {names[1]} {two:,.1f}, {names[0]} {one:,.1f}"


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: Any
    match path.suffix.lower():
        case ".csv":
            reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
            rows = [{k: v for k, v in row.items() if k is not None} for row in reader]
        case ".jsonl":
            try:
                rows = [json.loads(line) for line in read_text(path).split("\n") if line.strip()]
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: no JSON lines ({error})") from None
        case _:
            rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: a list of objects is needed, one for each run")
    return [each for row in rows for each in _flat(row)]


def _flat(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row with its metrics as columns; a row for each budget that they name."""
    metrics = row.get("metrics")
    if not isinstance(metrics, dict):
        return [row]
    # In a record of ours these are of the training, and no cost of annotation.
    training = ("seconds", "samples") if {"key", "samples"} <= row.keys() else ()
    base = {name: value for name, value in row.items() if name not in ("metrics", *training)}
    budgets = dict[tuple[str, ...], dict[str, Any]]()
    for name, value in metrics.items():
        named = AT_BUDGET.fullmatch(name)
        budgets.setdefault(named.groups()[1:] if named else (), {})[named[1] if named else name] = (
            value
        )
    whole = budgets.pop((), {})
    if not budgets:
        return [{**base, **whole}]
    return [
        {**base, **whole, **own, "budget": amount, "unit": unit}
        for (amount, unit), own in budgets.items()
    ]


def _run(row: dict[str, Any], source: str, stem: str) -> Run:
    seeds = [row[name] for name in SEEDS if row.get(name) not in (None, "")]
    seed = _number(seeds[0]) if seeds else None
    if seed is None or not seed.is_integer():
        raise UserError(f"{source}: no whole number in a column `seed` or `repeat`")
    method = next((str(row[name]) for name in METHODS if row.get(name)), stem)
    numbers = dict[str, float]()
    for name, value in row.items():
        number = None if name in SEEDS else _number(value)
        if number is not None:
            numbers[name] = number
    return Run(method, int(seed), numbers, source)


def _number(value: Any) -> float | None:
    try:
        found = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and not isinstance(value, bool) else None


def _condition(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--where {text!r}: give COLUMN=VALUE")
    return column, value


def _same(given: Any, wanted: str) -> bool:
    one, two = _number(given), _number(wanted)
    return str(given) == wanted or (one is not None and one == two)


def _names(rows: list[dict[str, Any]]) -> str:
    return ", ".join(rows[0])
