"""`measured.csv`, what the records say about each claim, and citations with and of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import pydantic

from repro_shared.evidence.cells import STATUS_MEANING, EmptyIsNone, ReportedCell, read_rows
from repro_shared.evidence.claims import Claim, Runs, Verdict, VerdictWord
from repro_shared.evidence.provenance import commit_label
from repro_shared.evidence.runs import RunRecord
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
    of_claim = ("statement", "cells", "study", "arm", "rival", "metric", "unit")
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


@dataclass(frozen=True)
class Paper:
    """A paper on arXiv: its id without version, the version that was read, year of the first."""

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str
    version: int

    def bibtex(self) -> str:
        """A `@misc` entry as arXiv suggests it."""
        eprint = f"{self.arxiv}v{self.version}"
        fields = {"year": str(self.year), "eprint": eprint, "archivePrefix": "arXiv"}
        fields["url"] = f"https://arxiv.org/abs/{eprint}"
        return _entry(f"misc{{{self.key}", self.title, self.authors, fields)


@dataclass(frozen=True)
class Repository:
    """The software that measured; authors and url are left out of the entry where empty."""

    key: str
    title: str
    version: str
    year: int
    authors: tuple[str, ...] = ()
    url: str = ""

    def bibtex(self) -> str:
        """A `@software` entry (biblatex; plain BibTeX styles print it like `@misc`)."""
        fields = {"version": _tex(self.version), "year": str(self.year), "url": self.url}
        return _entry(f"software{{{self.key}", self.title, self.authors, fields)


def cite(
    cell: ReportedCell, measured: Sequence[Measured], paper: Paper, repository: Repository
) -> str:
    """Reported value, status and source; measured values of claims that name the cell; BibTeX."""
    if cell.paper != paper.arxiv:
        raise ValueError(f"cell {cell.id} is of paper {cell.paper}, not of {paper.arxiv}")
    where = f" on {cell.dataset}" if cell.dataset else ""
    lines = [
        f"cell       {cell.id}",
        f"reported   {cell.printed} {cell.unit} ({cell.column}, {cell.row}{where})",
        f"status     {cell.status}: {STATUS_MEANING[cell.status]}",
        f"source     {cell.source}",
        "",
    ]
    rows = [row for row in measured if cell.id in row.cells]
    for row in rows:
        lines += [*_measured_lines(row), ""]
    if rows:
        lines.append(
            "The measured values are on the data named beside them. They test the claims, and do "
            "not stand in for the reported value."
        )
    else:
        lines += ["measured   not run", "verdict    not run"]
    return "\n".join([*lines, "", paper.bibtex(), "", repository.bibtex()]) + "\n"


def _measured_lines(row: Measured) -> list[str]:
    claim = f"claim      {row.claim}: {row.statement}"
    if row.n == 0:
        return [claim, "measured   not run", f"verdict    {row.verdict}"]
    value = _with_interval(row.value, row.value_low, row.value_high, "")
    effect = _with_interval(row.effect, row.effect_low, row.effect_high, "+")
    brackets = "; brackets: 95 % Student t interval, Holm in a family"
    brackets = brackets if "[" in value + effect else ""
    return [
        claim,
        f"measured   {row.metric} {value} {row.unit} for {row.arm} on {row.data}",
        f"effect     {effect} {row.unit} against {row.rival}",
        f"seeds      {' '.join(map(str, row.seeds))} (n = {row.n}){brackets}",
        f"verdict    {row.verdict}",
        f"provenance study {row.study}, method version {row.method_version}, commit {row.commit}, "
        f"{row.date}",
    ]


def _with_interval(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    text = "none" if value is None else f"{value:{sign}.2f}"
    return text if low is None or high is None else f"{text} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _entry(start: str, title: str, authors: tuple[str, ...], fields: dict[str, str]) -> str:
    author = " and ".join(map(_tex, authors))
    fields = {"title": f"{{{_tex(title)}}}", "author": author, **fields}
    lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
    return "\n".join([f"@{start},", *lines, "}"])


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)
