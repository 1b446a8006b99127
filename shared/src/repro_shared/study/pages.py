"""Generated Markdown: the short table of verdicts, and the index of a results folder."""

from __future__ import annotations

from collections.abc import Mapping

from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.study.results import Results


def short_verdicts(found: Mapping[str, Results], headlines: bool = False) -> str:
    """One row a claim of every study that has any, controls last; or only the headlines."""
    rows: list[tuple[Cell, ...]] = []
    for results in found.values():
        claims = sorted(results.study.claims, key=lambda claim: claim.negative_control)
        for claim in claims:
            if headlines and not claim.headline:
                continue
            verdict = results.verdict(claim)
            effect = None
            if verdict.mean is not None:
                effect = Interval(verdict.mean, verdict.low, verdict.high)
            control = " (negative control)" if claim.negative_control else ""
            rows.append((
                claim.statement + control,
                results.study.name,
                Column("", "", 2, signed=True).show(effect, "-") + f" {claim.unit}",
                verdict.n,
                verdict.verdict,
            ))  # fmt: skip
    if not rows:
        return "No evidence has been committed yet.\n"
    columns = (
        Column("claim"),
        Column("study"),
        Column("effect"),
        Column("seeds"),
        Column("verdict", bold=True),
    )
    table = Table("verdicts", "Verdicts", columns, tuple(rows))
    return table.to_markdown().partition("\n\n")[2]  # the title stands above the block


def index(found: Mapping[str, Results]) -> str:
    """Every study with its figures and tables, and what must be known of each table."""
    parts: list[str] = []
    for name, results in found.items():
        study = results.study
        tables = [make(results) for make in study.tables]
        if not tables:
            continue
        parts.append(f"### {name}\n")
        if study.arms:
            runs = len(results.records)
            parts.append(f"{runs} runs in [`{name}/runs.jsonl`]({name}/runs.jsonl).\n")
        for draw in results.figures:
            figure, _ = draw(results)
            parts.append(f"![{name}](figures/{figure}.svg)\n")
        for table in tables:
            # Effects by seed are for who prints the table.
            seeds = tuple(f"{claim.id}: seeds " for claim in study.claims)
            notes = " ".join(
                note
                for note in table.notes
                if note not in results.notes and not note.startswith(seeds)
            )
            parts.append(
                f"- [{table.title}](tables/{table.id}.csv) (`{table.id}`). {notes}".strip()
            )
        parts.append("")
    return "\n".join(parts) or "No evidence has been committed yet.\n"
