"""Files of colours and class names."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_shared.runtime.errors import UserError
from seg_kd.use.palettes import read_palette


@pytest.mark.parametrize(
    "text",
    [
        "128 64 128 road 1\n0 0 0 traffic light\n",
        "name,r,g,b\nroad 1,128,64,128\ntraffic light, 0, 0, 0\n",  # class_dict.csv
        "128 64 128\t\troad 1\n\n0\t0\t0\ttraffic light",  # CamVid's label_colors.txt
        "# label:color_rgb:parts:actions\nroad 1:128,64,128::\ntraffic light:0,0,0::\n",  # CVAT
    ],
)
def test_palettes(tmp_path: Path, text: str) -> None:
    (tmp_path / "colours.txt").write_text(text)
    colours, names = read_palette(str(tmp_path / "colours.txt"))
    assert colours == ((128, 64, 128), (0, 0, 0))
    assert names == ("road 1", "traffic light")


def test_colours_without_names(tmp_path: Path) -> None:
    (tmp_path / "colours.txt").write_text("1 2 3\n4 5 6\n")
    assert read_palette(str(tmp_path / "colours.txt"))[1] == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no line"),
        ("1 2 3\nroad\n", "line 2 is not"),
        ("0 128 64 128 road", "line 1 is not"),  # which three?
        ("1 2 256", "line 1: colour .* above 255"),
        ("1 2 3\n1 2 3", "line 2: colour .* twice"),
    ],
)
def test_palettes_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "colours.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_palette(str(tmp_path / "colours.txt"))
    with pytest.raises(UserError, match="cannot be read"):
        read_palette(str(tmp_path / "none.txt"))
