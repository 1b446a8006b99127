"""`ofds estimate`: from "on proposals" to what is true, with intervals."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from ofds.method.budget import SECONDS_AN_OBJECT
from ofds.method.objects import Ints
from ofds.use.estimate import Counts, Drawn, Estimate, bounds
from ofds.use.estimate_inputs import Inputs, Request, read
from ofds.use.select_command import number
from ofds.use.selection_file import text_of
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.files import atomic_write_json, sha256_bytes

NOTHING = Request()
FORMAT = 1
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def estimate(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Say how good the proposals are, and what that does to cost and coverage.

    Args:
        request: the pool, its sample and the annotations.
    """
    given = read(request)
    found = estimated(given)
    if request.out:
        atomic_write_json(request.out, found)
    print(report(given, found), end="")


def estimated(given: Inputs) -> dict[str, Any]:
    """All numbers, as they are stored. An interval is [expected, low, high]; null: not known."""
    labels, seed = given.labels, given.request.seed
    rates = {c: Estimate(given.counts(given.drawn, c), (seed, c)) for c in labels}
    form: dict[str, Any] = {
        "format": FORMAT,
        "sample": {
            "images": int(given.drawn.sum()),
            "missing": given.missing,
            "population": int(given.population.sum()),
        },
        "threshold": given.threshold,
        "iou": given.request.iou,
        "classes": [_class(given, c, rates[c]) for c in labels],
    }
    if given.selection:
        form |= _selection(given, rates)
    return form | {"repairs": given.repairs.rows()}


def _drawn(given: Inputs, found: Estimate, label: int, images: Flags) -> Drawn:
    """Numbers of a class on some images; those that are annotated are known."""
    rest = images & ~given.labelled
    known = given.counts(images & given.labelled, label)
    return found.of(known, given.proposed[rest, label], given.room[rest])


def _class(given: Inputs, label: int, found: Estimate) -> dict[str, Any]:
    pool = _drawn(given, found, label, given.population)
    proposed = int(given.proposed[given.population, label].sum())
    seen = found.counts
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = np.where(pool.trues > 0, pool.rights / pool.trues, np.nan)
    if not np.isnan(pool.trues).any():
        recalls = recalls[pool.trues > 0]
    return {
        "name": given.dataset.categories[label].name,
        "sample": {
            "proposed": int(seen.proposed.sum()),
            "right": int(seen.right.sum()),
            "true": int(seen.true.sum()),
        },
        "precision": _triple(_share(pool.right, proposed), pool.rights / max(proposed, 1), 1)
        if proposed
        else None,
        "recall": _triple(_share(pool.right, pool.true), recalls, 1),
        "proposed": proposed,
        "true": _triple(pool.true, pool.trues),
    }


def _selection(given: Inputs, rates: dict[int, Estimate]) -> dict[str, Any]:
    """Cost and coverage of the selection, corrected."""
    assert given.selection
    covered, expected = [], 0.0
    for label, found in rates.items():
        each = given.selection.header["classes"][label]
        expected += _drawn(given, found, label, given.chosen).true
        both = _drawn(given, found, label, given.chosen | given.before)
        unknown = bool(np.isnan(both.trues).any())
        met = float((both.trues >= each["minimum"] - 1e-9).mean())
        covered.append({
            "name": each["name"],
            "minimum": each["minimum"],
            "proposed": int(given.proposed[given.chosen | given.before, label].sum()),
            "true": _triple(both.true, both.trues),
            "met": None if unknown or not each["minimum"] else round(met, 4),
        })  # fmt: skip
    # Of all classes as if they were one, so that images that are crowded, or badly seen, count for
    # all of them together; around the sum of the classes, of which a selection holds other shares.
    whole = _together(given, given.proposed, given.right, given.true)
    expected = whole.true if np.isnan(expected) else expected
    objects = whole.trues * (expected / whole.true) if whole.true else whole.trues
    budget = given.selection.header["budget"]
    second = SECONDS_AN_OBJECT[budget["preset"]]
    looking = budget["looking"] * int(given.chosen.sum())
    pixels = _pixels(given)
    costs = {
        "objects": _triple(expected, objects),
        "pixels": _triple(pixels.true, pixels.trues),
        "seconds": _triple(looking + second * expected, looking + second * objects),
    }
    draws = {"objects": objects, "pixels": pixels.trues, "seconds": looking + second * objects}
    within = None
    if budget["unit"] in draws and not np.isnan(draws[budget["unit"]]).any():
        within = round(float((draws[budget["unit"]] <= budget["amount"] + 1e-9).mean()), 4)
    selection = sha256_bytes(text_of(given.selection).encode())
    return {
        "selection": selection, "coverage": covered, "cost": costs, "within_budget": within,
    }  # fmt: skip


