"""Tables: the same numbers in three forms, stable bytes, and nothing that a reader's tool runs."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_shared.evidence.tables import (
    Column,
    Interval,
    Table,
    csv_text,
    escape,
    unescape,
    write_tables,
)
from repro_shared.runtime.errors import UserError

TABLE = Table(
    id="cost-card",
    title="Cost of a step",
    columns=(
        Column("method"),
        Column("time", "ms", 1),
        Column("effect", "points", 2),
        Column("parameters"),
    ),
    rows=(
        ("plain", 12.34, None, 790_000),
        ("feature|logit", 3, -0.004, 5_690_000),
        ("=cmd()", float("nan"), -1.5, 12),
    ),
    notes=(
        "Data: rendered digits.",
        "Seeds: 0 1 2; the smallest detectable effect is 0.40 points.",
    ),
)

MARKDOWN = """\
**Cost of a step**

| method | time (ms) | effect (points) | parameters |
| --- | ---: | ---: | ---: |
| plain | 12.3 | - | 790000 |
| feature\\|logit | 3.0 | 0.00 | 5690000 |
| =cmd() | - | -1.50 | 12 |

- Data: rendered digits.
- Seeds: 0 1 2; the smallest detectable effect is 0.40 points.
"""

CSV = """\
method,time (ms),effect (points),parameters
plain,12.3,,790000
feature|logit,3.0,0.00,5690000
'=cmd(),,-1.50,12
"""

TERMINAL = """\
Cost of a step

method         time (ms)  effect (points)  parameters
-------------  ---------  ---------------  ----------
plain               12.3                -      790000
feature|logit        3.0             0.00     5690000
=cmd()                 -            -1.50          12

Data: rendered digits.
Seeds: 0 1 2; the smallest detectable effect is 0.40 points.
"""


def test_the_three_forms() -> None:
    assert TABLE.to_markdown() == MARKDOWN
    assert TABLE.to_csv() == CSV
    assert TABLE.to_terminal() == TERMINAL


def test_files_hold_these_bytes_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        written = write_tables(tmp_path / "tables", [TABLE])
        assert [path.name for path in written] == ["cost-card.csv"]
        assert written[0].read_bytes() == CSV.encode()
    assert len(list((tmp_path / "tables").iterdir())) == 1


def test_an_interval_stands_in_one_cell_and_a_verdict_is_bold() -> None:
    columns = (Column("arm"), Column("effect", "points", 2, signed=True), Column("v", bold=True))
    rows = (
        ("a", Interval(1.234, 0.5, 2.0), "supported"),
        ("b", Interval(-0.001, None, None), None),
        ("c", None, "not run"),
    )
    table = Table("t", "T", columns, rows)
    assert table.to_csv().splitlines()[1:] == [
        'a,"+1.23 [+0.50, +2.00]",supported', "b,0.00,", "c,,not run",
    ]  # fmt: skip
    lines = table.to_markdown().splitlines()
    assert lines[3:] == [
        "| --- | ---: | --- |",
        "| a | +1.23 [+0.50, +2.00] | **supported** |",
        "| b | 0.00 | - |",
        "| c | - | **not run** |",
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-1"])
def test_formulas_are_escaped_and_come_back(text: str) -> None:
    assert escape(text) == "'" + text
    assert unescape(escape(text)) == text


@settings(derandomize=True, max_examples=200)
@given(st.text(alphabet="'=+-@ab\t1", max_size=5))
def test_escape_loses_nothing_and_leaves_no_formula(text: str) -> None:
    assert unescape(escape(text)) == text
    assert escape(text)[:1] not in ("=", "+", "-", "@", "\t")


@pytest.mark.parametrize("text", ["a,b", 'say "no"', "a\nb", "a\rb", "a\r\nb", ' "', "", "é"])
@pytest.mark.parametrize("others", [[], ["x"]])
def test_a_cell_of_any_text_is_read_back(text: str, others: list[str]) -> None:
    written = csv_text(["h"] * (1 + len(others)), [[text, *others], ["next", *others]])
    rows = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert rows[1:] == [[text, *others], ["next", *others]]


@settings(derandomize=True, max_examples=200)
@given(st.lists(st.text(alphabet="a,\"\n '=", max_size=5), min_size=2, max_size=4))
def test_csv_has_the_bytes_of_pythons_writer(row: list[str]) -> None:
    """Where all versions of Python agree, which is without carriage returns."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(row)
    assert csv_text(row, []) == buffer.getvalue()


def test_numbers_are_not_escaped() -> None:
    row = next(csv.reader(io.StringIO(TABLE.to_csv().splitlines()[3])))
    assert float(row[2]) == -1.5


@pytest.mark.parametrize(
    ("cell", "decimals", "text"),
    [
        (0.125, None, "0.125"),
        (1 / 3, None, "0.333333"),
        (1234567, None, "1234567"),
        (2, 2, "2.00"),
        (-0.0001, 2, "0.00"),
        (-0.0, None, "0"),
        (1e-9, None, "1e-09"),
        (float("nan"), 1, ""),
        (None, 1, ""),
    ],
)
def test_number_format(cell: Any, decimals: int | None, text: str) -> None:
    table = Table("t", "t", (Column("a"), Column("x", "", decimals)), (("row", cell),))
    assert table.to_csv() == f"a,x\nrow,{text}\n"


@pytest.mark.parametrize("width", [40, 60, 100])
def test_terminal_wraps_text_to_the_width_and_loses_no_word(width: int) -> None:
    statement = "a long statement in several words that no narrow terminal can hold in one line"
    table = Table(
        "t", "t", (Column("claim"), Column("effect", "", 2), Column("verdict")),
        ((statement, 1.25, "inconclusive"),), ("A note " * 30,),
    )  # fmt: skip
    text = table.to_terminal(width)
    assert max(map(len, text.splitlines())) <= width
    for word in statement.split():
        assert word in text
    assert "1.25" in text


def test_names_from_users_files_cannot_break_a_table() -> None:
    hostile = "a\nb\x1b[31m|<script>alert(1)</script>*"
    table = Table("t", "t", (Column("class"), Column("n")), ((hostile, 1),))
    markdown = table.to_markdown()
    assert len(markdown.splitlines()) == 5
    assert "<script>" not in markdown
    assert r"\|&lt;script>" in markdown
    for text in (markdown, table.to_terminal()):
        assert "\x1b" not in text
    assert next(iter(list(csv.reader(io.StringIO(table.to_csv())))[1:]))[0] == hostile


def test_an_empty_table_has_its_header() -> None:
    table = Table("t", "t", (Column("a"), Column("b", "s")), ())
    assert table.to_csv() == "a,b (s)\n"
    assert "| a | b (s) |" in table.to_markdown()
    assert "a  b (s)" in table.to_terminal()


def test_mistakes_in_a_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 cells in a row, 1 columns"):
        Table("t", "t", (Column("a"),), (("x", 1),))
    with pytest.raises(ValueError, match="table id"):
        Table("../t", "t", (Column("a"),), ())
    with pytest.raises(ValueError, match="share one id"):
        write_tables(tmp_path, [TABLE, TABLE])
    with pytest.raises(TypeError, match="column a: a cell is a list"):
        Table("t", "t", (Column("a"),), (([],),)).to_csv()  # type: ignore[arg-type]


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken"):
        write_tables(tmp_path / "taken", [TABLE])
