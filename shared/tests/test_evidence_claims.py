"""Verdicts follow from the records by the rule, and `measured.csv` carries them to a citation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from repro_shared.evidence.cells import ReportedCell
from repro_shared.evidence.citation import Paper, Repository, cite
from repro_shared.evidence.claims import Claim, Verdict, judge, verdict_table
from repro_shared.evidence.measured import (
    COLUMNS,
    Measured,
    measure,
    measured_text,
    read_measured,
    write_measured,
)
from repro_shared.evidence.records import RunRecord
from repro_shared.evidence.statistics import t_interval
from repro_shared.runtime.errors import UserError

CELL_ID = "abstract/student/miou/cityscapes"
PLAIN = [60.0, 61.0, 62.0, 63.0, 64.0]
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

CLAIM = Claim(
    id="feature-beats-plain",
    statement="Feature distillation beats plain training at equal time",
    cells=(CELL_ID,),
    recipe="equal_time",
    metric="miou",
    arm="feature",
    rival="plain",
    kind="superiority",
    unit="mIoU points",
)


def run(arm: str, seed: int, miou: float, **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "recipe": "equal_time",
        "recipe_hash": "0123456789abcdef",
        "recipe_config": {},
        "arm": arm,
        "seed": seed,
        "method_version": 2,
        "data_name": "digit scenes",
        "data_fingerprint": "f",
        "metrics": {"miou": miou},
        "seconds": 1.0,
        "samples_seen": 8,
        "provenance": {"git": {"commit": "c" * 40, "dirty": False}},
        "started": NOON,
        "finished": NOON + timedelta(seconds=seed),
        "status": "complete",
    }
    return RunRecord(**{**fields, **changes})


def runs(effects: Sequence[float], arm: str = "feature") -> list[RunRecord]:
    pairs = zip(PLAIN, effects, strict=False)
    return [run(arm, seed, plain + effect) for seed, (plain, effect) in enumerate(pairs)]


def plain_runs() -> list[RunRecord]:
    return runs([0.0] * 5, "plain")


def verdict_of(effects: Sequence[float], claim: Claim = CLAIM) -> Verdict:
    return judge([claim], runs(effects) + plain_runs())[0]


def non_inferiority(margin: float = 0.5) -> Claim:
    return replace(CLAIM, kind="non-inferiority", margin=margin)


@pytest.mark.parametrize(
    ("effects", "superior", "not_inferior"),
    [
        ([1.0, 1.2, 0.8, 1.1, 0.9], "supported", "supported"),
        ([0.1, -0.1, 0.2, -0.2, 0.0], "inconclusive", "supported"),
        ([2.0, -2.0, 1.0, -1.0, 0.0], "inconclusive", "inconclusive"),
        ([-0.3, -0.2, -0.25, -0.3, -0.2], "contradicted", "supported"),
        ([-1.0, -1.2, -0.8, -1.1, -0.9], "contradicted", "contradicted"),
        ([0.0] * 5, "inconclusive", "supported"),
        ([0.5] * 5, "supported", "supported"),
        ([-0.5] * 5, "contradicted", "inconclusive"),
    ],
)
def test_the_word_follows_the_interval(
    effects: list[float], superior: str, not_inferior: str
) -> None:
    assert verdict_of(effects).verdict == superior
    assert verdict_of(effects, non_inferiority()).verdict == not_inferior


def test_numbers_of_a_verdict() -> None:
    effects = [1.0, 1.5, 0.5, 1.25, 0.75]
    found = verdict_of(effects)
    mean, low, high = t_interval(effects)
    assert found.effects == tuple(effects)
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.n == 5
    assert (found.mean, found.low, found.high) == (mean, low, high)
    # sd = sqrt(0.625 / 4) = 0.39528; 2.77645 * 0.39528 / sqrt(5) = 0.49081.
    assert found.minimum_detectable == pytest.approx(0.49081, abs=1e-5)
    assert found.missing == ()


def test_threshold_and_margin_move_the_bound() -> None:
    effects = [1.0, 1.2, 0.8, 1.1, 0.9]  # interval 0.80 to 1.20
    assert verdict_of(effects, replace(CLAIM, threshold=0.7)).verdict == "supported"
    assert verdict_of(effects, replace(CLAIM, threshold=1.0)).verdict == "inconclusive"
    assert verdict_of(effects, replace(CLAIM, threshold=1.3)).verdict == "contradicted"
    worse = [-effect for effect in effects]
    assert verdict_of(worse, non_inferiority(1.3)).verdict == "supported"
    assert verdict_of(worse, non_inferiority(1.0)).verdict == "inconclusive"


def test_lower_is_better_turns_the_effect_round() -> None:
    found = verdict_of([-1.0, -1.2, -0.8, -1.1, -0.9], replace(CLAIM, higher_is_better=False))
    assert found.verdict == "supported"
    assert found.mean == pytest.approx(1.0)


def test_fewer_than_five_seeds_get_points_and_no_verdict() -> None:
    records = [r for r in runs([1.0, 1.25, 0.75]) + plain_runs() if r.seed < 3]
    found = judge([CLAIM], records)[0]
    assert found.verdict == "no verdict (n < 5)"
    assert found.effects == (1.0, 1.25, 0.75)
    assert found.mean == pytest.approx(1.0)
    assert found.low is found.high is found.minimum_detectable is None
    assert found.missing == ("feature seed 3", "feature seed 4", "plain seed 3", "plain seed 4")


def test_a_seed_missing_in_one_arm_is_named_and_not_dropped() -> None:
    claim = replace(CLAIM, seeds=(0, 1, 2, 3, 4, 5))
    records = [*runs([1.0] * 5), run("feature", 5, 70.0), *plain_runs()]
    found = judge([claim], records)[0]
    assert found.verdict == "not run"  # although five pairs are there
    assert found.missing == ("plain seed 5",)
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.low is None


def test_a_failed_run_counts_as_missing() -> None:
    records = runs([1.0] * 5) + plain_runs()
    records[2] = records[2].model_copy(update={"status": "failed"})
    found = judge([CLAIM], records)[0]
    assert found.verdict == "no verdict (n < 5)"
    assert found.missing == ("feature seed 2 (failed)",)
    assert found.seeds == (0, 1, 3, 4)


def test_without_records_a_claim_is_not_run() -> None:
    found = judge([CLAIM], [])[0]
    assert (found.verdict, found.mean, found.effects) == ("not run", None, ())


def test_seeds_and_recipes_that_the_claim_does_not_name_are_ignored() -> None:
    strangers = [
        run("feature", 100, 0.0),
        run("plain", 100, 99.0),
        run("feature", 0, 0.0, recipe="tuning"),
    ]
    effects = [1.0, 1.2, 0.8, 1.1, 0.9]
    assert judge([CLAIM], runs(effects) + plain_runs() + strangers)[0] == verdict_of(effects)


def test_holm_makes_a_family_stricter() -> None:
    # Alone, the interval is 0.02 to 1.98; as one of three it holds zero.
    weak = [1.0, 2.0, 0.0, 1.5, 0.5]
    assert verdict_of(weak).verdict == "supported"
    noisy = [2.0, -2.0, 1.0, -1.0, 0.5]
    family = [
        replace(CLAIM, id="weak", family="rivals"),
        replace(CLAIM, id="noisy-1", arm="a", family="rivals"),
        replace(CLAIM, id="noisy-2", arm="b", family="rivals"),
        replace(CLAIM, id="weak-alone"),
    ]
    records = runs(weak) + plain_runs() + runs(noisy, "a") + runs(noisy, "b")
    found = {verdict.claim_id: verdict for verdict in judge(family, records)}
    assert found["weak"].verdict == "inconclusive"
    assert found["weak-alone"].verdict == "supported"
    assert found["weak"].low == pytest.approx(t_interval(weak, 1 - 0.05 / 3).low)
    # A member that has not run counts too, so running it later cannot make the others stricter.
    unrun = judge(family, runs(weak) + plain_runs())
    assert unrun[0].verdict == "inconclusive"
    assert unrun[1].verdict == "not run"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"recipe_hash": "other"}, "recipe hash"),
        ({"method_version": 1}, "method version"),
        ({"data_fingerprint": "other"}, "data fingerprint"),
        ({"metrics": {"accuracy": 1.0}}, "no metric 'miou'"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(
    change: dict[str, Any], complaint: str
) -> None:
    records = runs([1.0] * 5) + plain_runs()
    records[1] = records[1].model_copy(update=change)
    with pytest.raises(UserError, match=complaint):
        judge([CLAIM], records)


def test_two_records_of_one_run_are_refused() -> None:
    with pytest.raises(UserError, match="two records of recipe equal_time, arm plain, seed 0"):
        judge([CLAIM], plain_runs() + plain_runs())


@pytest.mark.parametrize(
    "change",
    [{"kind": "equality"}, {"seeds": ()}, {"seeds": (0, 0)}],
)
def test_a_claim_that_makes_no_sense_cannot_be_written(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="feature-beats-plain"):
        replace(CLAIM, **change)
    with pytest.raises(ValueError, match="margin"):
        non_inferiority(0.0)
    with pytest.raises(ValueError, match="share one id"):
        judge([CLAIM, CLAIM], [])


def test_verdict_table_says_seeds_data_points_and_the_detectable_effect() -> None:
    claims = [CLAIM, replace(CLAIM, id="shuffled", arm="shuffled", negative_control=True)]
    verdicts = judge(claims, runs([1.0, 1.2, 0.8, 1.1, 0.9]) + plain_runs())
    table = verdict_table(claims, verdicts, "equal-time", "Equal time", "rendered digits")
    text = table.to_markdown()
    assert "| effect (mIoU points) |" in text
    assert "supported" in text
    assert "(negative control)" in text
    assert "- Data: rendered digits." in text
    assert "seeds 0 1 2 3 4; effects +1.00, +1.20, +0.80, +1.10, +0.90." in text
    assert "not run: shuffled seed 0" in text
    assert "half-width" in text
    with pytest.raises(ValueError, match="one unit"):
        verdict_table([claims[0], replace(claims[1], unit="s")], verdicts, "t", "t", "d")


def measured_rows() -> list[Measured]:
    claims = [CLAIM, replace(CLAIM, id="unrun", arm="other", statement="-1 is text, = too")]
    records = runs([1.0, 1.2, 0.8, 1.1, 0.9]) + plain_runs()
    return measure(claims, judge(claims, records), records)


def test_measured_rows_hold_value_effect_and_origin() -> None:
    row, unrun = measured_rows()
    assert row.value == 63.0
    # sd = sqrt(9.5 / 4) = 1.5411; 2.77645 * 1.5411 / sqrt(5) = 1.9135.
    assert (row.value_low, row.value_high) == (61.0865, 64.9135)
    assert row.effect == pytest.approx(1.0)
    assert (row.n, row.seeds, row.verdict) == (5, (0, 1, 2, 3, 4), "supported")
    assert (row.commit, row.date) == ("c" * 12, "2026-11-24")
    assert (row.recipe_hash, row.method_version) == ("0123456789abcdef", 2)
    assert (unrun.n, unrun.value, unrun.verdict, unrun.commit) == (0, None, "not run", "")


def test_measured_csv_round_trips_and_is_stable(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    rows = measured_rows()
    write_measured(path, rows)
    assert read_measured(path) == rows
    assert path.read_text("utf-8") == measured_text(read_measured(path))
    assert "'-1 is text" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("claim,", "claims,", "columns must be claim,"),
        (",supported,", ",proved,", "line 2: verdict"),
        (",63.0,", ",many,", "line 2: value"),
        ("0 1 2 3 4", "0 x", "line 2: seeds"),
        (",not run,", ",", "line 3: 21 cells instead of 22"),
    ],
)
def test_a_damaged_measured_csv_names_the_line(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert len(COLUMNS) == 22
    path = tmp_path / "measured.csv"
    path.write_text(measured_text(measured_rows()).replace(old, new, 1), "utf-8")
    with pytest.raises(UserError, match=complaint):
        read_measured(path)


CELL = ReportedCell.model_validate(
    {
        "paper": "2604.25530", "table": "abstract", "row": "student", "column": "mIoU",
        "dataset": "Cityscapes", "metric": "mIoU", "unit": "percent", "value": "79.0",
        "source": "arXiv 2604.25530 (abstract)", "status": "abstract",
    }
)  # fmt: skip
PAPER = Paper("key2026", "Effects & Causes", ("A. One", "B. Two"), 2026, "2604.25530", 2)
REPOSITORY = Repository("repo", "reproductions", "0.1.0", 2026)


def test_citation_of_a_measured_cell() -> None:
    text = cite(CELL, measured_rows()[:1], PAPER, REPOSITORY)
    assert (
        text
        == f"""\
