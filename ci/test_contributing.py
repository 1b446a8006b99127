"""The worked example of CONTRIBUTING.md is a paper that runs."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_shared.study.command import main
from repro_shared.study.paper import Paper
from repro_shared.study.trip import broken

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (src/\S+)\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paper]:
    for name, code in BLOCKS:
        path = tmp_path / "packages" / "ridge" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    source = tmp_path / "packages" / "ridge" / "src"
    (source / "ridge" / "tables").mkdir()
    (source / "ridge" / "tables" / "reported.csv").write_text(
        "paper,table,row,column,dataset,metric,unit,value,plus_minus,source,status\n"
    )
    (tmp_path / "packages" / "ridge" / "results").mkdir()
    monkeypatch.syspath_prepend(source)
    yield importlib.import_module("ridge.cli").PAPER
    for name in [name for name in sys.modules if name.split(".")[0] == "ridge"]:
        del sys.modules[name]


def test_the_worked_example_runs(paper: Paper, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(paper.results)
    assert main(paper, ["reproduce", "--scale", "smoke", "--out", out]) == 0
    assert main(paper, ["reproduce", "--seeds", "0", "1", "2", "3", "4", "--out", out]) == 0
    assert main(paper, ["report"]) == 0
    assert main(paper, ["report", "--check"]) == 0
    assert "ridge-beats-none" in (paper.source / "tables" / "measured.csv").read_text()
    capsys.readouterr()
    assert main(paper, ["table", "few-examples"]) == 0
    said = capsys.readouterr().out
    assert "| ridge, 80 examples |" in said
    assert re.search(r"^equation +ridge, ridge/method/penalty\.py:7$", said, re.MULTILINE)
    runs = (paper.results / "few_examples" / "runs.jsonl").read_text().splitlines()
    assert len(runs) == 10
    assert {json.loads(line)["status"] for line in runs} == {"complete"}
    for recipe, study in paper.every_study():
        for arm in study.arms:
            assert broken(recipe, arm) == []


def test_it_is_about_as_short_as_it_claims() -> None:
    (cli,) = [code for name, code in BLOCKS if name.endswith("cli.py")]
    assert len(cli.splitlines()) < 60
