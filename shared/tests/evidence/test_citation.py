"""A citation answers a cell in a screen: reported, measured, verdict, where from, BibTeX."""

from dataclasses import replace
from typing import Any

import pytest

from repro_shared.evidence.cells import ReportedCell
from repro_shared.evidence.citation import Citation, Repository
from repro_shared.evidence.cite import cite
from repro_shared.evidence.measured import Measured

CELL = ReportedCell.model_validate(
    {
        "paper": "2604.25530", "table": "abstract", "row": "student", "column": "mIoU",
        "dataset": "Cityscapes", "metric": "mIoU", "unit": "percent", "value": "79.0",
        "source": "arXiv 2604.25530 (abstract)", "status": "abstract",
    }
)  # fmt: skip
PAPER = Citation("key2026", "Effects & Causes", ("A. One", "B. Two"), 2026, "2604.25530", 2)
REPOSITORY = Repository("repo", "reproductions", "0.1.0", 2026)
ROW = Measured.model_validate(
    {
        "claim": "feature-beats-plain", "statement": "Feature distillation beats plain training",
        "cells": CELL.id, "study": "equal_time", "data": "digit scenes", "arm": "feature",
        "rival": "plain", "metric": "miou", "unit": "mIoU points",
        "value": 63.0, "value_low": 61.0865, "value_high": 64.9135,
        "effect": 1.0, "effect_low": 0.8, "effect_high": 1.2,
        "n": 5, "seeds": "0 1 2 3 4", "verdict": "supported",
        "method_version": 2, "commit": "c" * 12,
        "date": "2026-11-24",
    }
)  # fmt: skip


def changed(**changes: Any) -> Measured:
    return Measured.model_validate({**ROW.model_dump(), **changes})


UNRUN = changed(
    claim="unrun", data="", value=None, value_low=None, value_high=None, effect=None,
    effect_low=None, effect_high=None, n=0, seeds="", verdict="not run",
    method_version=None, commit="", date="",
)  # fmt: skip


def test_citation_of_a_measured_cell() -> None:
    trip = ["row        feature", "equation   feature_distillation, seg_kd/method/losses.py:93"]
    assert (
        cite(CELL, [ROW], PAPER, REPOSITORY, trip)
        == f"""\
cell       abstract/student/miou/cityscapes
reported   79.0 percent (mIoU, student on Cityscapes)
status     abstract: read in the paper's abstract, not in a table; arXiv 2604.25530 (abstract)
claim      Feature distillation beats plain training (digit scenes)
verdict    supported: +1.00 [+0.80, +1.20] mIoU points, 5 seeds, study equal_time
provenance method version 2, commit {"c" * 12}, 2026-11-24
note       measured on the data named: tests the claim, is not the reported value
row        feature
equation   feature_distillation, seg_kd/method/losses.py:93

@misc{{key2026,
  title = {{{{Effects \\& Causes}}}},
  author = {{A. One and B. Two}},
  year = {{2026}},
  eprint = {{2604.25530v2}},
  archivePrefix = {{arXiv}},
  url = {{https://arxiv.org/abs/2604.25530v2}},
}}
@software{{repo,
  title = {{{{reproductions}}}},
  version = {{0.1.0}},
  year = {{2026}},
}}
"""
    )


def test_a_cell_that_nobody_measured_says_so_and_shows_no_number() -> None:
    elsewhere = changed(cells="table1/a/b")
    for rows in ([], [elsewhere]):
        text = cite(CELL, rows, PAPER, REPOSITORY)
        assert "measured   not run\nverdict    not run\n" in text
        assert "63.0" not in text
        assert "+1.00" not in text
    text = cite(CELL, [elsewhere, UNRUN], PAPER, REPOSITORY)
    assert "verdict    not run\n" in text
    assert "provenance" not in text


def test_claims_on_the_cell_are_shown_in_order_and_fit_a_screen() -> None:
    rows = [UNRUN, changed(cells=f"table1/a/b {CELL.id}", claim="second", verdict="contradicted")]
    text = cite(CELL, rows, PAPER, REPOSITORY)
    found = [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("verdict")]
    assert [verdict.partition(":")[0] for verdict in found] == ["not run", "contradicted"]
    text = cite(CELL, [changed(claim=f"claim-{n}") for n in range(10)], PAPER, REPOSITORY)
    assert "and 4 more claims" in text
    assert len(text.splitlines()) < 40


def test_few_seeds_show_a_mean_and_no_brackets() -> None:
    few = changed(
        n=1, seeds="0", value_low=None, value_high=None, effect_low=None, effect_high=None,
        verdict="no verdict (n < 5)",
    )  # fmt: skip
    text = cite(CELL, [few], PAPER, REPOSITORY)
    assert "verdict    no verdict (n < 5): +1.00 mIoU points, 1 seeds" in text


def test_a_cell_without_data_set_and_with_spread() -> None:
    cell = ReportedCell.model_validate(
        {**CELL.model_dump(exclude={"printed"}), "value": "79.10", "plus_minus": "0.30",
         "dataset": "", "status": "figure"}
    )  # fmt: skip
    text = cite(cell, [ROW], PAPER, REPOSITORY)
    assert "cell       abstract/student/miou\n" in text
    assert "reported   79.10 +- 0.30 percent (mIoU, student)\n" in text
    assert "status     figure: read off a plot, with the uncertainty given" in text
    assert "measured   not run" in text  # the row is about the cell with the data set


def test_bibtex_escapes_what_latex_would_run() -> None:
    paper = replace(PAPER, title="100% of A_B & C#1 at $5", authors=("Ä. Müller",))
    entry = paper.bibtex()
    assert r"title = {{100\% of A\_B \& C\#1 at \$5}}," in entry
    assert "author = {Ä. Müller}," in entry
    repository = replace(REPOSITORY, authors=("C. Three",), url="https://example.org/a_b")
    entry = repository.bibtex()
    assert "author = {C. Three}," in entry
    assert "url = {https://example.org/a_b}," in entry
    for text in (entry, paper.bibtex()):
        assert text.count("{") == text.count("}")


def test_a_cell_of_another_paper_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is of paper 2604\.25530"):
        cite(CELL, [], replace(PAPER, arxiv="1234.56789"), REPOSITORY)
