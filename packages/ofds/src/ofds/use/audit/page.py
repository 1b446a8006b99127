"""The audit page: what was chosen, why, for how much, and what is covered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ofds.use.audit.charts import BLUE, GREY, ORANGE, bar, curves, key, scatter
from ofds.use.audit.inputs import Inputs
from ofds.use.audit.sheet import left_aside, sheet
from ofds.use.audit.style import STYLE
from ofds.use.limits import lines as limit_lines
from repro_shared.evidence.html import Child, Element, document, tag

UNITS = ("objects", "pixels", "seconds")


def page(given: Inputs) -> str:
    """The whole page."""
    head = given.selection.header
    sample = "sample" in head
    title = "Audit of a random sample" if sample else "Audit of a selection"
    sections = [
        ("classes", "Classes in pool, selection and quota", _classes(given)),
        ("coverage", "Coverage of each minimum", _coverage(given)),
        ("cost", "Predicted and true cost", _cost(given)),
        ("images", "Chosen images, in order", sheet(given)),
        ("like", "Near duplicates, left aside", left_aside(given)),
        ("repairs", "Left out and put right", _repairs(given)),
    ]
    links = [tag("a", words, href=f"#{name}") for name, words, _ in sections]
    parts = [tag("section", tag("h2", words), *inside, id=name) for name, words, inside in sections]
    return document(
        title, STYLE, tag("header", tag("h1", title), *_summary(given), tag("nav", *links)),
        tag("main", *parts), _footer(head),
    )  # fmt: skip


def _summary(given: Inputs) -> list[Child]:
    head, budget = given.selection.header, given.selection.header["budget"]
    predicted = ", ".join(f"{value:,.0f} {unit}" for unit, value in head["predicted"].items())
    spent, amount, unit = budget["spent"], budget["amount"], budget["unit"]
    lines = [
        f"{len(given.selection.images):,} of {len(given.dataset.images):,} images. Cost: "
        f"{spent:,g} of {amount:,g} {unit} ({budget['costs']}).",
        f"Predicted from the proposals: {predicted}.",
    ]
    if "sample" in head:
        lines.append("Drawn at random, not chosen: it has no quotas and no minima.")
    else:
        counted = head["contract"].get("found", "on proposals")
        lines.append(f"Minima, {counted}: {head['contract']['status']}.")
    notes = [*head["contract"]["reasons"], *limit_lines(head.get("limits", {}))]
    items = [tag("li", note) for note in notes]
    return [*(tag("p", line) for line in lines), tag("ul", *items) if items else None]


def _classes(given: Inputs) -> list[Child]:
    """Shares of each class in the pool's proposals, the selection's, and the quotas."""
    classes = given.selection.header["classes"]
    pool = np.array([each["proposals"] for each in classes], np.float64)
    chosen = given.on_chosen(given.proposals).astype(np.float64)
    quota = np.array([each["quota"] for each in classes], np.float64)
    shares = [each / max(each.sum(), 1e-12) for each in (pool, chosen, quota)]
    most = max(float(max(each.max(initial=0) for each in shares)), 1e-12)
    rows, spent = [], dict[str, float]()
    for image in given.selection.images:
        spent[image["class"]] = spent.get(image["class"], 0) + image["cost"]
    for c, each in enumerate(classes):
        ends = [float(share[c]) for share in shares]
        mark = ends[2] / most if quota.sum() else None
        bars = tag("td", bar(ends[0] / most, GREY), bar(ends[1] / most, BLUE, mark), class_="bars")
        cells = [
            f"{pool[c]:,.0f}", f"{100 * ends[0]:.1f}", f"{chosen[c]:,.0f}", f"{100 * ends[1]:.1f}",
            *((f"{quota[c]:,.0f}", f"{spent.get(each['name'], 0):,.0f}") if quota.sum() else "--"),
        ]  # fmt: skip
        rows.append(tag("tr", tag("td", each["name"]), bars, *(tag("td", x) for x in cells)))
    keys = (
        key("share of the pool's objects", _block(0, 24, GREY)),
        key("of the chosen", _block(0, 24, BLUE)),
        key("quota's share of the budget", _block(11, 2, "#000")),
    )
    unit = given.selection.header["budget"]["unit"]
    columns = ("class", "shares", "pool", "%", "chosen", "%", f"quota ({unit})", "spent on it")
    caption = (
        "Proposed objects of each class; bars begin at 0 and share one scale. Spent on a class: "
        "the cost of images that were chosen for it, whatever else they hold."
    )
    notes = [tag("p", *keys), tag("p", caption, class_="small")]
    return [*notes, _table(columns, rows)]


def _block(left: int, width: int, colour: str) -> Element:
    return tag("rect", x=left, y=1, width=width, height=10, fill=colour)


def _coverage(given: Inputs) -> list[Child]:
    """Minima against what is proposed, annotated and expected."""
    head, annotated = given.selection.header, given.annotated
    counted = head["contract"].get("found")
    columns = ["class", "minimum", "found" if counted else "proposed", "met"]
    if given.truth:
        columns += ["proposed, annotated images", "true there"]
        truth = given.on_chosen(given.truth.objects, annotated)
        there = given.on_chosen(given.proposals, annotated)
    if given.estimate:
        columns += ["expected", "95 % interval", "met, % sure"]
    rows = []
    expected = {each["name"]: each for each in (given.estimate or {}).get("coverage", ())}
    for c in given.selection.targets(given.names):
        each = head["classes"][c]
        met = each["found"] >= each["minimum"]
        cells: list[Child] = [
            tag("td", each["name"]), _number(each["minimum"]), _number(each["found"]),
            tag("td", "yes" if met else "NO", class_=None if met else "no"),
        ]  # fmt: skip
        if given.truth:
            cells += [_number(there[c]), _number(truth[c])]
        if given.estimate:
            cells += _expected(expected[each["name"]])
        rows.append(tag("tr", *cells))
    notes: list[Child] = []
    if head["annotated"]:
        many = len(head["annotated"])
        how = f"found: {counted}" if counted else "proposed counts them, too"
        notes.append(tag("p", f"{many:,} images were annotated before; {how}."))
    if given.truth:
        some = f"{int(annotated.sum()):,} of {len(annotated):,} chosen images"
        notes.append(tag("p", f"Annotations were given for {some}."))
    return [*notes, _table(columns, rows)]


def _expected(each: dict[str, Any]) -> list[Child]:
    if each["true"] is None:
        return [tag("td", "-"), tag("td", "-"), tag("td", "-")]
    mean, low, high = each["true"]
    sure = "-" if each["met"] is None else f"{100 * each['met']:.0f}"
    return [
        _number(mean),
        tag("td", f"{low:,.0f} to {high:,.0f}", class_="one-line"),
        tag("td", sure),
    ]


def _cost(given: Inputs) -> list[Child]:
    """Totals beside each other, and image by image where the truth is known."""
    budget, annotated = given.selection.header["budget"], given.annotated
    found: list[Child] = []
    columns, rows = ["unit", "predicted, all chosen"], list[Element]()
    if given.truth:
        columns += ["predicted, annotated images", "true there", "true / predicted"]
    if given.estimate:
        columns += ["expected, all chosen", "95 % interval"]
    for unit in UNITS:
        mine = given.costs(given.proposals, unit)
        cells: list[Child] = [tag("td", unit), _number(mine.sum())]
        if given.truth:
            true = given.costs(given.truth.objects, unit)[annotated].sum()
            there = mine[annotated].sum()
            ratio = f"{true / there:.2f}" if there else "-"
            cells += [_number(there), _number(true), tag("td", ratio)]
        if given.estimate:
            cells += _expected({"true": given.estimate["cost"][unit], "met": None})[:2]
        rows.append(tag("tr", *cells))
    found.append(_table(columns, rows))
    unit = budget["unit"] if budget["unit"] in UNITS else "objects"
    predicted = given.costs(given.proposals, unit)
    if given.truth and annotated.any():
        true = given.costs(given.truth.objects, unit)
        found.append(_charts(predicted[annotated], true[annotated], unit, f"true {unit}"))
    elif budget["costs"] == "given":
        own = np.array([image["cost"] for image in given.selection.images], np.float64)
        found.append(_charts(predicted, own, unit, f"given cost ({budget['unit']})"))
    else:
        hint = "True costs are not known: give --labels, or --costs to `ofds select`."
        found.append(tag("p", hint))
    return found


def _charts(predicted: Any, true: Any, unit: str, words: str) -> Element:
    points = [*zip(predicted.tolist(), true.tolist(), strict=True)]
    lines = [
        ("predicted", [0.0, *np.cumsum(predicted).tolist()], BLUE, True),
        (words, [0.0, *np.cumsum(true).tolist()], ORANGE, False),
    ]
    return tag(
        "div",
        tag(
            "figure", scatter(points, f"predicted {unit}", words),
            tag("figcaption", "An image each; on the dashed line both are equal."),
        ),
        tag(
            "figure", curves(lines, "chosen images, in order", "together"),
            tag("figcaption", "Cost of the first images of the list together."),
        ),
        class_="charts",
    )  # fmt: skip


def _repairs(given: Inputs) -> list[Child]:
    head = given.selection.header
    rows = [*head["repairs"], *(row for row in given.repairs.rows() if row not in head["repairs"])]
    if not rows:
        return [tag("p", "Nothing.")]
    cells = [
        tag("tr", tag("td", row["reason"]), _number(row["count"]), tag("td", row["example"]))
        for row in rows
    ]
    return [_table(("what", "how often", "an example"), cells)]


def _footer(head: Any) -> Element:
    plain = {name: value for name, value in head["settings"].items() if name != "classes"}
    settings = ", ".join(f"{name} {value}" for name, value in plain.items())
    prints = ", ".join(f"{name} {value[:12]}" for name, value in head["fingerprints"].items())
    return tag(
        "footer", tag("p", f"ofds {head['ofds']}, method {head['method_version']}; {settings}"),
        tag("p", f"sha256: {prints}"),
    )  # fmt: skip


def _number(value: float) -> Element:
    return tag("td", f"{value:,.0f}")


def _table(columns: Sequence[str], rows: Iterable[Element]) -> Element:
    names = [
        tag("th", name, scope="col", class_="bars" if name == "shares" else None)
        for name in columns
    ]
    head = tag("thead", tag("tr", *names))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="wide")
