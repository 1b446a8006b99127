"""Cells that a paper reports, as its authors printed them, read from a package's `reported.csv`."""

import csv
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic

from repro_shared.evidence.records import first_problem
from repro_shared.evidence.tables import unescape
from repro_shared.runtime.errors import UserError

Status = Literal["read", "abstract", "figure", "authors-repository", "second-hand"]
STATUS_MEANING: dict[str, str] = {
    "read": "read in the paper itself",
    "abstract": "read in the paper's abstract, not in a table",
    "figure": "read off a plot, with the uncertainty given",
    "authors-repository": "read in the authors' repository",
    "second-hand": "quoted from another source than the paper and its authors",
}

Row = TypeVar("Row", bound=pydantic.BaseModel)
Text = Annotated[str, pydantic.Field(min_length=1)]
EmptyIsNone = pydantic.BeforeValidator(lambda value: None if value == "" else value)


class ReportedCell(pydantic.BaseModel):
    """One number of a paper."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    paper: Text  # arXiv id
    table: Text  # `table1`, say; `abstract` for numbers of the abstract
    row: Text
    column: Text
    dataset: str  # may be empty where the table has one data set only
    metric: Text
    unit: Text
    value: pydantic.FiniteFloat
    # Spread as printed, or reading uncertainty of a figure, in the unit of the value.
    plus_minus: Annotated[pydantic.NonNegativeFloat | None, EmptyIsNone] = None
    source: Text  # where it was read: arXiv id and version, page, or repository and commit
    status: Status
    printed: str = ""  # value and spread with the digits of the file

    @pydantic.model_validator(mode="before")
    @classmethod
    def _keep_digits(cls, data: Any) -> Any:
        # 79.0 and 92 are different statements of precision; a float keeps neither.
        parts = [str(data[k]) for k in ("value", "plus_minus") if data.get(k) not in (None, "")]
        return {"printed": " +- ".join(parts), **data}

    @property
    def id(self) -> str:
        """`<table>/<row>/<column>[/<dataset>]`, each part in lower case with hyphens."""
        parts = (self.table, self.row, self.column, self.dataset)
        return "/".join(slug(part) for part in parts if part)


COLUMNS = tuple(name for name in ReportedCell.model_fields if name != "printed")


def slug(text: str) -> str:
    """Lower case ASCII letters and digits, everything else one hyphen."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not found:
        raise ValueError(f"{text!r} has no letter or digit to make an id of")
    return found


def read_cells(path: Path | str) -> list[ReportedCell]:
    """The reported cells in the file's order; UserError as `read_rows`, or for an id twice."""
    cells = {}
    for cell in read_rows(path, ReportedCell, COLUMNS):
        if cell.id in cells:
            raise UserError(f"{path}: two cells share the id {cell.id}; rename a row or column")
        cells[cell.id] = cell
    return list(cells.values())


def find_cell(cells: Sequence[ReportedCell], cell_id: str) -> ReportedCell:
    """The cell of this id; UserError if there is none, with the nearest ids."""
    known = {cell.id: cell for cell in cells}
    if cell_id not in known:
        near = ", ".join(difflib.get_close_matches(cell_id, known, n=5, cutoff=0)) or "none"
        raise UserError(f"no reported cell {cell_id!r}; of {len(known)} the nearest: {near}")
    return known[cell_id]


def read_rows(path: Path | str, model: type[Row], columns: Sequence[str]) -> list[Row]:
    """Read a CSV file with exactly this header, one model a row; UserError names a bad line."""
    rows: list[Row] = []
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            if next(reader, []) != list(columns):
                raise UserError(f"{path}: the columns must be {','.join(columns)}")
            for texts in reader:
                where = f"{path}, line {reader.line_num}"
                if len(texts) != len(columns):
                    raise UserError(f"{where}: {len(texts)} cells instead of {len(columns)}")
                values = dict(zip(columns, map(unescape, texts), strict=True))
                try:
                    rows.append(model.model_validate(values))
                except pydantic.ValidationError as error:
                    raise UserError(f"{where}: {first_problem(error)}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read this table: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a UTF-8 CSV file: {error}") from error
    return rows