cell       abstract/student/miou/cityscapes
reported   79.0 percent (mIoU, student on Cityscapes)
status     abstract: read in the paper's abstract, not in a table
source     arXiv 2604.25530 (abstract)

claim      feature-beats-plain: Feature distillation beats plain training at equal time
measured   miou 63.00 [61.09, 64.91] mIoU points for feature on digit scenes
effect     +1.00 [+0.80, +1.20] mIoU points against plain
seeds      0 1 2 3 4 (n = 5); brackets: 95 % Student t interval, Holm in a family
verdict    supported
provenance recipe equal_time (0123456789ab), method version 2, commit {"c" * 12}, 2026-11-24

The measured values are on the data named beside them. They test the claims, and do not stand in \
for the reported value.

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


def test_citation_of_a_cell_that_nobody_measured() -> None:
    other = measured_rows()[0].model_copy(update={"cells": ("table1/a/b",)})
    text = cite(CELL, [other], PAPER, REPOSITORY)
    assert "measured   not run" in text
    assert "verdict    not run" in text
    assert "63.0" not in text
    assert "verdict    not run" in cite(CELL, measured_rows()[1:], PAPER, REPOSITORY)


def test_a_cell_of_another_paper_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is of paper 2604\.25530"):
        cite(CELL, [], replace(PAPER, arxiv="1234.56789"), REPOSITORY)
