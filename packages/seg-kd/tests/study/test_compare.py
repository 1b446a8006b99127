"""`seg-kd compare` and the same in Python: arms at equal time on one's own data and models."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seg_kd
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights
from repro_shared.study.results import Results
from repro_shared.timing.calibrate import Calibration
from seg_kd import cli
from seg_kd.method.objectives import FEATURE, PLAIN
from seg_kd.study.arms import objectives
from seg_kd.study.calibration import EqualTime, unequal_time
from seg_kd.study.compare import comparison
from seg_kd.study.own_arms import Images, Length, flags, given_teacher
from seg_kd.study.training import Training, settle
from seg_kd.train import Distiller
from seg_kd.use import adapter
from seg_kd.use.models import Model, model_config

Capsys = pytest.CaptureFixture[str]
COSTS = {"plain": 0.5, "logit": 1.0, "feature": 1.25, "feature+logit": 1.6, "mine": 2.0}


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, ...]:
    """Flags that name a teacher, which has random weights, and a student."""
    for name, width in (("teacher", 16), ("student", 8)):
        config = model_config(Model(base_channels=width, head_channels=width), 11, (32, 32))
        (tmp_path / f"{name}.py").write_text(f"model = {config!r}\n")
        if name == "teacher":
            save_weights(adapter.build_model(config), tmp_path / "teacher.safetensors")
    return (
        "--teacher", f"{tmp_path}/teacher.py", "--teacher-weights",
        f"{tmp_path}/teacher.safetensors", "--student", f"{tmp_path}/student.py",
    )  # fmt: skip


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Step costs as given above; which objectives were timed."""
    found: list[list[str]] = []

    def fake(self: EqualTime, study: Any, session: Any, which: list[Any]) -> Calibration:
        found.append([each.name for each in which])
        steps = {each.name: [COSTS.get(each.name, 1.0)] * 3 for each in which}
        return Calibration(steps, steps, 3, 0, 0, 1, {})

    monkeypatch.setattr(EqualTime, "_calibrate", fake)
    return found


