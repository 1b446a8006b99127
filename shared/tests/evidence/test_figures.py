"""Figures: the SVG depends on the data alone, not on the user's settings, the time or the run."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from repro_shared.evidence.figures import (
    PALETTE,
    caption,
    house_style,
    line_styles,
    new_figure,
    save_figure,
)


def draw(height: float = 1.0) -> Figure:
    figure = new_figure(3, 2)
    with house_style():
        axes = figure.subplots()
        for offset, style in enumerate(line_styles(["plain", "feature"]).values()):
            axes.plot([1, 2, 3], [offset, offset + height, offset], **style)
        axes.fill_between([1, 2, 3], [0, 0, 0], [1, 1, 1], alpha=0.2)
        axes.set(xlabel="seconds", ylabel="mIoU (percent)", title="A title", xscale="log")
        axes.legend()
    return figure


def test_svg_is_the_same_whatever_the_user_has_set(tmp_path: Path) -> None:
    first = save_figure(draw(), tmp_path / "first")
    with matplotlib.rc_context(
        {"font.size": 30, "svg.fonttype": "none", "svg.hashsalt": None, "axes.linewidth": 9}
    ):
        second = save_figure(draw(), tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    other = save_figure(draw(2.0), tmp_path / "other")
    assert first.read_bytes() != other.read_bytes()


def test_svg_is_the_same_in_another_process(tmp_path: Path) -> None:
    here = save_figure(draw(), tmp_path / "here")
    code = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('figures_test', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module.save_figure(module.draw(), pathlib.Path(sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", code, __file__, str(tmp_path / "there")], check=True)
    assert (tmp_path / "there.svg").read_bytes() == here.read_bytes()


def test_svg_holds_no_date_no_version_and_text_as_paths(tmp_path: Path) -> None:
    svg = save_figure(draw(), tmp_path / "f")
    text = svg.read_text("utf-8")
    assert "<text" not in text
    assert "dc:date" not in text
    assert matplotlib.__version__ not in text
    assert str(tmp_path) not in text


def test_a_dot_in_the_name_stays_and_a_caption_stands_below(tmp_path: Path) -> None:
    plain = save_figure(draw(), tmp_path / "new" / "budget-1.5")
    assert plain.name == "budget-1.5.svg"
    assert len(list(plain.parent.iterdir())) == 1
    figure = draw()
    caption(figure, "Five seeds on " + "very " * 40 + "small pictures.")
    assert save_figure(figure, tmp_path / "other").read_bytes() != plain.read_bytes()
    (text,) = [t.get_text() for t in figure.texts]
    assert max(map(len, text.splitlines())) <= 105


def test_house_style_leaves_the_users_settings_alone() -> None:
    with matplotlib.rc_context({"font.size": 30}):
        with house_style():
            assert matplotlib.rcParams["font.size"] == 9
        assert matplotlib.rcParams["font.size"] == 30


def test_lines_differ_in_colour_and_marker_and_run_out_openly() -> None:
    styles = line_styles([str(i) for i in range(len(PALETTE))])
    assert len({(s["color"]) for s in styles.values()}) == len(PALETTE)
    assert len({(s["marker"]) for s in styles.values()}) == len(PALETTE)
    with pytest.raises(ValueError, match="can be told apart"):
        line_styles([str(i) for i in range(len(PALETTE) + 1)])
