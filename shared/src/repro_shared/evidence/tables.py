"""Tables for the terminal, Markdown and CSV.

All depends on the input alone, so that files can be compared byte for byte.
"""

import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from repro_shared.runtime.errors import one_line
from repro_shared.runtime.files import atomic_write_text, ensure_output_dir


class Interval(NamedTuple):
    """A mean with the ends of its confidence interval (None: a single value has none)."""

    mean: float
    low: float | None
    high: float | None


Cell = str | int | float | Interval | None
_NARROWEST = 14  # characters that a wrapped text column keeps in the terminal
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Column:
    """A column's name, the unit of its numbers and their decimals (None: as many as needed).

    In Markdown a text column may be `bold`, and numbers may show their sign.
    """

    name: str
    unit: str = ""
    decimals: int | None = None
    bold: bool = False
    signed: bool = False

    @property
    def header(self) -> str:
        """`name (unit)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def show(self, cell: float | Interval | None, nothing: str) -> str:
        """A number of this column, or `mean [low, high]`, as text."""
        if isinstance(cell, Interval):
            mean, low, high = (self.show(end, nothing) for end in cell)
            return mean if cell.low is None else f"{mean} [{low}, {high}]"
        if cell is None or cell != cell:  # NaN
            return nothing
        if not _is_number(cell):
            raise TypeError(f"column {self.name}: a cell is a {type(cell).__name__}")
        sign = "+" if self.signed else ""
        if self.decimals is not None:
            text = f"{cell:{sign}.{self.decimals}f}"
        else:
            text = f"{cell:{sign}}" if isinstance(cell, int) else f"{cell:{sign}.6g}"
        # Rounding must not leave a sign before nothing.
        return text.lstrip("+-") if not text.strip("+-0.") else text


@dataclass(frozen=True)
class Table:
    """A titled table, one cell for each column; None and NaN show as `-`, in CSV as nothing.

    The id, never used again, is its file name; notes are whole sentences, and not in the CSV.
    """

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()  # ids of the arms that rows are about

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.id):
            raise ValueError(f"table id {self.id!r} is not of the form word-word")
        columns = len(self.columns)
        for row in self.rows:
            if len(row) != columns:
                raise ValueError(f"table {self.id}: {len(row)} cells in a row, {columns} columns")

    def to_terminal(self, width: int = 100) -> str:
        """Plain text; columns of text, not of numbers, are wrapped to fit `width` characters."""
        grid = self._grid("-", one_line)
        numeric = self._numeric()
        sizes = [max(map(len, column)) for column in zip(*grid, strict=True)]
        texts = [i for i, is_numeric in enumerate(numeric) if not is_numeric]
        while texts and sum(sizes) + 2 * (len(sizes) - 1) > width:
            widest = max(texts, key=lambda i: sizes[i])
            if sizes[widest] <= _NARROWEST:
                break
            sizes[widest] -= 1
        head, *rows = [_terminal_lines(row, sizes, numeric) for row in grid]
        rule = "  ".join("-" * size for size in sizes)
        lines = [one_line(self.title), "", *head, rule, *itertools.chain(*rows)]
        lines += [""] if self.notes else []
        for note in self.notes:
            lines += textwrap.wrap(one_line(note), width)
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """A GitHub table below its title in bold, with the notes as a list."""
        head, *rows = self._grid("-", _markdown)
        rows = [
            [
                f"**{text}**" if column.bold and text != "-" else text
                for text, column in zip(row, self.columns, strict=True)
            ]
            for row in rows
        ]
        rule = ["---:" if numeric else "---" for numeric in self._numeric()]
        lines = [f"**{_markdown(self.title)}**", ""]
        lines += ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
        lines += ["", *(f"- {_markdown(note)}" for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Header and rows; text that a spreadsheet would run as a formula is escaped."""
        head, *rows = self._grid("", escape)
        return csv_text(head, rows)

    def _numeric(self) -> list[bool]:
        """Which columns hold numbers only; they are set flush right."""
        columns = zip(*self.rows, strict=True) if self.rows else [() for _ in self.columns]
        return [
            any(map(_is_number, cells)) and all(cell is None or _is_number(cell) for cell in cells)
            for cells in columns
        ]

    def _grid(self, nothing: str, text: Callable[[str], str]) -> list[list[str]]:
        """Header and rows as text; `text` prepares what is not a number."""
        head: tuple[Cell, ...] = tuple(column.header for column in self.columns)
        return [
            [
                text(cell) if isinstance(cell, str) else column.show(cell, nothing)
                for cell, column in zip(row, self.columns, strict=True)
            ]
            for row in (head, *self.rows)
        ]


def write_tables(directory: Path | str, tables: Iterable[Table]) -> list[Path]:
    """Write `<id>.csv` of each table atomically; returns their paths."""
    tables = list(tables)
    if len({table.id for table in tables}) != len(tables):
        raise ValueError("two tables share one id")
    folder = ensure_output_dir(directory)
    written = []
    for table in tables:
        written.append(folder / f"{table.id}.csv")
        atomic_write_text(written[-1], table.to_csv())
    return written


def csv_text(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
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


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float | Interval) and not isinstance(cell, bool)


def _terminal_lines(row: Sequence[str], sizes: Sequence[int], numeric: Sequence[bool]) -> list[str]:
    wrapped = [textwrap.wrap(text, size) or [""] for text, size in zip(row, sizes, strict=True)]
    return [
        "  ".join(
            part.rjust(size) if right else part.ljust(size)
            for part, size, right in zip(parts, sizes, numeric, strict=True)
        ).rstrip()
        for parts in itertools.zip_longest(*wrapped, fillvalue="")
    ]


def _markdown(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return escaped.replace("|", "\\|").replace("*", "\\*")
