"""Small charts as inline SVG: they print, and differ by more than their colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from repro_shared.evidence.html import Element, tag

GREY, BLUE, ORANGE, GREEN = "#9a9a9a", "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito's
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 240, 46, 36, 12


def bar(share: float, colour: str, mark: float | None = None) -> Element:
    """A bar for a share of 0 to 1, with a line across where a second one ends."""
    rects = [tag("rect", x=0, y=2, width=max(100 * share, 0.4), height=8, fill=colour)]
    if mark is not None:
        rects.append(tag("rect", x=min(100 * mark, 99), y=0, width=1, height=12, fill="#000"))
    return tag(
        "svg", *rects, class_="bar", viewBox="0 0 100 12", preserveAspectRatio="none",
        aria_hidden="true",
    )  # fmt: skip


def key(words: str, *shapes: Element) -> Element:
    """A shape on a ground of 24 by 12, and what it stands for."""
    drawn = tag("svg", *shapes, viewBox="0 0 24 12", aria_hidden="true")
    return tag("span", drawn, words, class_="key")


def scatter(points: Sequence[tuple[float, float]], across: str, up: str) -> Element:
    """Points, and the diagonal on which both are equal."""
    most = max((value for point in points for value in point), default=1) or 1
    axes = _Axes(1.04 * most, 1.04 * most, across, up)
    diagonal = axes.line([(0, 0), (most, most)], GREY, dashed=True)
    dots = [
        tag("circle", cx=axes.x(x), cy=axes.y(y), r=3, fill=BLUE, fill_opacity=0.45)
        for x, y in points
    ]
    return axes.drawn(diagonal, *dots)


def curves(
    lines: Sequence[tuple[str, Sequence[float], str, bool]], across: str, up: str
) -> Element:
    """Lines over 0, 1, 2, ...: name, values, colour and whether dashed; names at their ends."""
    longest = max((len(values) for _, values, _, _ in lines), default=1)
    most = max((value for _, values, _, _ in lines for value in values), default=1) or 1
    axes = _Axes(max(longest - 1, 1), most, across, up)
    drawn = [axes.line([*enumerate(values)], colour, dashed) for _, values, colour, dashed in lines]
    names = [
        tag("text", name, x=LEFT + 32, y=TOP + 10 + 15 * place)
        for place, (name, _, _, _) in enumerate(lines)
    ]
    keys = [
        tag("line", x1=LEFT + 6, x2=LEFT + 28, y1=TOP + 6 + 15 * place, y2=TOP + 6 + 15 * place,
            stroke=colour, stroke_width=2, stroke_dasharray="5 3" if dashed else None)
        for place, (_, _, colour, dashed) in enumerate(lines)
    ]  # fmt: skip
    return axes.drawn(*drawn, *keys, *names)


class _Axes:
    """Two axes from 0 to round numbers."""

    def __init__(self, right: float, top: float, across: str, up: str) -> None:
        self.right, self.top, self.across, self.up = right, top, across, up

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - 12) * value / self.right

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / self.top

    def line(self, points: Sequence[tuple[float, float]], colour: str, dashed: bool) -> Element:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return tag(
            "polyline", points=path, fill="none", stroke=colour, stroke_width=2,
            stroke_dasharray="5 3" if dashed else None,
        )  # fmt: skip

    def drawn(self, *inside: Element) -> Element:
        low, side = self.y(0), self.x(0)
        frame = [
            tag("line", x1=side, x2=self.x(self.right), y1=low, y2=low, stroke="#444"),
            tag("line", x1=side, x2=side, y1=low, y2=self.y(self.top), stroke="#444"),
        ]
        texts = [
            tag("text", f"{value:,g}", x=self.x(value), y=low + 14, text_anchor="middle")
            for value in ticks(self.right)
        ] + [
            tag("text", f"{value:,g}", x=side - 5, y=self.y(value) + 4, text_anchor="end")
            for value in ticks(self.top)
        ]
        middle = (HEIGHT - BOTTOM + TOP) / 2
        names = [
            tag("text", self.across, x=(side + WIDTH) / 2, y=HEIGHT - 5, text_anchor="middle"),
            tag("text", self.up, x=11, y=middle, text_anchor="middle",
                transform=f"rotate(-90 11 {middle:g})"),
        ]  # fmt: skip
        return tag(
            "svg", *frame, *texts, *names, *inside, class_="chart", role="img",
            viewBox=f"0 0 {WIDTH} {HEIGHT}", aria_label=f"{self.up} against {self.across}",
        )  # fmt: skip


def ticks(most: float) -> list[float]:
    """Three to six round numbers from 0 up to `most`."""
    power = 10 ** math.floor(math.log10(most))
    step = next(size * power for size in (0.2, 0.25, 0.5, 1, 2) if most / (size * power) < 6)
    return [place * step for place in range(int(most / step + 1e-9) + 1)]