def call(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-kd", "compare", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def runs(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    lines = (out / "compare" / "runs.jsonl").read_text().splitlines()
    return {(run["arm"], run["seed"]): run for run in map(json.loads, lines)}


def settings(folder: Path) -> tuple[str, ...]:
    """What is common to the commands below."""
    return ("--data", str(folder), "--num-classes", "11", "--ignore", "11", "--crop", "32", "32",
            "--batch-size", "2")  # fmt: skip


def test_arms_at_equal_time_with_seeds_tables_and_a_figure(
    folder: Path, tmp_path: Path, models: tuple[str, ...], timed: list[list[str]], capsys: Capsys
) -> None:
    out = tmp_path / "out"
    command = (*settings(folder), *models, "--iterations", "4", "--out", str(out))
    assert call(*command, "--plan") == 0
    assert "together 14 runs to make" in capsys.readouterr().out
    assert not out.exists()
    assert call(*command, "--arms", "plain", "feature", "--seeds", "0", "1") == 0
    # Logit distillation sets the budget, and is timed, though it is no arm.
    assert timed[0] == ["plain", "feature", "logit"]
    made = runs(out)
    assert {seed for _, seed in made} == {0, 1}
    assert {arm for arm, _ in made} == {"the-user-s-teacher", "teacher", "plain", "feature"}
    assert made["plain", 0]["metrics"]["iterations"] == 8  # 4 x 1.0 / 0.5
    assert made["feature", 1]["metrics"]["iterations"] == 3
    shown = capsys.readouterr().out
    assert "Students after equal wall-clock time: 4 iterations of logit distillation" in shown
    assert "above plain" in shown
    assert "feature-beats-plain" in shown
    scores = (out / "tables" / "compare-scores.csv").read_text()
    assert len(scores.splitlines()) == 1 + 2 + 1  # the arms, and the teacher
    assert (out / "figures" / "compare.svg").read_bytes().startswith(b"<?xml")
    # An arm and a seed more: what was run stays.
    before = runs(out)
    assert call(*command, "--arms", "plain", "feature", "logit", "--seeds", "0", "1", "2") == 0
    after = runs(out)
    assert all(after[run] == before[run] for run in before)
    assert {arm for arm, seed in after if seed == 2} == {"plain", "feature", "logit"}
    # Other models or settings: another folder.
    capsys.readouterr()
    assert call(*command, "--learning-rate", "0.02") == 2
    assert "optimiser learning rate is 0.01 there and 0.02 here" in capsys.readouterr().err


def test_rivals_are_compared_more_of_them_than_there_are_colours(
    folder: Path, tmp_path: Path, models: tuple[str, ...], timed: list[list[str]], capsys: Capsys
) -> None:
    arms = ("plain", "at", "skd", "dist", "ifvd", "cwd-logits", "bpkd_like-equal", "fitnet")
    command = (*settings(folder), *models, "--iterations", "1", "--out", str(tmp_path / "out"))
    assert call(*command, "--seeds", "0", "--arms", *arms) == 0
    assert timed[0] == [*arms, "logit"]
    assert {"at", "bpkd-like-equal"} <= {arm for arm, _ in runs(tmp_path / "out")}
    assert (tmp_path / "out" / "figures" / "compare.svg").is_file()
    capsys.readouterr()
    assert call(*command, "--arms", "plain", "cwd") == 2
    assert "--arms cwd: choose from plain, logit, feature" in capsys.readouterr().err


def test_a_verdict_at_unequal_time_is_suspended_though_logit_was_not_run(
    folder: Path, models: tuple[str, ...]
) -> None:
    images = Images(str(folder), num_classes=11, ignore=(11,), crop=(32, 32))
    settled = settle(Training(batch_size=2), models[5], "cpu", **flags(images, Length(4)))
    taught = given_teacher(images, settled.view, models[1], models[3])
    chosen = (PLAIN, FEATURE)
    study = comparison(images, settled, taught, models[5], None, chosen, Length(4), (0,))
    (claim,) = study.claims
    facts: dict[str, Any] = {"ratios": COSTS, "calibrations": [], "last": None}

    def why(seconds: float) -> str:
        records = [
            SimpleNamespace(
                arm=arm, seed=0, status="complete", seconds=took, metrics={"iterations": count}
            )
            for arm, took, count in (("plain", 4.0, 8), ("feature", seconds, 3))
        ]
        made: Any = records
        return unequal_time(Results(cli.PAPER, study, made, folder, facts=facts), claim)

    # Planned: 3 x 1.25 against 8 x 0.5.
    assert why(3.75) == ""
    assert why(3.9) == ""
    assert "feature had 6.7 % more time than planned, compared with plain" in why(4.0)
    facts["ratios"] = {}
    assert why(4.0) == ""


def test_a_budget_in_seconds(
    folder: Path, tmp_path: Path, models: tuple[str, ...], timed: list[list[str]], capsys: Capsys
) -> None:
    out = tmp_path / "out"
    command = (*settings(folder), *models, "--out", str(out), "--arms", "plain", "logit")
    assert call(*command, "--budget-seconds", "2.5", "--seeds", "3", "--plan") == 0
    assert "step costs are measured first" in capsys.readouterr().out
    assert call(*command, "--budget-seconds", "2.5", "--seeds", "3") == 0
    found = {arm: run["metrics"].get("iterations") for (arm, _), run in runs(out).items()}
    assert (found["logit"], found["plain"]) == (2, 4)  # floor(2.5 / 1.0), and as long
    assert "2.5 s, 2 iterations of logit distillation" in capsys.readouterr().out
    assert call(*command, "--budget-seconds", "3") == 2
    assert "seconds is 2.5 there and 3 here" in capsys.readouterr().err


def channel_wise(student: Any, teacher: Any, labels: Tensor) -> Tensor:
    """KL between maps of a class, each a distribution over positions (arXiv 2011.13256, eq. 5)."""
    own, other = (maps.logits().flatten(2) for maps in (student, teacher))
    assert labels.shape == (2, 32, 32)
    assert not other.requires_grad
    gap = other.log_softmax(2) - own.log_softmax(2)
    return (other.softmax(2) * gap).sum(2).mean()


class Projected(torch.nn.Module):
    """FitNet's hint loss: a projection of the student's feature, which is trained with it."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.project = torch.nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, student: Any, teacher: Any, labels: Tensor) -> Tensor:
        own, other = (each.layer("pre-classifier") for each in (student, teacher))
        return torch.nn.functional.mse_loss(self.project(own), other)


def test_an_objective_with_parameters_trains_them() -> None:
    student, teacher = (
        adapter.build_model(model_config(Model(base_channels=8, head_channels=n), 11, (32, 32)))
        for n in (8, 16)
    )
    distiller = Distiller(student, teacher, seg_kd.objective("hint", Projected, weight=2.0))
    batch = adapter.training_batch(False)(
        [(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))] * 2
    )
    losses = distiller(**distiller.data_preprocessor(batch, True), mode="loss")
    losses["distill.loss_own"].backward()
    weight = dict(distiller.named_parameters())["own.project.weight"]
    assert weight.shape == (16, 8, 1, 1)
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0
    assert all(each.grad is None for each in teacher.parameters())


def test_an_objective_of_ones_own(
    folder: Path, tmp_path: Path, models: tuple[str, ...], timed: list[list[str]], capsys: Capsys
) -> None:
    def compared(mine: Any, out: str = "out") -> Any:
        return seg_kd.compare(
            seg_kd.Images(str(folder), num_classes=11, ignore=(11,), crop=(32, 32)),
            seg_kd.Training(batch_size=2),
            teacher=models[1], teacher_weights=models[3], student=models[5],
            arms=("plain",), own=(mine,), iterations=4, seeds=(0,), out=str(tmp_path / out),
        )  # fmt: skip

    diverging = seg_kd.objective("mine", channel_wise, weight=1e38)
    results = compared(diverging, "diverged")
    assert not results.values(results.study.arm("mine"), "miou")
    assert "mine, seed 0, failed: loss is not finite" in capsys.readouterr().out
    results = compared(seg_kd.objective("mine", channel_wise, weight=3.0))
    mine = objectives(results.study)[1]
    assert results.values(results.study.arm("mine"), "miou")
    assert mine.equations == (channel_wise,)
    assert runs(tmp_path / "out")["mine", 0]["metrics"]["iterations"] == 2
    assert "mine-beats-plain" in capsys.readouterr().out
    with pytest.raises(UserError, match="step costs of another objective 'mine'"):
        compared(seg_kd.objective("mine", lambda student, teacher, labels: labels.sum()))
    with pytest.raises(UserError, match="'!' has no letter or digit"):
        compared(seg_kd.objective("!", channel_wise))
    for name in ("teacher", "The user's teacher", "plain."):
        with pytest.raises(UserError, match="a name of its own"):
            compared(seg_kd.objective(name, channel_wise))
    with pytest.raises(UserError, match="is a preset"):
        seg_kd.objective("logit", channel_wise)


def test_the_readmes_example_runs(
    folder: Path,
    tmp_path: Path,
    models: tuple[str, ...],
    timed: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capsys,
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.partition("```python\n")[2].partition("```")[0]
    small = {
        '"DIR"': f'"{folder}"',
        "teacher.pth": "teacher.safetensors",
        "ignore=(11,)": "ignore=(11,), crop=(32, 32)",
        "iterations=2000": "iterations=4, seeds=(0,), training=seg_kd.Training(batch_size=2)",
    }
    for name, value in small.items():
        assert example.count(name) == 1
        example = example.replace(name, value)
    (tmp_path / "mine.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(COSTS, "channel-wise", 2.0)
    runpy.run_path("mine.py")
    assert runs(tmp_path / "runs/mine")["channel-wise", 0]["metrics"]["iterations"] == 2
    assert "channel-wise" in capsys.readouterr().out


def test_what_is_refused_before_anything_runs(
    folder: Path, tmp_path: Path, models: tuple[str, ...], capsys: Capsys
) -> None:
    command = (*settings(folder), *models, "--out", str(tmp_path / "out"))
    for others, said in (
        ((), "--iterations or --budget-seconds"),
        (("--iterations", "4", "--arms", "plain"), "two arms or more"),
        (("--iterations", "4", "--arms", "plain", "plain"), "two arms or more"),
        (("--iterations", "4", "--arms", "plain", "cwd"), "--arms cwd: choose from plain, logit"),
        (("--iterations", "4", "--seeds", "1", "1"), "seeds must be distinct"),
        (("--iterations", "4", "--val-split", "none"), "--val-split must be a split to score on"),
        (("--iterations", "4", "--teacher", ""), "no teacher"),
    ):
        assert call(*command, *others) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # What is refused while step costs are measured does not occupy the folder.
    save_weights(torch.nn.Linear(1, 1), tmp_path / "teacher.safetensors")
    assert call(*command, "--iterations", "4") == 2
    assert "teacher.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()
