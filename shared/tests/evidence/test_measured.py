"""`measured.csv`: the numbers of the records, the same bytes each time, damage named by line."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from repro_shared.evidence.claims import Claim, judge
from repro_shared.evidence.measured import (
    COLUMNS,
    Measured,
    measure,
    measured_text,
    read_measured,
)
from repro_shared.evidence.records import Origin, RunRecord
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PLAIN = [60.0, 61.0, 62.0, 63.0, 64.0]
FEATURE = [61.0, 62.25, 62.75, 64.0, 65.0]

CLAIM = Claim(
    id="feature-beats-plain",
    statement="Feature beats plain",
    cells=("abstract/student/miou", "table1/student/miou"),
    study="equal_time",
    metric="miou",
    arm="feature",
    rival="plain",
    kind="superiority",
    unit="mIoU points",
)
UNRUN = replace(CLAIM, id="unrun", arm="other", statement='-1 is text, "quoted" too')


def run(arm: str, seed: int, miou: float, **changes: Any) -> RunRecord:
    shared: dict[str, Any] = {
        "method_version": 2,
        "data_name": "digit scenes",
        "data_fingerprint": "f",
        "provenance": {"git": {"commit": "c" * 40, "dirty": False}},
    }
    shared |= {name: changes.pop(name) for name in [*shared] if name in changes}
    fields: dict[str, Any] = {
        "study": "equal_time",
        "origin": Origin(**shared),
        "arm": arm,
        "seed": seed,
        "key": "1234-abcd",
        "config": "c0ffee",
        "metrics": {"miou": miou},
        "seconds": 1.0,
        "samples": 8,
        "started": NOON,
        "finished": NOON + timedelta(seconds=seed),
        "status": "complete",
    }
    return RunRecord(**{**fields, **changes})


def records(seeds: int = 5) -> list[RunRecord]:
    return [
        run(arm, seed, values[seed])
        for arm, values in (("feature", FEATURE), ("plain", PLAIN))
        for seed in range(seeds)
    ]


def rows(runs: list[RunRecord]) -> list[Measured]:
    claims = [CLAIM, UNRUN]
    return measure(claims, judge(claims, runs), runs)


# t_4 at 97.5 % is 2.77645. Values: sd = sqrt(9.625 / 4) = 1.55121, half-width 1.92608.
# Effects 1, 1.25, 0.75, 1, 1: sd = sqrt(0.125 / 4) = 0.176777, half-width 0.219497.
TEXT = f"""\
{",".join(COLUMNS)}
feature-beats-plain,Feature beats plain,abstract/student/miou table1/student/miou,equal_time,\
digit scenes,feature,plain,miou,mIoU points,63.0,61.0739,64.9261,1.0,0.780503,1.2195,5,0 1 2 3 4,\
supported,2,cccccccccccc,2026-11-24,False
unrun,"'-1 is text, ""quoted"" too",abstract/student/miou table1/student/miou,equal_time,,other,\
plain,miou,mIoU points,,,,,,,0,,not run,,,,False
"""


def test_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    atomic_write_text(path, measured_text(rows(records())))
    assert path.read_bytes() == TEXT.encode()
    assert read_measured(path) == rows(records())
    assert measured_text(read_measured(path)) == TEXT


def test_bytes_depend_neither_on_order_nor_on_the_last_bits_of_a_number() -> None:
    assert measured_text(rows(records()[::-1])) == TEXT
    shaken = [
        r.model_copy(update={"metrics": {"miou": math.nextafter(r.metrics["miou"], 100.0)}})
        for r in records()
    ]
    assert measured_text(rows(shaken)) == TEXT


def test_value_and_effect_have_the_intervals_of_scipy() -> None:
    row = rows(records())[0]
    value = stats.ttest_1samp(FEATURE, 0.0).confidence_interval(0.95)
    effect = stats.ttest_rel(FEATURE, PLAIN).confidence_interval(0.95)
    assert (row.value_low, row.value_high) == pytest.approx((value.low, value.high), rel=1e-5)
    # Two claims share a cell but no family, so the second one does not widen the first one's.
    assert (row.effect_low, row.effect_high) == pytest.approx((effect.low, effect.high), rel=1e-5)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_few_seeds_have_a_mean_effect_without_an_interval(seeds: int) -> None:
    row = rows(records(seeds))[0]
    effects = [f - p for f, p in zip(FEATURE[:seeds], PLAIN[:seeds], strict=True)]
    assert row.effect == pytest.approx(sum(effects) / seeds, rel=1e-5)
    assert row.effect_low is row.effect_high is None
    assert (row.value_low is None) == (seeds == 1)
    assert (row.n, row.seeds) == (seeds, tuple(range(seeds)))
    assert row.verdict == "no verdict (n < 5)"


def test_only_the_runs_behind_the_numbers_give_origin() -> None:
    runs = records()
    late = datetime(
        2026, 11, 26, 1, 0, tzinfo=timezone(timedelta(hours=2))
    )  # still the 25th in UTC
    dirty = {"git": {"commit": "d" * 40, "dirty": True}}
    runs[7] = run("plain", 2, PLAIN[2], finished=late, provenance=dirty)
    runs.append(run("stranger", 0, 1.0, provenance={"git": {"commit": "e" * 40, "dirty": False}}))
    row = rows(runs)[0]
    assert row.commit == f"{'c' * 12}+{'d' * 12}-dirty"
    assert row.date == "2026-11-25"
    runs[7] = run("plain", 2, PLAIN[2], finished=late, provenance={"git": None})
    assert rows(runs)[0].commit == f"{'c' * 12}+unknown"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("claim,", "claims,", "columns must be claim,"),
        (",supported,", ",proved,", "line 2: verdict"),
        (",63.0,", ",many,", "line 2: value"),
        (",63.0,", ",inf,", "line 2: value"),
        ("0 1 2 3 4", "0 x", "line 2: seeds"),
        (",not run,", ",", "line 3: 21 cells instead of 22"),
    ],
)
def test_damage_names_the_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "measured.csv"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1), "utf-8")
    with pytest.raises(UserError, match=complaint):
        read_measured(path)
