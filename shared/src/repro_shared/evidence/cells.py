"""Cells that a paper reports, as its authors printed them, read from a package's `reported.csv`."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    ValidationError,
    model_validator,
)

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
COLUMNS = (
    "paper", "table", "row", "column", "dataset", "metric", "unit", "value", "plus_minus",
    "source", "status",
)  # fmt: skip

Row = TypeVar("Row", bound=BaseModel)
Text = Annotated[str, Field(min_length=1)]


def none_if_empty(value: Any) -> Any:
    """For `BeforeValidator`: an empty CSV cell is None."""
    return None if value == "" else value


class ReportedCell(BaseModel):
    """One number of a paper.

    Attributes:
        paper: arXiv id.
        table: The paper's table, e.g. `table1`; `abstract` for numbers of the abstract.
        dataset: May be empty where the table has one data set only.
        unit: Of value, e.g. `percent`.
        plus_minus: Spread as printed, or reading uncertainty of a figure; in the value's unit.
        source: Where it was read: arXiv id and version, page, or repository and commit.
        status: How it was read, see `STATUS_MEANING`.
        printed: Value and spread with the digits of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: Text
    table: Text
    row: Text
    column: Text
    dataset: str
    metric: Text
    unit: Text
    value: FiniteFloat
    plus_minus: Annotated[NonNegativeFloat | None, BeforeValidator(none_if_empty)] = None
    source: Text
    status: Status
    printed: str = ""

    @model_validator(mode="before")
    @classmethod
    def _keep_digits(cls, data: Any) -> Any:
        # 79.0 and 92 are different statements of precision; a float keeps neither.
        if isinstance(data, dict) and "value" in data and "printed" not in data:
            spread = data.get("plus_minus")
            tail = "" if spread in (None, "") else f" +- {spread}"
            return {**data, "printed": f"{data['value']}{tail}"}
        return data

    @property
    def id(self) -> str:
        """`<table>/<row>/<column>[/<dataset>]`, each part in lower case with hyphens."""
        parts = (self.table, self.row, self.column, self.dataset)
        return "/".join(slug(part) for part in parts if part)


def slug(text: str) -> str:
    """Lower case ASCII letters and digits, everything else one hyphen."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not found:
        raise ValueError(f"{text!r} has no letter or digit to make an id of")
    return found


def read_cells(path: Path | str) -> list[ReportedCell]:
    """The reported cells in the file's order.

    Raises:
        UserError: Missing file, wrong columns, a bad value (names the line), or an id twice.
    """
    cells = read_rows(path, ReportedCell, COLUMNS)
    seen: set[str] = set()
    for cell in cells:
        if cell.id in seen:
            raise UserError(f"{path}: two cells share the id {cell.id}; rename a row or column")
        seen.add(cell.id)
    return cells


def find_cell(cells: Sequence[ReportedCell], cell_id: str) -> ReportedCell:
    """The cell of this id.

    Raises:
        UserError: No such cell; the line lists the ids there are.
    """
    for cell in cells:
        if cell.id == cell_id:
            return cell
    known = ", ".join(cell.id for cell in cells) or "none"
    raise UserError(f"no reported cell {cell_id!r}; there are: {known}")


def read_rows(path: Path | str, model: type[Row], columns: Sequence[str]) -> list[Row]:
    """Reads a CSV file whose header is exactly `columns`, one model a row.

    Raises:
        UserError: Missing or undecodable file, wrong columns, or a bad value (names the line).
    """
    rows: list[Row] = []
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != list(columns):
                raise UserError(f"{path}: the columns must be {','.join(columns)}")
            for texts in reader:
                where = f"{path}, line {reader.line_num}"
                if len(texts) != len(columns):
                    raise UserError(f"{where}: {len(texts)} cells instead of {len(columns)}")
                values = dict(zip(columns, map(unescape, texts), strict=True))
                try:
                    rows.append(model.model_validate(values))
                except ValidationError as error:
                    raise UserError(f"{where}: {first_problem(error)}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read this table: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a UTF-8 CSV file: {error}") from error
    return rows
