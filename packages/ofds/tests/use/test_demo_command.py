"""The command `ofds demo`, on fewer images."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from ofds.use import demo_command
from ofds.use.demo_command import VERBS, demo
from ofds.use.selection_file import read_selection
from repro_shared.runtime.cli import run


def test_the_whole_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("IMAGES", 16), ("SAMPLE", 8), ("BUDGET", 12), ("MINIMUM", 1)):
        monkeypatch.setattr(demo_command, name, value)
    out = tmp_path / "demo"
    assert run("ofds", "", {"demo": demo}, ["demo", "--out", str(out)], version="0") == 0
    printed = capsys.readouterr().out
    commands = [shlex.split(x)[1:] for x in printed.splitlines() if x.startswith("$ ofds ")]
    assert [command[1] for command in commands] == [
        "propose", "sample", "select", "export", "export", "ingest", "ingest", "estimate", "audit",
    ]  # fmt: skip
    assert {command[1] for command in commands} <= VERBS.keys()
    truth = json.loads((out / "truth.json").read_text())
    assert len(truth) == 16 == len(list((out / "photos").iterdir()))
    # What came back for the sample is the truth.
    sample = read_selection(out / "sample").names
    labels = json.loads((out / "sample-labels" / "labels.json").read_text())
    assert {image["file_name"] for image in labels["images"]} == set(sample)
    assert len(labels["annotations"]) == sum(len(truth[name]) for name in sample)
    chosen = read_selection(out / "chosen")
    assert chosen.header["budget"]["spent"] <= 12
    estimate = json.loads((out / "estimate.json").read_text())
    low, high = estimate["cost"]["objects"][1:]
    assert low <= sum(len(truth[name]) for name in chosen.names) <= high
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") >= len(chosen.names)
    assert run("ofds", "", {"demo": demo}, ["demo", "--out", str(out)], version="0") == 2
    assert "is not empty" in capsys.readouterr().err
