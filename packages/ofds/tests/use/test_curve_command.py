"""The command `ofds curve`: metrics by class against cost (field case O20)."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from ofds.use.curve_command import curve, powers
from repro_shared.runtime.cli import run

CLASSES = ("AP cat", "AP dog")


def command(*arguments: str) -> int:
    return run("ofds", "", {"curve": curve}, ["curve", *arguments], version="0")


def rows(seeds: int = 5) -> list[dict[str, float | str]]:
    found: list[dict[str, float | str]] = []
    for method, gain in (("random", 0.0), ("ofds", 0.1)):
        for budget in (100, 200, 400):
            for seed in range(seeds):
                base = 0.2 + budget / 2000 + np.random.default_rng([seed, budget]).normal(0, 0.02)
                found.append({
                    "method": method, "seed": seed, "budget": budget, "images": budget // 4,
                    "objects": budget - seed % 2, "pixels": 90 * budget, "seconds": 35 * budget,
                    "AP cat": base, "AP dog": base + gain * (1 + 0.01 * seed),
                })  # fmt: skip
    return found


def written(path: Path, table: list[dict[str, float | str]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    return str(path)


def test_a_curve_for_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, out = written(tmp_path / "runs.csv", rows()), tmp_path / "out"
    assert command(runs, "--metric", *CLASSES, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert "random" in printed
    assert "gains are paired by seed" in printed
    table = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    keys = [(row["metric"], row["budget"], row["method"]) for row in table]
    assert keys == [
        (metric, str(budget), method)
        for metric in CLASSES
        for budget in (100, 200, 400)
        for method in ("random", "ofds")
    ]
    assert {float(row["objects"]) for row in table} == {99.6, 199.6, 399.6}
    dog = [row for row in table if row["metric"] == "AP dog" and row["method"] == "ofds"]
    assert all(row["above random"].startswith("+0.1020 [+0.09") for row in dog)
    half = stats.t.ppf(0.975, 4) * np.std([0, 1, 2, 3, 4], ddof=1) * 0.001 / np.sqrt(5)
    assert [float(row["detectable"]) for row in dog] == pytest.approx([half] * 3, abs=5e-5)
    svg = ElementTree.parse(out / "curve.svg")
    assert svg.getroot().tag.endswith("svg")
    once = (out / "curve.svg").read_bytes()
    assert command(runs, "--metric", *CLASSES, "--out", str(out)) == 0
    assert (out / "curve.svg").read_bytes() == once


def test_what_the_seeds_could_show() -> None:
    effects = [0.1, 0.3, -0.1, 0.2, 0.0]
    ends = stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    half, more = powers(effects)
    assert half == pytest.approx((ends.high - ends.low) / 2)
    # At this true gain four in five trials would be called, were the spread known so well.
    sd, g = float(np.std(effects, ddof=1)), np.random.default_rng(0)
    drawn = g.normal(more, sd, (4000, 5))
    called = (stats.ttest_1samp(drawn, 0, axis=1, alternative="greater").pvalue < 0.025).mean()
    assert called == pytest.approx(0.8, abs=0.06)
    assert powers([0.1]) == (None, None)


def test_no_gain_at_unequal_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows()
    for row in table:
        if row["method"] == "ofds" and row["budget"] == 200:
            row["objects"] = 300
    runs = written(tmp_path / "runs.csv", table)
    assert command(runs, "--metric", "AP dog", "--out", str(tmp_path / "out")) == 0
    assert "Refused, no gain is shown: objects differ: ofds 300.0, random 199.6" in " ".join(
        capsys.readouterr().out.split()
    )
    found = list(csv.DictReader((tmp_path / "out" / "curve.csv").read_text().splitlines()))
    gains = [row["above random"] for row in found if row["method"] == "ofds"]
    assert [bool(gain) for gain in gains] == [True, False, True]


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, out = written(tmp_path / "runs.csv", rows()), str(tmp_path / "out")
    lone = written(tmp_path / "lone.csv", [r for r in rows() if r["method"] == "ofds"])
    no_control = [r for r in rows() if (r["method"], r["budget"]) != ("random", 200)]
    gap = written(tmp_path / "gap.csv", no_control)
    flat = written(tmp_path / "flat.csv", [
        {k: v for k, v in row.items() if k != "budget"} for row in rows()
    ])  # fmt: skip
    odd = written(tmp_path / "odd.csv", rows()[:-1])
    metric = ("--metric", "AP dog")
    for arguments, message in (
        ((runs, *metric), "--out is missing"),
        ((*metric, "--out", out), "give the tables of runs"),
        ((runs, "--out", out), "--metric is missing"),
        ((lone, *metric, "--out", out), "--control 'random': the methods are ofds"),
        ((gap, *metric, "--out", out), "'ofds' has budget 200, 'random' has not"),
        ((flat, *metric, "--out", out), "no number in column 'budget'"),
        ((odd, *metric, "--out", out), "seeds do not pair"),
    ):
        assert command(*arguments) == 2
        assert message in capsys.readouterr().err
        assert not Path(out).exists()
