"""Small pictures inside the page, with boxes over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image as Picture

from ofds.use.audit.charts import BLUE, GREEN, ORANGE
from ofds.use.photos import locate
from repro_shared.evidence.html import Element, tag
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb

MOST_BYTES = 9_500  # of a picture: a thousand are 13 MB of page
QUALITIES = (80, 65, 50, 35, 20, 8)
Box = tuple[float, float, float, float]


def data_uri(folder: str | Path, name: str, side: int) -> tuple[str, tuple[int, int]]:
    """A picture as JPEG in a data URI, and its width and height before it was made small.

    Args:
        folder: that the name lies in.
        name: of the image.
        side: longest side of the small one in pixels.

    Raises:
        UserError: it cannot be read.
    """
    if "\0" in name:
        raise UserError(f"{folder}/{name}: no file can have this name")
    picture = Picture.fromarray(read_rgb(locate(folder, name)))
    size = picture.size
    picture.thumbnail((side, side), Picture.Resampling.BOX, reducing_gap=2.0)
    for quality in QUALITIES:
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=quality, optimize=True)
        if stored.tell() <= MOST_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode(), size


def framed(
    size: tuple[float, float],
    uri: str | None,
    label: str,
    cause: Box | None,
    others: Iterable[Box] = (),
    true: Iterable[Box] = (),
) -> Element:
    """A picture, or its outline where there is none, with boxes in the image's own pixels.

    Args:
        size: width and height of the image.
        uri: of the picture.
        label: what it shows, in words.
        cause: the box that it was chosen for: solid and thick.
        others: other proposals: dashed. true: annotated objects: dotted.
    """
    width, height = size
    ground = tag("rect", x=0, y=0, width=width, height=height, fill="#ececec")
    if uri:
        ground = tag("image", href=uri, width=width, height=height, preserveAspectRatio="none")
    boxes = [_rect(box, BLUE, 1.5, "5 3") for box in others]
    boxes += [_rect(box, GREEN, 2, "1.5 2.5") for box in true]
    if cause:
        boxes += [_rect(cause, "#fff", 5), _rect(cause, ORANGE, 3)]
    view = f"0 0 {width:g} {height:g}"
    return tag("svg", ground, *boxes, viewBox=view, role="img", aria_label=label)


def _rect(box: Box, colour: str, stroke: float, dashes: str | None = None) -> Element:
    x, y, width, height = box
    return tag(
        "rect", x=x, y=y, width=width, height=height, fill="none", stroke=colour,
        stroke_width=stroke, stroke_dasharray=dashes, vector_effect="non-scaling-stroke",
    )  # fmt: skip