def _pixels(given: Inputs) -> Drawn:
    """True pixels on chosen images: rates as of objects, but none of them is "right"."""
    proposed, true = (column[:, None] for column in given.pixels.T.round().astype(np.int64))
    return _together(given, proposed, np.zeros_like(true), true)


def _together(given: Inputs, *columns: Ints) -> Drawn:
    """On chosen images, of all classes as if they were one; columns as in `Counts`, by class."""
    proposed, right, true = (column.sum(axis=1) for column in columns)

    def counts(images: Flags) -> Counts:
        return Counts(proposed[images], right[images], true[images], np.ones_like(true[images]))

    found = Estimate(counts(given.drawn), (given.request.seed, len(given.dataset.categories)))
    rest = given.chosen & ~given.labelled
    room = np.ones_like(proposed[rest])
    return found.of(counts(given.chosen & given.labelled), proposed[rest], room)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _triple(expected: float, draws: Floats, most: float = np.inf) -> list[float] | None:
    """Expected value and interval for JSON; the interval holds the value. None if not known."""
    low, high = bounds(draws)
    if np.isnan(expected) or np.isnan(low):
        return None
    return [number(each) for each in (expected, min(low, expected), min(max(high, expected), most))]


def report(given: Inputs, found: dict[str, Any]) -> str:
    """What is printed."""
    size = found["sample"]
    tables = [_classes_table(found)]
    lines = [
        "Brackets: 95 % intervals; what is annotated is known, the rest is drawn from the rates on "
        "the sample.",
    ]
    if size["missing"]:
        lines.append(f"{size['missing']} images of the sample are not annotated")
    lines += [f"put right: {line}" for line in given.repairs.lines()]
    if given.selection:
        tables.append(_coverage_table(found))
        lines += _costs(given, found)
        lines.append(
            "Assumed: proposals on chosen images are as good as elsewhere. They may be worse, as "
            "wrong ones help an image to be chosen; annotations of chosen images, given with "
            "--labels, count as they are."
        )
    if given.request.out:
        lines.append(f"written: {given.request.out}")
    return "\n".join([*(table.to_terminal() for table in tables), *lines]) + "\n"


def _classes_table(found: dict[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for each in found["classes"]:
        seen = each["sample"]
        shares = (_percent(each["precision"]), _percent(each["recall"]))
        rows.append((
            each["name"], seen["proposed"], seen["right"], seen["true"], *shares,
            each["proposed"], _interval(each["true"]),
        ))  # fmt: skip
    size = found["sample"]
    title = (
        f"Proposals of score {found['threshold']:g} and more, judged by {size['images']} random "
        f"images of {size['population']} (IoU {found['iou']:g})"
    )
    columns = (
        Column("class"), Column("proposed"), Column("right"), Column("true"),
        Column("precision", "%", 0), Column("recall", "%", 0), Column("proposed in the pool"),
        Column("true in the pool", "", 0),
    )  # fmt: skip
    return Table("estimate", title, columns, tuple(rows))


def _coverage_table(found: dict[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for each in found["coverage"]:
        met = None if each["met"] is None else 100 * each["met"]
        true = _interval(each["true"])
        rows.append((each["name"], each["minimum"], each["proposed"], true, met))
    columns = (
        Column("class"), Column("minimum"), Column("proposed"), Column("true", "", 0),
        Column("met", "% sure", 0),
    )  # fmt: skip
    title = "Coverage on chosen and annotated images, corrected"
    return Table("estimate-coverage", title, columns, tuple(rows))


def _costs(given: Inputs, found: dict[str, Any]) -> list[str]:
    assert given.selection
    head, lines = given.selection.header, list[str]()
    for unit, triple in found["cost"].items():
        predicted = head["predicted"][unit]
        if triple is None:
            lines.append(f"cost in {unit}: predicted {predicted:,.0f}; the sample says nothing")
            continue
        mean, low, high = triple
        lines.append(
            f"cost in {unit}: predicted {predicted:,.0f}, "
            f"expected {mean:,.0f} [{low:,.0f}, {high:,.0f}]"
        )
    budget, sure = head["budget"], found["within_budget"]
    if sure is not None:
        lines.append(f"within {budget['amount']:g} {budget['unit']}: {100 * sure:.0f} % sure")
    return lines


def _percent(triple: list[float] | None) -> Interval | None:
    return Interval(*(100 * each for each in triple)) if triple else None


def _interval(triple: list[float] | None) -> Interval | None:
    return Interval(*triple) if triple else None
