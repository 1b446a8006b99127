"""A flag wins over the student's config, the config over the defaults, and each source is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro_shared.evidence.run_folder import RunFolder
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main
from seg_kd.cli import PAPER
from seg_kd.study.training import DEFAULT_VIEW, Training, settle
from seg_kd.train import Optimiser
from seg_kd.use.models import Model, model_config

CONFIG = """
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='AdamW', lr=6e-5))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', by_epoch=False, power=1.0, begin=100, end=1000)]
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=1000)
train_pipeline = [dict(type='RandomFlip', prob=0.1), dict(type='RandomCrop', crop_size=64)]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "student.py"
    path.write_text(CONFIG)
    return str(path)


def test_flag_over_config_over_default(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = Training(learning_rate=1e-4, batch_size=2)
    found = settle(flags, config, "cpu", crop=None, flip=0.0, iterations=None)
    assert found.optimiser == Optimiser(
        kind="AdamW", learning_rate=1e-4, weight_decay=0.01, power=1.0, minimum_rate=0.0,
        batch_size=2, warmup=0.1, warmup_start=1 / 3,
    )  # fmt: skip
    assert (found.view.crop, found.view.flip, found.view.photometric) == ((64, 64), 0.0, False)
    assert found.view.resize_range == (1.0, 1.0)
    assert found.iterations == 1000
    rows = {line[:17].strip(): line[17:].split() for line in capsys.readouterr().err.splitlines()}
    assert rows["learning rate"] == ["0.0001", "--learning-rate"]
    assert rows["optimiser"] == ["AdamW", "config"]
    assert rows["warmup"] == ["0.1", "config,", "100", "of", "1000", "iterations"]
    assert rows["flip"] == ["0", "--flip"]
    assert rows["crop"] == ["64", "64", "config"]
    assert rows["iterations"] == ["1000", "config"]


def test_what_is_not_used_is_said(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    settle(Training(), config, "cpu", budget_seconds=60.0)
    said = capsys.readouterr().err
    assert "not used: optim_wrapper, mixed precision: needs --device cuda" in said
    assert "budget seconds  60" in said
    assert "iterations" not in said.replace("of 1000 iterations", "")
    assert settle(Training(), config, "cuda").optimiser.amp


def test_mixed_precision_of_a_config_can_be_switched_off(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for device in ("cuda", "cpu"):
        assert not settle(Training(amp=False), config, device, flip=len(device) / 8).optimiser.amp
        said = capsys.readouterr().err
        assert [line.split() for line in said.splitlines() if line[:6] == "  amp "] == [
            ["amp", "False", "--amp"]
        ]
        assert "mixed precision" not in said


def test_without_a_config_all_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    found = settle(Training(momentum=0.0), "pspnet_r18", "cpu", iterations=7)
    assert found.optimiser == Optimiser(momentum=0.0)
    assert found.view == DEFAULT_VIEW
    assert capsys.readouterr().err == ""


def test_another_optimiser_takes_nothing_from_the_configs(config: str) -> None:
    found = settle(Training(kind="SGD"), config, "cpu").optimiser
    assert (found.kind, found.learning_rate, found.weight_decay) == ("SGD", 0.01, 5e-4)
    assert found.power == 1.0


def test_a_low_rate_has_a_lower_floor() -> None:
    found = settle(Training(learning_rate=5e-5), "pspnet_r18", "cpu").optimiser
    assert found.minimum_rate == pytest.approx(5e-7)


@pytest.mark.parametrize(
    ("flags", "model", "said"),
    [
        (Training(kind="AdamW"), "pspnet_r18", "needs its own --learning-rate"),
        (Training(kind="AdamW", learning_rate=1e-4, momentum=0.9), "pspnet_r18", "no --momentum"),
        (Training(amp=True), "pspnet_r18", "--amp needs --device cuda"),
        (Training(clip_norm=-1.0), "pspnet_r18", "--clip-norm must be above 0"),
        (Training(warmup=1.0), "pspnet_r18", "--warmup must be 0 or more and below 1"),
        (Training(batch_size=1), "CONFIG", r"--batch-size .*student\.py"),
    ],
)
def test_what_does_not_fit_is_refused(flags: Training, model: str, said: str, config: str) -> None:
    with pytest.raises(UserError, match=said):
        settle(flags, model.replace("CONFIG", config), "cpu")


def test_a_config_decides_the_run(
    folder: Path, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_config(Model(base_channels=8, head_channels=8), 11, (32, 32))
    path = Path(config)
    path.write_text(f"{CONFIG.replace('1000', '3').replace('=4)', '=2)')}\nmodel = {model!r}\n")
    code = main(
        PAPER,
        ["train", "--data", str(folder), "--num-classes", "11", "--ignore", "11", "--flip", "0",
         "--model", config, "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert code == 0
    assert json.loads(capsys.readouterr().out)["iterations"] == 3
    (kept,) = RunFolder(tmp_path / "out" / "train", "train").configs().values()
    assert kept["optimiser"]["kind"] == "AdamW"
    assert kept["optimiser"]["learning_rate"] == 6e-5
    assert kept["optimiser"]["batch_size"] == 2
    assert (kept["view"]["crop"], kept["view"]["flip"]) == ([64, 64], 0)
