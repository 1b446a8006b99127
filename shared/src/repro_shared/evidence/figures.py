"""Figures in one house style, without pyplot: SVG that is stable byte for byte."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from repro_shared.runtime.files import atomic_write_bytes, ensure_output_dir

# Okabe and Ito's palette, distinguishable with the common kinds of colour blindness; its yellow is
# left out, since it is too light for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE = Path(__file__).with_name("house.mplstyle")


@contextmanager
def house_style() -> Iterator[None]:
    """Inside, matplotlib has the house style and nothing of the user's own configuration."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        style = matplotlib.rc_params_from_file(_STYLE, use_default_template=False)
        matplotlib.rcParams.update(style)
        yield


def new_figure(width: float = 6.4, height: float = 3.6) -> Figure:
    """An empty figure, sizes in inches. Make its axes and artists inside `house_style()`."""
    with house_style():
        return Figure(figsize=(width, height))


def line_styles(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and marker for each of at most 7 names: `axes.plot(x, y, **styles[name])`."""
    if len(names) > len(PALETTE):
        raise ValueError(f"{len(names)} lines, but only {len(PALETTE)} can be told apart")
    return {
        name: {"color": colour, "marker": marker, "label": name}
        for name, colour, marker in zip(names, PALETTE, MARKERS, strict=False)
    }


def caption(figure: Figure, text: str) -> None:
    """A line below the axes: which seeds, which data."""
    figure.supxlabel("\n".join(textwrap.wrap(text, 105)), fontsize=7, color="#444444")


def save_figure(figure: Figure, stem: Path | str) -> Path:
    """Write `<stem>.svg`, whose bytes the figure alone decides; returns its path."""
    folder, name = ensure_output_dir(Path(stem).parent), Path(stem).name
    drawn = io.BytesIO()
    with house_style():
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    atomic_write_bytes(folder / f"{name}.svg", drawn.getvalue())
    return folder / f"{name}.svg"
