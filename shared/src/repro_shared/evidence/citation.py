"""`cite`: one reported cell beside what was measured here, ready to paste, with BibTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from repro_shared.evidence.cells import STATUS_MEANING, ReportedCell
from repro_shared.evidence.measured import Measured


@dataclass(frozen=True)
class Paper:
    """A paper on arXiv.

    Attributes:
        key: BibTeX key.
        year: Of the first version.
        arxiv: Id without version, e.g. `2604.25530`.
        version: The version that was read, e.g. 2.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str
    version: int

    def bibtex(self) -> str:
        """A `@misc` entry as arXiv suggests it."""
        return _entry(
            "misc",
            self.key,
            {
                "title": f"{{{_tex(self.title)}}}",
                "author": " and ".join(map(_tex, self.authors)),
                "year": str(self.year),
                "eprint": f"{self.arxiv}v{self.version}",
                "archivePrefix": "arXiv",
                "url": f"https://arxiv.org/abs/{self.arxiv}v{self.version}",
            },
        )


@dataclass(frozen=True)
class Repository:
    """The software that measured.

    Attributes:
        authors: Left out of the entry where empty.
        url: Left out where it is not known.
    """

    key: str
    title: str
    version: str
    year: int
    authors: tuple[str, ...] = ()
    url: str = ""

    def bibtex(self) -> str:
        """A `@software` entry (biblatex; plain BibTeX styles print it like `@misc`)."""
        return _entry(
            "software",
            self.key,
            {
                "title": f"{{{_tex(self.title)}}}",
                "author": " and ".join(map(_tex, self.authors)),
                "version": _tex(self.version),
                "year": str(self.year),
                "url": self.url,
            },
        )


def cite(
    cell: ReportedCell, measured: Sequence[Measured], paper: Paper, repository: Repository
) -> str:
    """Reported value, status and source; measured values with verdicts and provenance; BibTeX.

    Args:
        cell: The reported cell.
        measured: All rows of `measured.csv`; those of claims that name the cell are shown.
        paper: The paper that the cell is from.
        repository: What to cite for the measured values.
    """
    if cell.paper != paper.arxiv:
        raise ValueError(f"cell {cell.id} is of paper {cell.paper}, not of {paper.arxiv}")
    where = f" on {cell.dataset}" if cell.dataset else ""
    lines = [
        _line("cell", cell.id),
        _line("reported", f"{cell.printed} {cell.unit} ({cell.column}, {cell.row}{where})"),
        _line("status", f"{cell.status}: {STATUS_MEANING[cell.status]}"),
        _line("source", cell.source),
    ]
    rows = [row for row in measured if cell.id in row.cells]
    for row in rows:
        lines += ["", *_measured_lines(row)]
    if rows:
        lines += [
            "",
            "The measured values are on the data named beside them. They test the claims, and do "
            "not stand in for the reported value.",
        ]
    else:
        lines += ["", _line("measured", "not run"), _line("verdict", "not run")]
    return "\n".join([*lines, "", paper.bibtex(), "", repository.bibtex()]) + "\n"


def _measured_lines(row: Measured) -> list[str]:
    lines = [_line("claim", f"{row.claim}: {row.statement}")]
    if row.n == 0:
        return [*lines, _line("measured", "not run"), _line("verdict", row.verdict)]
    seeds = " ".join(map(str, row.seeds))
    value = _with_interval(row.value, row.value_low, row.value_high, "")
    brackets = "; brackets: 95 % Student t interval, Holm in a family"
    if row.value_low is None and row.effect_low is None:
        brackets = ""
    effect = _with_interval(row.effect, row.effect_low, row.effect_high, "+")
    return [
        *lines,
        _line("measured", f"{row.metric} {value} {row.unit} for {row.arm} on {row.data}"),
        _line("effect", f"{effect} {row.unit} against {row.rival}"),
        _line("seeds", f"{seeds} (n = {row.n}){brackets}"),
        _line("verdict", row.verdict),
        _line(
            "provenance",
            f"recipe {row.recipe} ({row.recipe_hash[:12]}), method version {row.method_version}, "
            f"commit {row.commit}, {row.date}",
        ),
    ]


def _with_interval(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    if value is None:
        return "none"
    text = f"{value:{sign}.2f}"
    return text if low is None or high is None else f"{text} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _line(label: str, text: str) -> str:
    return f"{label:<11}{text}"


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)
