"""The contact sheet: chosen images in order, with the boxes that they were chosen for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ofds.use.audit.charts import BLUE, GREEN, ORANGE, key
from ofds.use.audit.inputs import Inputs
from ofds.use.audit.thumbnails import Box, data_uri, framed
from ofds.use.dataset import Image, Objects
from repro_shared.evidence.html import Child, Element, tag
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress

PAIRS = 40  # of near duplicates that are shown as pictures


def sheet(given: Inputs) -> list[Child]:
    """A key, and an entry for each image up to the limit."""
    images = given.selection.images[: given.request.limit]
    boxes = _by_image(given.proposals)
    true = _by_image(given.truth.objects) if given.truth else {}
    entries = list[Element]()
    with Progress(len(images), "images shown") as progress:
        for place, entry in zip(given.places.tolist(), images, strict=False):
            image = given.dataset.images[place]
            own = [box for box, _ in boxes.get(place, [])]
            known = [box for box, _ in true.get(place, [])]
            entries.append(_entry(given, image, entry, own, known))
            progress.update(len(entries))
    rest = len(given.selection.images) - len(images)
    more = tag("p", f"{rest:,} more are chosen and not shown (--limit).") if rest else None
    return [_key(given), tag("ol", *entries, class_="sheet"), more]


def left_aside(given: Inputs) -> list[Child]:
    """Images that nearly repeat a chosen or annotated one, beside that one."""
    found = given.selection.header.get("limits", {}).get("near_duplicates")
    if found is None:
        hint = "exact copies by --folder, others by --near-duplicates of `ofds select`"
        return [tag("p", f"None is recorded; they are looked for: {hint}.")]
    pairs, entries = found["skipped"], list[Element]()
    names = {image.name: image for image in given.dataset.images}
    for each in pairs[: given.request.limit]:
        sides = (each["like"], each["name"]) if len(entries) < PAIRS else ()
        shown = [_plain(given, names[name]) for name in sides if name in names]
        pair = tag("div", *shown, class_="pair") if shown else None
        same = "the same" if each["cosine"] >= 1 else f"cosine {each['cosine']:.3f}"
        text = tag("span", tag("b", each["name"]), f" is like {each['like']} ({same})")
        entries.append(tag("li", pair, text))
    rest = len(pairs) - len(entries)
    many = f"{len(pairs):,} images are like a chosen or annotated one and were left aside."
    more = tag("p", f"{rest:,} more are not shown (--limit).") if rest else None
    return [tag("p", many), tag("ol", *entries, class_="sheet") if entries else None, more]


def _plain(given: Inputs, image: Image) -> Element:
    """A picture without boxes."""
    uri, size = None, (image.width or 4, image.height or 3)
    if given.request.folder:
        with suppress(UserError):
            uri, _ = data_uri(given.request.folder, image.name, given.request.side)
    return framed(size, uri, image.name, None)


def _by_image(objects: Objects) -> dict[int, list[tuple[Box, int]]]:
    found = dict[int, list[tuple[Box, int]]]()
    for place in np.flatnonzero(~objects.crowd):
        x, y, width, height = objects.box[place].tolist()
        row = (x, y, width, height), int(objects.label[place])
        found.setdefault(int(objects.image[place]), []).append(row)
    return found


def _key(given: Inputs) -> Element:
    def line(words: str, colour: str, width: float, dashes: str | None = None) -> Element:
        stroke = tag("line", x1=0, x2=24, y1=6, y2=6, stroke=colour, stroke_width=width,
                     stroke_dasharray=dashes)  # fmt: skip
        return key(words, stroke)

    words = [line("what it was chosen for", ORANGE, 4), line("other proposals", BLUE, 2, "5 3")]
    if given.truth:
        words.append(line("annotated", GREEN, 3, "2 2.5"))
    return tag("p", *words)


def _entry(
    given: Inputs, image: Image, entry: Mapping[str, Any], own: list[Box], true: list[Box]
) -> Element:
    notes, uri = list[str](), None
    size: tuple[float, float] = (image.width, image.height)
    if given.request.folder:
        try:
            uri, real = data_uri(given.request.folder, image.name, given.request.side)
            if size not in ((0, 0), real):
                notes.append(
                    f"the file has {real[0]} x {real[1]} pixels, not {size[0]} x {size[1]}"
                )
            size = size if image.width else real
        except UserError as error:
            notes.append(f"no picture: {_reason(error, image.name)}")
    cause = _box(entry["object"]["box"]) if entry.get("object") else None
    others = [box for box in own if not cause or not np.allclose(box, cause, atol=1e-3)]
    if not image.width and not uri:
        size = _reach([*own, *true])
    why = _why(entry, "sample" in given.selection.header)
    picture = framed(size, uri, f"{image.name}: {why}", cause, others, true)
    return tag(
        "li",
        picture,
        tag("b", f"{entry['rank']}. {image.name}"),
        tag("span", why),
        tag("span", _cost(entry), class_="soft"),
        *(tag("span", line, class_="soft") for line in _contents(entry)),
        *(tag("span", note, class_="note") for note in notes),
    )


def _why(entry: Mapping[str, Any], sample: bool) -> str:
    if entry.get("class") is None:
        return "drawn at random" if sample else "required"
    score = f", score {entry['object']['score']:g}" if entry.get("object") else ""
    level = f" of level {entry['level']}" if entry.get("level", 1) > 1 else ""
    return f"for {entry['class']}, cluster {entry['cluster']}{level}{score}"


def _cost(entry: Mapping[str, Any]) -> str:
    return f"cost {entry['cost']:,g}, together {entry['cumulative']:,g}"


def _contents(entry: Mapping[str, Any]) -> list[str]:
    """What is proposed on it, and which clusters it covers first."""
    lines = []
    if objects := entry.get("objects"):
        lines.append("holds " + ", ".join(f"{many} {name}" for name, many in objects.items()))
    if covers := entry.get("covers"):
        listed = ", ".join(
            f"{name} {' '.join(map(str, clusters))}" for name, clusters in covers.items()
        )
        lines.append(f"covers first: {listed}")
    return lines


def _box(values: Sequence[float]) -> Box:
    x, y, width, height = map(float, values)
    return x, y, width, height


def _reach(boxes: Sequence[Box]) -> tuple[float, float]:
    """A size that holds all boxes."""
    width = max((x + w for x, _, w, _ in boxes), default=1.0)
    return width, max((y + h for _, y, _, h in boxes), default=1.0)


def _reason(error: UserError, name: str) -> str:
    """An error without the path before it."""
    return str(error).rpartition(f"{name}: ")[2]
