"""Weights that a config names: those that are here are read, the others are said or refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from repro_shared.runtime.errors import UserError
from seg_kd.use.models import Model, local_weights, model_config, own_model

ADDRESS = "https://x.y/mit_b0.pth"


def config(checkpoint: Any) -> dict[str, Any]:
    loads = {"type": "Pretrained", "checkpoint": checkpoint}
    return {"backbone": {"init_cfg": [{"type": "Kaiming"}, loads]}, "pretrained": checkpoint}


def test_an_address_is_dropped_and_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model = config(ADDRESS)
    local_weights(model, f"{tmp_path}/said.py", trained=False)
    assert model == {"backbone": {"init_cfg": [{"type": "Kaiming"}]}, "pretrained": None}
    said = capsys.readouterr().err
    assert f"model.pretrained ({ADDRESS}) is not used, its part starts from random values" in said
    assert f"model.backbone.init_cfg.checkpoint ({ADDRESS}) is not used" in said


def test_an_address_that_was_fetched_before_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "checkpoints" / "mit_b0.pth"
    kept.parent.mkdir()
    torch.save({"weight": torch.ones(2)}, kept)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model = config(ADDRESS)
    local_weights(model, "student.py", trained=False)
    assert model == config(str(kept))
    assert capsys.readouterr().err == ""


def test_a_local_file_is_kept_and_a_missing_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(UserError, match=r"student\.py: model\.backbone.*names .*weights\.pth"):
        local_weights(config(str(path)), "student.py", trained=False)
    torch.save({"weight": torch.ones(2)}, path)
    model = config(str(path))
    local_weights(model, "student.py", trained=False)
    assert model == config(str(path))


def test_a_file_without_weights_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints" / "mit_b0.pth"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(print))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for checkpoint in (str(path), ADDRESS):
        said = r"student\.py: model\.backbone\.init_cfg\.checkpoint: .*mit_b0\.pth is damaged or"
        with pytest.raises(UserError, match=said):
            local_weights(config(checkpoint), "student.py", trained=False)


def test_a_trained_model_asks_for_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    model = config("no/such/file.pth")
    local_weights(model, "teacher.py", trained=True)
    assert model == {"backbone": {"init_cfg": [{"type": "Kaiming"}]}, "pretrained": None}
    assert capsys.readouterr().err == ""


def test_timms_own_switch_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    model = {"backbone": {"type": "TIMMBackbone", "model_name": "resnet18", "pretrained": True}}
    local_weights(model, "timms.py", trained=False)
    assert model["backbone"]["pretrained"] is False
    assert "timms.py: model.backbone.pretrained (True) is not used" in capsys.readouterr().err


def test_what_a_config_does_before_scoring_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "teacher.py"
    model = model_config(Model(base_channels=8, head_channels=8), 3, (32, 32))
    resized = {"type": "Resize", "scale": (2048, 512), "keep_ratio": True}
    loader = {"dataset": {"pipeline": [{"type": "LoadImageFromFile"}, resized]}}
    path.write_text(f"model = {model!r}\ntest_dataloader = {loader!r}\n")
    own_model(str(path), 3, (32, 32), trained=True)
    assert "not used: test pipeline, Resize: images are scored whole" in capsys.readouterr().err
