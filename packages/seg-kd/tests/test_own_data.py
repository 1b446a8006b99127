"""train, distill, evaluate on a label-map folder and mmseg configs of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from seg_kd import adapter, cli
from seg_kd.recipes.base import Model


def call(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-kd", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 0


def test_teacher_to_student_to_score(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = {}
    for name, width in (("teacher", 16), ("student", 8)):
        model = adapter.model_config(Model(base_channels=width, head_channels=width), 11, (32, 32))
        configs[name] = str(tmp_path / f"{name}.py")
        Path(configs[name]).write_text(f"model = {model!r}\n")
    images = ("--data", str(folder), "--num-classes", "11", "--ignore", "11", "--crop", "32", "32")
    call("train", *images, "--iterations", "3", "--batch-size", "2", "--model", configs["teacher"],
         "--out", str(tmp_path / "t"))  # fmt: skip
    call("distill", *images, "--budget-seconds", "3", "--batch-size", "2",
         "--teacher", configs["teacher"], "--teacher-weights", str(tmp_path / "t" / "model.pth"),
         "--student", configs["student"], "--objective", "feature+logit", "--temperature", "2",
         "--out", str(tmp_path / "s"))  # fmt: skip
    scores = json.loads((tmp_path / "s" / "scores.json").read_text())
    plan = json.loads((tmp_path / "s" / "plan.json").read_text())
    assert plan["budget_seconds"] == 3.0
    assert plan["iterations"] == scores["iterations"]
    assert scores["iterations"] >= 1
    capsys.readouterr()
    call("evaluate", *images, "--model", configs["student"],
         "--weights", str(tmp_path / "s" / "model.safetensors"))  # fmt: skip
    again = json.loads(capsys.readouterr().out)
    assert again["miou"] == scores["miou"]
    assert again["images"] == 2
