"""Benches as lines: rounds and ratios, the table, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest

from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import (
    BENCHES,
    Bench,
    add_bench,
    bench_of,
    place_of,
    read_benches,
    speed_table,
)
from repro_shared.timing.calibrate import Calibration

SECONDS = {"slow": [2.0, 4.0, 6.123456789], "fast": [1.0, 1.0, 3.0]}


def made(name: str = "one", **changes: Any) -> Bench:
    calibration = Calibration(SECONDS, SECONDS, 3, 2, 1, 1, {"cpu": "a processor", "torch": "2"})
    when = datetime(2026, 1, 2, tzinfo=UTC)
    return bench_of(name, calibration, {"git": None}, finished=when, device="cpu").model_copy(
        update=changes
    )


def test_a_bench_is_a_line_that_is_read_again(tmp_path: Path) -> None:
    for name in ("two", "one"):
        add_bench(tmp_path, made(name))
    assert read_benches(tmp_path) == [made("one"), made("two")]
    assert made().seconds["slow"][2] == 6.123457
    assert (made().rounds, made().warmup, made().lead_in) == (3, 2, 1)
    with pytest.raises(UserError, match="has a bench one already: give another --out"):
        add_bench(tmp_path, made())
    file = tmp_path / BENCHES
    with file.open("a") as lines:
        lines.write('{"name": "torn')
    assert len(read_benches(tmp_path)) == 2  # a torn last line is passed over
    with pytest.raises(UserError, match="already: give another --out"):
        place_of(tmp_path, made().name)  # before it is timed
    add_bench(tmp_path, made("three"))
    assert [bench.name for bench in read_benches(tmp_path)] == ["one", "three", "two"]
    file.write_text(file.read_text().replace('"warmup": 2', '"warmup": -2', 1))
    with pytest.raises(UserError, match=r"bench\.jsonl, line 1: damaged \(warmup"):
        read_benches(tmp_path)
    assert read_benches(tmp_path / "none") == []


def test_ratios_are_taken_round_by_round() -> None:
    # slow / fast is 2, 4 and about 2: its median is not the ratio of the medians, which is 4.
    ratio = made().ratio("slow", "fast")
    assert ratio.mean == pytest.approx(6.123457 / 3)
    table = speed_table(made(), "slow", "Title", ["A note."])
    assert table.id == "bench-one"
    assert [column.name for column in table.columns] == ["model", "speed"]
    assert table.rows[0] == ("slow", Interval(1.0, 1.0, 1.0))
    assert "1 thread, cpu, a processor, torch 2, 2026-01-02" in table.notes[0]
    assert table.notes[1] == "A note."
    assert "Fewer than 15 rounds" in table.notes[2]
    counted = speed_table(made(macs={"slow": 30, "fast": 10}), "slow", "Title")
    assert counted.rows[1][2:] == (3.0, pytest.approx(ratio.mean / 3))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seconds": {}}, "at least one arm"),
        ({"seconds": {"slow": [1.0], "fast": []}}, "same rounds"),
        ({"seconds": {"slow": []}}, "no round"),
        ({"seconds": {"slow": [0.0]}}, "greater than 0"),
        ({"macs": {"other": 1}}, "other arms"),
        ({"name": "Two Words"}, "pattern"),
    ],
)
def test_what_is_no_bench(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=line):
        Bench.model_validate({**made().model_dump(), **changes})
