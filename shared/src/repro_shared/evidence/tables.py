"""Tables for the terminal, Markdown and CSV, and generated blocks in Markdown.

All depends on the input alone, so that files can be compared byte for byte. A block lies between
`<!-- generated:NAME -->` and `<!-- /generated -->`, each on a line of its own, in no code block.
"""

import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import atomic_write_text, ensure_output_dir

Cell = str | int | float | None
_NARROWEST = 12  # characters that a wrapped text column keeps in the terminal
_BEGIN, _END = re.compile(r"<!-- generated:([a-z0-9-]+) -->"), "<!-- /generated -->"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Column:
    """A column's name, the unit of its numbers and their decimals (None: as many as needed)."""

    name: str
    unit: str = ""
    decimals: int | None = None

    @property
    def header(self) -> str:
        """`name (unit)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def show(self, cell: float | None, nothing: str) -> str:
        """A number of this column as text."""
        if cell is None or cell != cell:  # NaN
            return nothing
        if not _is_number(cell):
            raise TypeError(f"column {self.name}: a cell is a {type(cell).__name__}")
        if self.decimals is not None:
            text = f"{cell:.{self.decimals}f}"
        else:
            text = str(cell) if isinstance(cell, int) else f"{cell:.6g}"
        # Rounding must not leave a minus before nothing.
        return text[1:] if text.startswith("-") and not text.strip("-0.") else text


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
    """Write `<id>.md` and `<id>.csv` of each table atomically; returns their paths."""
    tables = list(tables)
    if len({table.id for table in tables}) != len(tables):
        raise ValueError("two tables share one id")
    folder = ensure_output_dir(directory)
    written = []
    for table in tables:
        for ending, text in (("md", table.to_markdown()), ("csv", table.to_csv())):
            written.append(folder / f"{table.id}.{ending}")
            atomic_write_text(written[-1], text)
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
    return isinstance(cell, int | float) and not isinstance(cell, bool)


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


def render(text: str, blocks: Mapping[str, str]) -> str:
    """The Markdown with the content of its blocks, by name, replaced; UserError if they differ."""
    for name, content in blocks.items():
        if _END in map(str.strip, content.splitlines()):
            raise UserError(f"block {name}: its content holds the line {_END}")
    output: list[str] = []
    inside, fenced, unused = "", False, set(blocks)
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        marker = line.strip()
        begin = _BEGIN.fullmatch(marker)
        if inside:
            if begin:
                raise UserError(f"line {number}: block {begin[1]} begins inside block {inside}")
            if marker == _END:
                output.append(line)
                inside = ""
            continue
        output.append(line)
        fenced ^= marker.startswith(("```", "~~~"))
        if fenced:
            continue
        if marker == _END:
            raise UserError(f"line {number}: {_END} without a beginning")
        if begin:
            inside = begin[1]
            if inside not in blocks:
                raise UserError(f"line {number}: nothing generates block {inside}")
            unused.discard(inside)
            output.append(blocks[inside].strip("\n") + "\n")
    if inside:
        raise UserError(f"block {inside} has no line {_END}")
    for name in sorted(unused):
        raise UserError(f"no place for generated block {name}; add its two markers")
    return "".join(output)


def stale(path: Path | str, blocks: Mapping[str, str]) -> bool:
    """Whether `refresh` would change the file; UserError, with its name, as `render`."""
    return _new_text(path, blocks) is not None


def refresh(path: Path | str, blocks: Mapping[str, str]) -> bool:
    """Render the file in place, atomically; returns whether it changed."""
    text = _new_text(path, blocks)
    if text is not None:
        atomic_write_text(path, text)
    return text is not None


def _new_text(path: Path | str, blocks: Mapping[str, str]) -> str | None:
    try:
        before = Path(path).read_bytes().decode("utf-8")
        after = render(before, blocks)
        return after if after != before else None
    except OSError as error:
        problem = f"cannot read this file: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: {error.reason}"
    except UserError as error:
        problem = str(error)
    raise UserError(f"{path}: {problem}")
