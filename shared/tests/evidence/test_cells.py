"""Reported cells: digits kept as printed, bad lines named."""

from pathlib import Path

import pytest

from repro_shared.evidence.cells import COLUMNS, STATUS_MEANING, find_cell, read_cells, slug
from repro_shared.runtime.errors import UserError

HEADER = ",".join(COLUMNS)
GOOD = "2604.25530,table1,R-18 (ours),mIoU,Cityscapes,mIoU,percent,79.0,0.30,arXiv v2 p. 4,read"
OTHER = "2604.25530,table1,R-18 (ours),mIoU,,mIoU,percent,92,,arXiv v2 p. 4,figure"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "reported.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_cells_keep_their_digits_and_have_readable_ids(tmp_path: Path) -> None:
    first, second = read_cells(write(tmp_path, HEADER, GOOD, OTHER))
    assert first.id == "table1/r-18-ours/miou/cityscapes"
    assert (first.value, first.plus_minus, first.printed) == (79.0, 0.3, "79.0 +- 0.30")
    assert second.id == "table1/r-18-ours/miou"
    assert (second.value, second.plus_minus, second.printed) == (92.0, None, "92")
    assert find_cell([first, second], second.id) is second


def test_an_unknown_cell_lists_those_there_are(tmp_path: Path) -> None:
    cells = read_cells(write(tmp_path, HEADER, GOOD))
    with pytest.raises(UserError, match=r"'table9'.*table1/r-18-ours/miou/cityscapes"):
        find_cell(cells, "table9")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "columns must be paper,table"),
        ([HEADER + ",note"], "columns must be"),
        ([HEADER, GOOD, GOOD], "share the id table1/r-18-ours/miou/cityscapes"),
        # Another spelling of the same id is still a duplicate.
        ([HEADER, GOOD, GOOD.replace("R-18 (ours)", "r 18 ours")], "share the id"),
        ([HEADER, GOOD, OTHER.replace(",figure", ",guess")], "line 3: status"),
        ([HEADER, GOOD.replace("79.0", "about 79")], "line 2: value"),
        ([HEADER, GOOD.replace("79.0", "nan")], "line 2: value"),
        ([HEADER, GOOD.replace("0.30", "-1")], "line 2: plus_minus"),
        ([HEADER, GOOD.replace("arXiv v2 p. 4", "")], "line 2: source"),
        ([HEADER, GOOD + ",more"], "line 2: 12 cells instead of 11"),
        ([HEADER, GOOD.replace("table1", '"table1')], "not a UTF-8 CSV file"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, lines: list[str], complaint: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(UserError, match=complaint) as caught:
        read_cells(path)
    assert str(path) in str(caught.value)


def test_missing_and_undecodable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: cannot read"):
        read_cells(tmp_path / "none.csv")
    path = tmp_path / "reported.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe")
    with pytest.raises(UserError, match=r"reported\.csv: not a UTF-8"):
        read_cells(path)


def test_every_status_has_a_meaning_and_an_id_needs_letters(tmp_path: Path) -> None:
    for status in STATUS_MEANING:
        cells = read_cells(write(tmp_path, HEADER, GOOD.replace(",read", f",{status}")))
        assert cells[0].status == status
    with pytest.raises(ValueError, match="no letter or digit"):
        slug("***")
