"""`seg-kd bench`: its interval, and that every row is measured."""

from __future__ import annotations

import random
import statistics

from seg_kd.study.bench import BASELINE, bench, median_interval


def test_interval_of_a_median_covers_it_about_95_times_in_100() -> None:
    rng, covered = random.Random(0), 0
    for _ in range(2000):
        values = [rng.expovariate(1.0) for _ in range(64)]
        middle, low, high = median_interval(values)
        assert low < middle == statistics.median(values) < high
        covered += low <= 0.6931471805599453 <= high  # ln 2
    assert 0.94 < covered / 2000 < 0.99
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_bench_measures_every_objective() -> None:
    table = bench("cpu", 2)
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == [BASELINE, "logit", "feature", "feature+logit"]
    assert rows[BASELINE][0] == 0
    assert all(-90 < row[0] < 900 for row in rows.values())
    assert [row[-1] for row in rows.values()] == [None, 3.0, 5.0, None]
    assert table.title.startswith("Overhead")
