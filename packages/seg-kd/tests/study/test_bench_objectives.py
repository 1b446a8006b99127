"""`seg-kd bench --what objectives`: both forms are one function, and all are timed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repro_shared.evidence.tables import Interval
from repro_shared.timing.bench import read_benches
from seg_kd.study import bench_objectives
from seg_kd.study.bench import command, table
from seg_kd.study.bench_objectives import AIMS, PLAIN, Shapes, pairs, steps

SMALL = Shapes(images=2, height=16, width=32, classes=4, own=6, other=32, rows=10)
NAMES = ["pair-wise", "class variation", "correlation", "mini-batch", "contrast", "boundary"]


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_one_function(name: str) -> None:
    torch.manual_seed(0)
    found = pairs(SMALL, "cpu")
    assert [*found] == NAMES
    loss, plain, leaf = found[name]
    torch.testing.assert_close(loss(), plain(), rtol=1e-4, atol=1e-6)
    slopes = [torch.autograd.grad(each(), leaf)[0] for each in (loss, plain)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-6)


def test_all_are_timed_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench_objectives.bench
    monkeypatch.setattr(bench_objectives, "bench", lambda *each: whole(*each, SMALL))
    command(what="objectives", rounds=2, out=str(tmp_path))
    (made,) = read_benches(tmp_path)
    assert made.name == "objectives"
    assert {*made.seconds} == {*NAMES, "memory", *(n + PLAIN for n in (*NAMES, "memory"))}
    rows = {row[0]: row[1:] for row in table(made).rows}
    assert [*rows] == [*NAMES, "memory"]
    assert all(isinstance(speed, Interval) and speed.mean > 0 for speed, _ in rows.values())
    assert {name: aim for name, (_, aim) in rows.items()} == {n: AIMS.get(n, 1.0) for n in rows}
    assert "2 x 16 x 32 positions" in capsys.readouterr().out


def test_the_shapes_are_those_of_the_measure() -> None:
    shapes = Shapes()
    assert shapes.maps(shapes.other, "meta").shape == (2, 512, 64, 128)
    assert shapes.classes == 19
    assert shapes.rows == 19 * (4096 // 19 + 1)
    labels = Shapes(height=8, width=8).labels("cpu")
    assert labels.shape == (2, 64, 64)
    assert {*labels.unique().tolist()} <= {*range(19), 255}
    assert len(steps(SMALL, "cpu")) == 14
