"""`ofds bench` at tiny sizes: what it compares is the same work, and what it keeps makes tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.cli import PAPER
from ofds.study import bench, bench_growth
from ofds.study.bench import Sizes, run
from ofds.study.bench_tables import table
from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.study.publish import table_of
from repro_shared.timing.bench import Bench, read_benches

TINY = Sizes(
    width=16, classes=3, groups=1, objects=300, k=5, tiles=1, many=1500, budget=12, growth=(600,),
    rounds=2, slow_rounds=2,
)  # fmt: skip


def rows(made: Bench) -> dict[Any, Any]:
    return {row[0]: row[1:] for row in table(made).rows}


def test_the_same_clusters_by_three_libraries(tmp_path: Path) -> None:
    (made,) = run(TINY, ("kmeans",), 2, str(tmp_path), None)
    found = rows(made)
    assert list(found) == ["ofds", "scikit-learn", "faiss"]
    for _, inertia, _ in found.values():
        assert inertia == pytest.approx(1, abs=0.01)
    assert found["ofds"][2] == "yes"
    assert found["scikit-learn"][0] == Interval(1, 1, 1)
    assert made.settings["objects"] == 300
    assert read_benches(tmp_path) == [made]
    assert table_of(PAPER, "bench-kmeans", tmp_path)[0] == table(made)
    assert (tmp_path / "tables" / "bench-kmeans.csv").is_file()
    with pytest.raises(UserError, match="has a bench kmeans already"):
        run(TINY, ("kmeans",), 2, str(tmp_path), None)


def test_the_inertia_is_that_of_the_centres() -> None:
    x, centres = bench.points(300, 8, 0), bench.points(4, 8, 1)
    apart = ((x[:, None].astype(np.float64) - centres[None]) ** 2).sum(-1).min(axis=1).sum()
    assert bench._inertia(x, centres) == pytest.approx(apart, rel=1e-4)


def test_rates_of_assignment() -> None:
    (made,) = run(TINY, ("assignment",), 1, None, None)
    times = {name: [2.0 if name.startswith("products") else 3.0] * 2 for name in made.seconds}
    found = table(made.model_copy(update={"seconds": times})).rows
    assert [row[:2] for row in found] == [
        (what, k) for k in (5, 50) for what in ("products", "assignment", "first pass")
    ]
    rate, part = found[4][2:]
    assert isinstance(rate, Interval)
    assert isinstance(part, Interval)
    assert rate.mean == pytest.approx(2e-9 * 4096 * 16 * 50 / 3)
    assert part.mean == pytest.approx(2 / 3)


def test_iterations_that_were_not_run_are_extrapolated(tmp_path: Path) -> None:
    (made,) = run(TINY, ("million",), 2, None, str(tmp_path))
    assert not list(tmp_path.iterdir())  # nothing is left behind
    assert made.settings["chosen"] == 12
    times = {"OFDS, whole selection": [2.0, 2.0], "scikit-learn, 1 iteration": [3.0, 3.0],
             "scikit-learn, 3 iterations": [5.0, 7.0]}  # fmt: skip
    found = rows(made.model_copy(update={"seconds": times}))
    seconds, ratio = found["scikit-learn, 25 iterations, extrapolated"]
    assert seconds == pytest.approx(3 + 1.5 * 24)
    assert ratio.mean == pytest.approx(39 / 2)
    assert found["scikit-learn, 3 iterations"][0] == 6


def test_growth_in_processes_of_their_own(tmp_path: Path) -> None:
    (made,) = run(TINY, ("growth",), 1, str(tmp_path), None)
    found = made.settings["found"]
    assert made.name == "growth-threads-1"
    assert [each["objects"] for each in found] == [600]
    assert all(0 < each["chosen"] <= 12 for each in found)
    assert all(20 < each["own_mib"] < 1000 for each in found)
    assert [row[0] for row in table(made).rows] == [600]
    assert (tmp_path / "figures" / "bench-growth-threads-1.svg").is_file()


def test_memory_is_seen_where_it_is() -> None:
    with bench_growth.Peak() as peak:
        before = bench_growth.resident()[0]
        block = np.ones(60 << 17)  # 60 MiB
        own = bench_growth.resident()[0]
        del block
    assert own - before > 50
    assert peak.own >= before


def test_a_process_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_growth, "draw_features", lambda path, *_: path.write_bytes(b"x"))
    with pytest.raises(UserError, match=r"the selection from 600 objects failed: .*no .npy file"):
        bench_growth.measured(tmp_path, 600, 8, 2, 5, 1)


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="--threads must be at least 1"):
        run(TINY, ("kmeans",), 0, None, None)
