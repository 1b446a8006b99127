"""Tables for the terminal, Markdown and CSV, with the same numbers in all three.

What is generated here depends on its input alone: no date, no terminal, no locale. So files can be
compared byte for byte.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_shared.runtime.errors import one_line
from repro_shared.runtime.files import atomic_write_text, ensure_output_dir

Cell = str | int | float | None
_NARROWEST = 12  # characters that a wrapped text column keeps in the terminal


@dataclass(frozen=True)
class Column:
    """A column's name, the unit of its numbers and how many decimals they show.

    With `decimals` None, whole numbers show as they are and others with six significant digits.
    """

    name: str
    unit: str = ""
    decimals: int | None = None

    @property
    def header(self) -> str:
        """`name (unit)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Table:
    """A titled table.

    Attributes:
        id: File name without ending; never used again for another table.
        rows: One cell for each column: text, a number, or None where there is nothing (`-` in the
            terminal and Markdown, empty in CSV). NaN counts as nothing.
        notes: Whole sentences: seeds, data, smallest detectable effect. Not in the CSV.
    """

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.id):
            raise ValueError(f"table id {self.id!r} is not of the form word-word")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.id}: {len(row)} cells in a row, "
                                 f"{len(self.columns)} columns")  # fmt: skip

    def to_terminal(self, width: int = 100) -> str:
        """Plain text; columns of text are wrapped until the table fits `width` characters.

        A table whose numbers alone are wider than that stays wider.
        """
        cells = [[one_line(text) for text in row] for row in self._grid("-")]
        numeric = self._numeric()
        sizes = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        while sum(sizes) + 2 * (len(sizes) - 1) > width:
            widest = max(
                (i for i in range(len(sizes)) if not numeric[i]),
                key=lambda i: sizes[i],
                default=None,
            )
            if widest is None or sizes[widest] <= _NARROWEST:
                break
            sizes[widest] -= 1
        lines = [one_line(self.title), ""]
        for number, row in enumerate(cells):
            lines += _terminal_row(row, sizes, numeric)
            if number == 0:
                lines.append("  ".join("-" * size for size in sizes))
        lines += [""] if self.notes else []
        for note in self.notes:
            lines += textwrap.wrap(one_line(note), width)
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """A GitHub table below its title in bold, with the notes as a list."""
        grid = [[_markdown(text) for text in row] for row in self._grid("-")]
        rule = ["---:" if numeric else "---" for numeric in self._numeric()]
        lines = [f"**{_markdown(self.title)}**", ""]
        lines += ["| " + " | ".join(row) + " |" for row in (grid[0], rule, *grid[1:])]
        lines += ["", *(f"- {_markdown(note)}" for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Header and rows; text that a spreadsheet would run as a formula is escaped."""
        header = [escape(column.header) for column in self.columns]
        rows = [
            [
                escape(cell) if isinstance(cell, str) else _format(cell, column, "")
                for cell, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]
        return csv_text(header, rows)

    def _numeric(self) -> list[bool]:
        """Which columns hold numbers only; they are set flush right."""
        columns = zip(*self.rows, strict=True) if self.rows else [() for _ in self.columns]
        return [
            all(cell is None or _is_number(cell) for cell in cells) and any(map(_is_number, cells))
            for cells in columns
        ]

    def _grid(self, nothing: str) -> list[list[str]]:
        """Header and rows as text."""
        header = [column.header for column in self.columns]
        return [header] + [
            [_format(cell, column, nothing) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]


def write_tables(directory: Path | str, tables: Iterable[Table]) -> list[Path]:
    """Writes `<id>.md` and `<id>.csv` of each table atomically; returns their paths."""
    tables = list(tables)
    if len({table.id for table in tables}) != len(tables):
        raise ValueError("two tables share one id")
    folder = ensure_output_dir(directory)
    written = []
    for table in tables:
        for ending, text in ((".md", table.to_markdown()), (".csv", table.to_csv())):
            atomic_write_text(folder / (table.id + ending), text)
            written.append(folder / (table.id + ending))
    return written


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Comma-separated text with `\\n` line ends; cells that are text go through `escape` first."""
    # Not csv.writer: Python 3.11's leaves a lone carriage return unquoted, and that ends a row.
    # An empty row of one cell is quoted, or it would be a blank line.
    lines = [",".join(map(_csv_cell, row)) or '""' for row in (header, *rows)]
    return "".join(line + "\n" for line in lines)


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\r\n]', text) else text


def escape(text: str) -> str:
    """Puts `'` before text that a spreadsheet would run as a formula; `unescape` takes it off."""
    return f"'{text}" if text.lstrip("'")[:1] in _FORMULA else text


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    return text[1:] if text[:1] == "'" and text.lstrip("'")[:1] in _FORMULA else text


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _format(cell: Cell, column: Column, nothing: str) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return nothing
    if isinstance(cell, str):
        return cell
    if not _is_number(cell):
        raise TypeError(f"column {column.name}: a cell is a {type(cell).__name__}")
    if column.decimals is not None:
        text = f"{cell:.{column.decimals}f}"
    else:
        text = str(cell) if isinstance(cell, int) else f"{cell:.6g}"
    # Rounding must not leave a minus before nothing.
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def _terminal_row(row: Sequence[str], sizes: Sequence[int], numeric: Sequence[bool]) -> list[str]:
    wrapped = [textwrap.wrap(text, size) or [""] for text, size in zip(row, sizes, strict=True)]
    lines = []
    for number in range(max(map(len, wrapped))):
        parts = [column[number] if number < len(column) else "" for column in wrapped]
        lines.append(
            "  ".join(
                part.rjust(size) if right else part.ljust(size)
                for part, size, right in zip(parts, sizes, numeric, strict=True)
            ).rstrip()
        )
    return lines


def _markdown(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return escaped.replace("|", "\\|").replace("*", "\\*")
