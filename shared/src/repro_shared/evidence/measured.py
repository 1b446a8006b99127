"""`measured.csv`: what the records say about each claim."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import pydantic

from repro_shared.evidence.cells import EmptyIsNone, read_rows
from repro_shared.evidence.claims import Claim, Runs, Verdict, VerdictWord
from repro_shared.evidence.provenance import commit_label
from repro_shared.evidence.records import RunRecord
from repro_shared.evidence.statistics import interval_cells
from repro_shared.evidence.tables import csv_text, escape

Words = pydantic.BeforeValidator(lambda v: tuple(v.split()) if isinstance(v, str) else v)
Number = Annotated[pydantic.FiniteFloat | None, EmptyIsNone]


class Measured(pydantic.BaseModel):
    """The measured side of one claim."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    claim: str
    statement: str
    cells: Annotated[tuple[str, ...], Words]
    study: str
    data: str  # what was used here, which need not be the paper's
    arm: str
    rival: str
    metric: str
    unit: str  # of the six numbers: means of the arm's metric and of the effect with intervals
    value: Number
    value_low: Number
    value_high: Number
    effect: Number
    effect_low: Number
    effect_high: Number
    n: pydantic.NonNegativeInt
    seeds: Annotated[tuple[int, ...], Words]
    verdict: VerdictWord
    method_version: Annotated[int | None, EmptyIsNone]
    commit: str  # short ones of the records, joined by `+`; `-dirty` where one had changes
    date: str  # on which the last of the records was finished, UTC
    headline: bool = False  # stands in the repository's table of claims


COLUMNS = tuple(Measured.model_fields)


def measure(
    claims: Sequence[Claim], verdicts: Sequence[Verdict], records: Iterable[RunRecord]
) -> list[Measured]:
    """One row a claim, from the same records that `judge` was given; numbers to six digits."""
    runs = {(r.study, r.arm, r.seed): r for r in records if r.status == "complete"}
    return [_row(claim, verdict, runs) for claim, verdict in zip(claims, verdicts, strict=True)]


def _row(claim: Claim, verdict: Verdict, runs: Runs) -> Measured:
    own = [runs[claim.study, claim.arm, seed] for seed in verdict.seeds]
    used = own + [runs[claim.study, claim.rival, seed] for seed in verdict.seeds]
    values = [record.metrics[claim.metric] for record in own]
    found = (*interval_cells(values), verdict.mean, verdict.low, verdict.high)
    names = ("value", "value_low", "value_high", "effect", "effect_low", "effect_high")
    # Six digits: last bits differ between processors, and the file is compared byte for byte.
    short = (None if number is None else float(f"{number:.6g}") for number in found)
    numbers: dict[str, Any] = dict(zip(names, short, strict=True))
    days = [record.finished.astimezone(UTC).date().isoformat() for record in used]
    of_claim = ("statement", "cells", "study", "arm", "rival", "metric", "unit", "headline")
    return Measured(
        claim=claim.id,
        **{name: getattr(claim, name) for name in of_claim},
        **numbers,
        data=used[0].data_name if used else "",
        n=verdict.n,
        seeds=verdict.seeds,
        verdict=verdict.verdict,
        method_version=used[0].method_version if used else None,
        commit="+".join(sorted({commit_label(r.provenance) or "unknown" for r in used})),
        date=max(days, default=""),
    )


def measured_text(rows: Iterable[Measured]) -> str:
    """The content of the file; the same rows give the same bytes."""
    return csv_text(COLUMNS, [[_cell(getattr(row, name)) for name in COLUMNS] for row in rows])


def read_measured(path: Path | str) -> list[Measured]:
    """The rows of the file; UserError as `read_rows`."""
    return read_rows(path, Measured, COLUMNS)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
