"""`seg-kd bench`: its interval, and that every row is measured."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import pytest

from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.timing.bench import add_bench, read_benches
from seg_kd.study.bench import BASELINE, bench, command, median_interval, table


def test_interval_of_a_median_covers_it_about_95_times_in_100() -> None:
    rng, covered = random.Random(0), 0
    for _ in range(2000):
        values = [rng.expovariate(1.0) for _ in range(64)]
        middle, low, high = median_interval(values)
        assert low < middle == statistics.median(values) < high
        covered += low <= 0.6931471805599453 <= high  # ln 2
    assert 0.94 < covered / 2000 < 0.99
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_bench_measures_every_objective_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(rounds=2, out=str(tmp_path))
    (made,) = read_benches(tmp_path)
    assert list(made.seconds) == [BASELINE, "logit", "feature", "feature+logit"]
    found = table(made)
    for threads, said in ((1, "rounds, 1 thread, "), (2, "rounds, 2 threads, ")):
        assert said in table(made.model_copy(update={"threads": threads})).notes[0]
    rows = {row[0]: row[1:] for row in found.rows}
    assert rows[BASELINE][0] == (0, 0, 0)
    assert all(isinstance(row[0], Interval) and -90 < row[0].mean < 900 for row in rows.values())
    assert [row[-1] for row in rows.values()] == [None, 3.0, 5.0, None]
    assert (tmp_path / "tables" / "bench-overhead.csv").is_file()
    assert found.title in capsys.readouterr().out
    with pytest.raises(UserError, match="has a bench overhead already"):
        add_bench(tmp_path, made)
    with pytest.raises(UserError, match="--rounds"):
        bench("cpu", 0)
