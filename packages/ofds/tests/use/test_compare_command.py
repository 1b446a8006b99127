"""The command `ofds compare`: gains at equal cost, or none."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from ofds.use.compare_command import compare
from repro_shared.runtime.cli import run

BASE = [0.30, 0.34, 0.31, 0.29, 0.36, 0.33]
GAIN = [0.05, 0.04, 0.06, 0.05, 0.03, 0.07]
COST = {"images": 50, "objects": 200, "pixels": 9000, "seconds": 7000}


def table(path: Path, values: list[float], **more: Any) -> str:
    rows = [{"seed": s, "map": v, **COST, **more} for s, v in enumerate(values)]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def command(*arguments: str) -> int:
    return run("ofds", "", {"compare": compare}, ["compare", *arguments], version="0")


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    better = [b + g for b, g in zip(BASE, GAIN, strict=True)]
    return table(tmp_path / "random.csv", BASE), table(tmp_path / "ofds.json", better)


def test_a_gain_by_hand(
    two: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*two, "--out", str(tmp_path / "out.csv")) == 0
    printed = capsys.readouterr().out
    ends = stats.ttest_1samp(GAIN, 0).confidence_interval(0.95)
    assert f"+0.0500 [+{ends.low:.4f}, +{ends.high:.4f}]" in printed
    for cell in ("50.0", "200.0", "9000", "7000", "supported", "6 seeds, paired"):
        assert cell in printed
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["random", "ofds"]


def test_lower_may_be_better(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*two, "--lower") == 0
    assert "-0.0500" in (printed := capsys.readouterr().out)
    assert "contradicted" in printed
    assert command(*two, "--baseline", "ofds") == 0
    assert "-0.0500" in capsys.readouterr().out


def test_several_rivals_are_corrected(
    two: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A gain that alone would be called, and is not beside another rival's.
    weak = [0.02, -0.004, 0.03, 0.03, 0.0, 0.021]
    alone = stats.ttest_1samp(weak, 0).pvalue
    assert 0.025 < alone < 0.05
    rival = table(tmp_path / "rival.csv", [b + g for b, g in zip(BASE, weak, strict=True)])
    idle = table(tmp_path / "idle.csv", [b + 1e-3 * (-1) ** i for i, b in enumerate(BASE)])
    assert command(two[0], rival) == 0
    assert "supported" in capsys.readouterr().out
    assert command(two[0], rival, idle) == 0
    assert "supported" not in capsys.readouterr().out


def test_no_gain_without_counts_of_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        rows = [{"seed": s, "map": v, "images": 50} for s, v in enumerate(BASE)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    files = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    for more in ((), ("--cost", "images")):
        assert command(*files, *more) == 2
        printed = capsys.readouterr()
        assert "no column 'objects'" in printed.err
        assert not printed.out


def test_no_gain_at_unequal_cost(
    two: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowded = table(tmp_path / "crowded.csv", [1.0] * 6, objects=238)
    assert command(two[0], crowded) == 2
    printed = capsys.readouterr()
    assert "objects differ: crowded 238.0, random 200.0" in printed.err
    assert not printed.out
    assert command(*two, crowded) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("crowded"))
    assert line.endswith("refused")
    assert "+" not in line
    assert command(two[0], crowded, "--tolerance", "0.2") == 0
    near = table(tmp_path / "near.csv", [1.0] * 6, objects=209)
    assert command(two[0], near) == 0


def test_seeds_have_to_pair(
    two: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = table(tmp_path / "fewer.csv", BASE[:4])
    assert command(two[0], fewer) == 2
    assert "'random' has 0 1 2 3 4 5, 'fewer' has 0 1 2 3" in capsys.readouterr().err
    twice = tmp_path / "twice.csv"
    twice.write_text(Path(two[0]).read_text() + "0,0.3,50,200,9000,7000\n")
    assert command(two[1], str(twice)) == 2
    assert "seed 0 of 'twice' again" in capsys.readouterr().err


def test_few_seeds_get_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = table(tmp_path / "one.csv", BASE[:3])
    two = table(tmp_path / "two.csv", [0.9, 0.9, 0.9])
    assert command(one, two, "--out", str(tmp_path / "out.csv")) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[1]["verdict"] == "no verdict (n < 5)"
    assert "Fewer than 5 seeds: no verdict." in capsys.readouterr().out
    assert command(table(tmp_path / "a.csv", [0.3]), table(tmp_path / "b.csv", [0.5])) == 0
    assert "+0.2000" in capsys.readouterr().out


def test_one_table_of_several_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"arm": arm, "repeat": s, "budget": b, "metrics": {"map": v + 0.1 * (arm == "ofds")}} | COST
        for arm in ("random", "ofds")
        for b in (100, 200)
        for s, v in enumerate(BASE)
    ]
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert command(str(path)) == 2
    assert "keep budgets apart" in capsys.readouterr().err
    assert command(str(path), "--where", "budget=100") == 0
    assert "+0.1000 [+0.1000, +0.1000]" in capsys.readouterr().out


def test_refusals(two: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seedless = tmp_path / "seedless.csv"
    seedless.write_text("map,objects\n0.3,200\n")
    more = table(tmp_path / "more.csv", BASE, miou=0.5)
    (tmp_path / "damaged.json").write_text("{")
    for arguments, message in (
        ((), "give the tables of runs"),
        ((two[0],), "there is one method"),
        ((two[0], str(tmp_path / "none.csv")), "cannot be read"),
        ((two[0], str(tmp_path / "damaged.json")), "no JSON"),
        ((two[0], str(seedless)), "no whole number in a column `seed` or `repeat`"),
        ((*two, "--baseline", "x"), "the methods are random, ofds"),
        ((*two, "--metric", "miou"), "no number in column 'miou'"),
        ((more, two[1]), "--metric is missing"),
        ((*two, "--where", "budget=1"), "no column 'budget' (--where)"),
        ((*two, "--where", "objects=1"), "no run is left by --where"),
        ((*two, "--tolerance", "1"), "--tolerance must be"),
    ):
        assert command(*arguments) == 2
        assert message in capsys.readouterr().err
