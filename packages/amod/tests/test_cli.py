"""The command: the FLOP table, a cell, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from amod import cli
from amod.bench import bench
from amod.flop_table import flop_table, rows


def call(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["amod", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_flop_table_reproduces_what_it_can_and_says_what_not() -> None:
    found = {row.cell.id: row.agreement for row in rows()}
    assert not [cell for cell, agreement in found.items() if agreement == "differs"]
    exact = [cell for cell in found if cell.startswith(("table4", "table5"))]
    assert len(exact) == 24
    assert {found[cell] for cell in exact} == {"equal"}
    assert found["figure8/deit-small-isoflop/gflops/stanford-cars"].startswith("read off a plot")
    assert found["table9/detr/gflops/coco"].startswith("DETR")
    assert len(flop_table().rows) == len(found)


def test_reproduce_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("reproduce", "--out", str(tmp_path)) == 0
    assert "closed form" in capsys.readouterr().out
    assert (tmp_path / "tables" / "flops.csv").is_file()
    assert call("reproduce", "--plan", "--out", str(tmp_path / "none")) == 0
    assert not (tmp_path / "none").exists()


def test_cite_gives_the_cell_and_bibtex(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("cite", "table3/deit-small-a-mod/top-1-at-50/imagenet-1k") == 0
    printed = capsys.readouterr().out
    assert "13.49 percent" in printed
    assert "not run" in printed
    assert "eprint = {2412.20875v1}" in printed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("reproduce", "--table", "table1"), "unknown table"),
        (("reproduce", "--seeds", "0"), "needs neither"),
        (("table", "table9"), "no table"),
        (("cite", "table1/x/y"), "no reported cell"),
        (("convert",), "unknown command"),
    ],
)
def test_refusals(
    arguments: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert line in capsys.readouterr().err


def test_bench_gives_ratios_beside_the_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    table = bench("vit_tiny_patch16_224", 2, 2, img_size=64, embed_dim=48, depth=4)
    assert [row[0] for row in table.rows] == ["0.5", "0.125"]
    for _, speed, low, high, top, realised in table.rows:
        assert isinstance(speed, float)
        assert isinstance(top, float)
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert 0 < low <= high
        assert 1 < top < 2
        assert realised == pytest.approx(speed / top)
    for model in ("no_such_model", "resnet18"):
        assert call("bench", "--model", model) == 2
        assert model.partition("18")[0] in capsys.readouterr().err.lower()


def test_committed_table_is_fresh() -> None:
    assert call("report", "--check") == 0
