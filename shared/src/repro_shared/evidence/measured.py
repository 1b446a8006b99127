"""`measured.csv`: what the committed records say about each claim, small enough for a wheel.

It is generated from the records, so that a cell can be cited where there is no checkout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, NonNegativeInt

from repro_shared.evidence.cells import none_if_empty, read_rows
from repro_shared.evidence.claims import Claim, Verdict, VerdictWord
from repro_shared.evidence.provenance import commit_label
from repro_shared.evidence.records import RunRecord
from repro_shared.evidence.statistics import t_interval
from repro_shared.evidence.tables import csv_text, escape
from repro_shared.runtime.files import atomic_write_text


def _words(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


Number = Annotated[FiniteFloat | None, BeforeValidator(none_if_empty)]


class Measured(BaseModel):
    """The measured side of one claim.

    Attributes:
        cells: Ids of the reported cells that the claim bears on.
        data: Name of the data set that was used here, which need not be the paper's.
        unit: Of all six numbers.
        value: Mean of the arm's metric over the seeds, with its 95 % t interval.
        effect: Mean paired effect of arm against rival, with the verdict's interval.
        commit: Short commits of the records, joined by `+`; `-dirty` where one had changes.
        date: Day on which the last of the records was finished, UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    statement: str
    cells: Annotated[tuple[str, ...], BeforeValidator(_words)]
    recipe: str
    data: str
    arm: str
    rival: str
    metric: str
    unit: str
    value: Number
    value_low: Number
    value_high: Number
    effect: Number
    effect_low: Number
    effect_high: Number
    n: NonNegativeInt
    seeds: Annotated[tuple[int, ...], BeforeValidator(_words)]
    verdict: VerdictWord
    recipe_hash: str
    method_version: Annotated[int | None, BeforeValidator(none_if_empty)]
    commit: str
    date: str


COLUMNS = tuple(Measured.model_fields)


def measure(
    claims: Sequence[Claim], verdicts: Sequence[Verdict], records: Iterable[RunRecord]
) -> list[Measured]:
    """One row a claim, from the same records that `judge` was given; numbers to six digits."""
    runs = {(r.recipe, r.arm, r.seed): r for r in records if r.status == "complete"}
    rows = []
    for claim, verdict in zip(claims, verdicts, strict=True):
        own = [runs[claim.recipe, claim.arm, seed] for seed in verdict.seeds]
        used = own + [runs[claim.recipe, claim.rival, seed] for seed in verdict.seeds]
        values = [record.metrics[claim.metric] for record in own]
        interval = t_interval(values) if len(values) > 1 else (values[0] if values else None,)
        mean, low, high = (*interval, None, None)[:3]
        commits = sorted({commit_label(record.provenance) or "unknown" for record in used})
        days = [record.finished.astimezone(UTC).date().isoformat() for record in used]
        rows.append(
            Measured(
                claim=claim.id,
                statement=claim.statement,
                cells=claim.cells,
                recipe=claim.recipe,
                data=used[0].data_name if used else "",
                arm=claim.arm,
                rival=claim.rival,
                metric=claim.metric,
                unit=claim.unit,
                value=_short(mean),
                value_low=_short(low),
                value_high=_short(high),
                effect=_short(verdict.mean),
                effect_low=_short(verdict.low),
                effect_high=_short(verdict.high),
                n=verdict.n,
                seeds=verdict.seeds,
                verdict=verdict.verdict,
                recipe_hash=used[0].recipe_hash if used else "",
                method_version=used[0].method_version if used else None,
                commit="+".join(commits),
                date=max(days, default=""),
            )
        )
    return rows


def write_measured(path: Path | str, rows: Iterable[Measured]) -> None:
    """Writes the rows atomically; the same rows give the same bytes."""
    atomic_write_text(path, measured_text(rows))


def measured_text(rows: Iterable[Measured]) -> str:
    """The content of the file, so that a check can compare without writing."""
    lines = [[_cell(getattr(row, name)) for name in COLUMNS] for row in rows]
    return csv_text(COLUMNS, lines)


def read_measured(path: Path | str) -> list[Measured]:
    """The rows of the file.

    Raises:
        UserError: Missing file, wrong columns, or a bad value (names the line).
    """
    return read_rows(path, Measured, COLUMNS)


def _short(number: float | None) -> float | None:
    # Six digits: last bits differ between processors, and the file is compared byte for byte.
    return None if number is None else float(f"{number:.6g}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return escape(value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
