"""README: "Distil your own model" runs as it stands, with less data and smaller steps."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[2] / "README.md"


def test_distil_your_own_model(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    transformers = pytest.importorskip("transformers")
    example = README.read_text().split("```python\n")[2].partition("```")[0]
    assert len(example.splitlines()) <= 30
    small = {
        '"DIR"': f'"{folder}"',
        "ignore=(11,)": "ignore=(11,), crop=(64, 64)",
        "batch_size=8": "batch_size=2",
        "iterations=20000": "iterations=2",
    }
    for name, value in small.items():
        assert example.count(name) == 1
        example = example.replace(name, value)
    (tmp_path / "mine.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    config = transformers.SegformerConfig(num_labels=11)
    teacher = transformers.SegformerForSemanticSegmentation(config)
    torch.save(teacher.state_dict(), "teacher.pth")
    made = runpy.run_path("mine.py")
    scores = json.loads(capsys.readouterr().out)
    assert scores["iterations"] == 2
    state = torch.load(tmp_path / "runs/own/model.pth", weights_only=True)["state_dict"]
    made["student"]().load_state_dict(state)
