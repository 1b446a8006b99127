"""The audit page: what was made, what was set apart and why, what it cost, and how it looks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from PIL import Image

from cg_augment.use.audit.reading import Given, Line
from cg_augment.use.audit.style import STYLE
from cg_augment.use.generating.sifting import REASONS
from repro_shared.evidence.html import Child, Element, document, tag
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb

CONFIDENCES = (("teacher", "teacher"), ("student", "student"), ("J", "objective"))
TITLE = "Audit of generated images"


def page(given: Given, limit: int, side: int) -> str:
    """The whole page: no script, no other file."""
    names = list(given.report["counts"])
    sections: list[tuple[str, str, list[Child]]] = [
        ("classes", "Images by class", _classes(given)),
        ("guidance", "What guidance changed", _guidance(given)),
        ("cost", "What an image cost", _cost(given)),
    ]
    for place, name in enumerate(names):
        own = [line for line in given.accepted if line["class"] == name]
        sections.append((f"class-{place}", f"{name}: accepted", _sheet(given, own, limit, side)))
    for reason in REASONS:
        own = [line for line in given.apart if str(line["accepted"]).startswith(f"{reason}:")]
        if own:
            inside = _sheet(given, own, limit, side)
            sections.append((reason.replace(" ", "-"), f"Set apart: {reason}", inside))
    sections.append(("settings", "Settings", _settings(given)))
    links = [tag("a", words, href=f"#{place}") for place, words, _ in sections]
    parts = [
        tag("section", tag("h2", words), *inside, id=place) for place, words, inside in sections
    ]
    head = tag("header", tag("h1", TITLE), *_summary(given), tag("nav", *links))
    return document(TITLE, STYLE, head, tag("main", *parts))


def _summary(given: Given) -> list[Child]:
    report = given.report
    engine, diffusion = report["engine"]["name"], report.get("diffusion", {})
    lines = [
        f"{report['accepted']:,} of {report['images']:,} images accepted, "
        f"{100 * report['set_apart_share']:.1f} % set apart.",
        f"Engine {engine}, {diffusion.get('kind', '')} {diffusion.get('name', '')}.",
        "Confidences are those of the classifiers that guided: they say what was asked for, not "
        "whether an image shows its class. Look at the images, or ask a classifier that had no "
        "part in it.",
    ]
    return [tag("p", line) for line in lines]


def _classes(given: Given) -> list[Child]:
    counts = given.report["counts"]
    rows = [
        tag("tr", tag("td", name), *(_number(mine[each]) for each in ("accepted", *REASONS)))
        for name, mine in counts.items()
    ]
    rules = given.report["rules"]
    train = "compared with" if rules["train_folder"] else "not compared with"
    note = (
        f"Alike: up to {rules['alike']:g} grey levels ({given.report['measure']}). Images were "
        f"{train} training images. Least confidence of the teacher: {rules['least_teacher']:g}."
    )
    columns = ("class", "accepted", *REASONS)
    return [_table(columns, rows), tag("p", note, class_="small")]


def _guidance(given: Given) -> list[Child]:
    """Means before and after, of accepted images."""
    rows = list[Element]()
    for words, key in CONFIDENCES:
        both = [
            (line[f"{key}_before"], line[key])
            for line in given.accepted
            if line.get(f"{key}_before") is not None and line.get(key) is not None
        ]
        if both:
            before, after = (mean(side) for side in zip(*both, strict=True))
            cells = (f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
            rows.append(tag("tr", tag("td", words), *(tag("td", cell) for cell in cells)))
    if not rows:
        return [tag("p", "Not known: no images without guidance were scored.")]
    note = "Means over accepted images; before: the same seeds without guidance."
    columns = ("", "before", "after", "difference")
    return [_table(columns, rows), tag("p", note, class_="small")]


def _cost(given: Given) -> list[Child]:
    every = [*given.accepted, *given.apart]
    seconds = [line["seconds"] for line in every]
    words = {
        "forward": "evaluations of the network, forward", "backward": "the same, backward",
        "decodes": "decodes with both classifiers", "guided": "guided steps, rounds or candidates",
    }  # fmt: skip
    rows = [
        tag("tr", tag("td", words[key]), tag("td", f"{value:,.1f}"))
        for key, value in given.report["mean_per_image"].items()
    ]
    rows.append(tag("tr", tag("td", "seconds"), tag("td", f"{mean(seconds):.3g}")))
    accepted = sum(seconds) / max(len(given.accepted), 1)
    rows.append(tag("tr", tag("td", "seconds for each accepted"), tag("td", f"{accepted:.3g}")))
    return [_table(("mean of an image", ""), rows)]


def _sheet(given: Given, lines: Sequence[Line], limit: int, side: int) -> list[Child]:
    if not lines:
        return [tag("p", "None.")]
    entries = [_entry(given, line, side) for line in lines[:limit]]
    rest = len(lines) - len(entries)
    more = tag("p", f"{rest:,} more are not shown (--limit).") if rest else None
    return [tag("ol", *entries, class_="sheet"), more]


def _entry(given: Given, line: Line, side: int) -> Element:
    """A picture, what both classifiers say of it before and after, and why it is here."""
    key = f"{line['class']}/{line['number']:06d}"
    path, uri, note = given.picture(line), None, ""
    if path is not None:
        try:
            uri = data_uri(path, side)
        except UserError:
            note = "the picture cannot be read"
    shown = tag("img", src=uri, alt=key) if uri else tag("div", "no picture", class_="empty")
    spans = [
        tag("span", f"{words} {_value(line.get(f'{name}_before'))} \u2192 {_value(line[name])}")
        for words, name in CONFIDENCES
        if line.get(name) is not None or line.get(f"{name}_before") is not None
    ]
    why = None if line["accepted"] is True else tag("span", str(line["accepted"]), class_="note")
    stopped = line.get("stopped") or ""
    extra = [note, stopped if line["accepted"] is True else "", f"seed {line['seed']}"]
    if line.get("train_distance") is not None:
        extra.append(f"nearest training image: {line['train_image']}, {line['train_distance']:.1f}")
    return tag(
        "li", shown, tag("b", key), *spans, why,
        tag("span", f"{line['evaluations']} evaluations, {line['seconds']:g} s", class_="soft"),
        *(tag("span", words, class_="soft") for words in extra if words),
    )  # fmt: skip


def data_uri(path: Path, side: int) -> str:
    """A picture in a URI: small ones as they are, larger ones as JPEG of this side.

    Raises:
        UserError: it cannot be read.
    """
    picture = Image.fromarray(read_rgb(path))
    stored = io.BytesIO()
    if max(picture.size) <= 64:
        picture.save(stored, "PNG")
        kind = "png"
    else:
        picture.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=2.0)
        picture.save(stored, "JPEG", quality=80, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(stored.getvalue()).decode()


def _settings(given: Given) -> list[Child]:
    left_out = ("counts", "set_apart", "mean_per_image", "images", "accepted", "set_apart_share")
    rows = [
        tag("tr", tag("td", name), tag("td", text, class_="words"))
        for name, value in given.report.items()
        if name not in left_out and (text := _plain(value))
    ]
    return [_table(("setting", ""), rows)]


def _plain(value: Any) -> str:
    """Nested settings as words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, each in value.items() if (text := _plain(each)))
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "" if value is None else str(value)


def _value(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _number(value: int) -> Element:
    return tag("td", f"{value:,}")


def _table(columns: Sequence[str], rows: Iterable[Element]) -> Element:
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in columns)))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="wide")
