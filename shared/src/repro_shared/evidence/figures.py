"""Figures in one house style: SVG that is stable byte for byte, and PNG for those who want one.

Figures are made without pyplot, so there is no global state and no window system.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from repro_shared.runtime.files import atomic_write_bytes, ensure_output_dir

# Okabe and Ito's palette, distinguishable with the common kinds of colour blindness; its yellow is
# left out, since it is too light for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_STYLE: Any = {  # matplotlib types its keys one by one
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "repro-shared",  # otherwise the ids of clip paths are random
    "savefig.dpi": 150,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Inside, matplotlib has the house style and nothing of the user's own configuration."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float = 6.4, height: float = 3.6) -> Figure:
    """An empty figure, sizes in inches. Make its axes and artists inside `house_style()`."""
    with house_style():
        return Figure(figsize=(width, height))


def line_styles(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and marker for each name, by its place: `axes.plot(x, y, **styles[name])`.

    Raises:
        ValueError: More names than the palette can tell apart.
    """
    if len(names) > len(PALETTE):
        raise ValueError(f"{len(names)} lines, but only {len(PALETTE)} can be told apart")
    return {
        name: {"color": colour, "marker": marker, "label": name}
        for name, colour, marker in zip(names, PALETTE, MARKERS, strict=False)
    }


def save_figure(figure: Figure, stem: Path | str) -> tuple[Path, Path]:
    """Writes `<stem>.svg` and `<stem>.png` atomically and returns their paths.

    The same figure gives the same SVG bytes: fixed ids, no date, no program version, text as
    paths. PNG bytes depend on the compression library and are not compared.
    """
    stem = Path(stem)
    ensure_output_dir(stem.parent)
    svg, png = stem.with_name(stem.name + ".svg"), stem.with_name(stem.name + ".png")
    with house_style():
        nothing = {"Date": None, "Creator": None}
        atomic_write_bytes(svg, _drawn(figure, "svg", nothing))
        atomic_write_bytes(png, _drawn(figure, "png", {"Software": None}))
    return svg, png


def _drawn(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
