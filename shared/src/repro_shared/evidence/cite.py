"""One cell of a paper: reported value, what was measured, verdict, where from, BibTeX."""

from collections.abc import Sequence

from repro_shared.evidence.cells import STATUS_MEANING, ReportedCell
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.evidence.measured import Measured

_SHOWN = 6  # claims; of more, the others are counted


def cite(
    cell: ReportedCell,
    measured: Sequence[Measured],
    paper: Citation,
    repository: Repository,
    trip: Sequence[str] = (),
    computed: str = "",
) -> str:
    """A screen about a cell; `trip` leads from the first claim's row to its equation.

    `computed`: what a closed form gives for it, of a cell that needs no run.
    """
    if cell.paper != paper.arxiv:
        raise ValueError(f"cell {cell.id} is of paper {cell.paper}, not of {paper.arxiv}")
    where = f" on {cell.dataset}" if cell.dataset else ""
    lines = [
        f"cell       {cell.id}",
        f"reported   {cell.printed} {cell.unit} ({cell.column}, {cell.row}{where})",
        f"status     {cell.status}: {STATUS_MEANING[cell.status]}; {cell.source}",
    ]
    rows = [row for row in measured if cell.id in row.cells]
    if computed:
        lines.append(f"computed   {computed}")
    elif not rows:
        lines += ["measured   not run", "verdict    not run"]
    for row in rows[:_SHOWN]:
        lines += [f"claim      {row.statement} ({row.data})", f"verdict    {_verdict(row)}"]
    if len(rows) > _SHOWN:
        lines.append(f"           and {len(rows) - _SHOWN} more claims: see the tables of verdicts")
    if any(row.n for row in rows):
        commits = "+".join(sorted({c for row in rows for c in row.commit.split("+") if c}))
        newest = max(row.date for row in rows)
        lines += [
            f"provenance method version {rows[0].method_version}, commit {commits}, {newest}",
            "note       measured on the data named: tests the claim, is not the reported value",
        ]
    return "\n".join([*lines, *trip, "", paper.bibtex(), repository.bibtex()]) + "\n"


def _verdict(row: Measured) -> str:
    if row.n == 0:
        return row.verdict
    effect = "none" if row.effect is None else f"{row.effect:+.2f}"
    if row.effect_low is not None and row.effect_high is not None:
        effect += f" [{row.effect_low:+.2f}, {row.effect_high:+.2f}]"
    return f"{row.verdict}: {effect} {row.unit}, {row.n} seeds, study {row.study}"
