"""train, distill, evaluate on a label-map folder and mmseg configs of one's own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from repro_shared.runtime.weights import read_weights
from seg_kd import cli
from seg_kd.study import own_arms
from seg_kd.use.loop import ExactLoop
from seg_kd.use.models import Model, model_config


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
        model = model_config(Model(base_channels=width, head_channels=width), 11, (32, 32))
        configs[name] = str(tmp_path / f"{name}.py")
        Path(configs[name]).write_text(f"model = {model!r}\n")
    images = ("--data", str(folder), "--num-classes", "11", "--ignore", "11", "--crop", "32", "32")
    call("train", *images, "--iterations", "3", "--batch-size", "2", "--model", configs["teacher"],
         "--out", str(tmp_path / "t"))  # fmt: skip
    weights = str(tmp_path / "t" / "model.pth")
    capsys.readouterr()
    for length in (("--iterations", "100"), ("--budget-seconds", "100")):
        call("calibrate", *images, *length, "--rounds", "2", "--batch-size", "2",
             "--teacher", configs["teacher"], "--teacher-weights", weights,
             "--student", configs["student"])  # fmt: skip
        said = capsys.readouterr()
        assert said.err.count("the user's teacher") == 1  # made once for all objectives
        rows = {line.split()[0]: line.split() for line in said.out.splitlines()}
        assert list(rows) == ["plain", "logit", "feature", "feature+logit"]
        found = int(rows["logit"][-2])
        seconds = float(rows["logit"][1]) / 1000
        assert (
            found == 100 if "--iterations" in length else abs(found * seconds - 100) < 1 + seconds
        )
    call("distill", *images, "--budget-seconds", "3", "--batch-size", "2",
         "--teacher", configs["teacher"], "--teacher-weights", weights,
         "--student", configs["student"], "--objective", "feature+logit", "--temperature", "2",
         "--out", str(tmp_path / "s"))  # fmt: skip
    scores = json.loads((tmp_path / "s" / "scores.json").read_text())
    facts = json.loads((tmp_path / "s" / "distill" / "prepared.json").read_text())
    assert facts["iterations"] == scores["iterations"]
    assert scores["iterations"] >= 1
    capsys.readouterr()
    call("evaluate", *images, "--model", configs["student"],
         "--weights", str(tmp_path / "s" / "model.safetensors"))  # fmt: skip
    again = json.loads(capsys.readouterr().out)
    assert again["miou"] == scores["miou"]
    assert again["images"] == 2
    run = json.loads((tmp_path / "t" / "train" / "runs.jsonl").read_text())  # one line
    assert run["arm"] == "plain-student"
    assert str(folder) not in (tmp_path / "t" / "train" / "sets.json").read_text()


def test_one_score_for_two_classes_from_images_to_scores(
    folder: Path, tmp_path: Path, binary: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "binary.py"
    config.write_text(f"model = {binary!r}\n")
    halves = [f"{value}={int(value > 5)}" for value in range(12)]
    images = ("--data", str(folder), "--num-classes", "2", "--map", *halves, "--crop", "32", "32")
    call("train", *images, "--iterations", "2", "--batch-size", "2", "--model", str(config),
         "--out", str(tmp_path / "out"))  # fmt: skip
    scores = json.loads(capsys.readouterr().out)
    assert scores["iou"].keys() <= {"class 0", "class 1"}
    call("evaluate", *images, "--model", str(config), "--weights", f"{tmp_path}/out/model.pth")
    assert json.loads(capsys.readouterr().out)["miou"] == scores["miou"]


def images(folder: Path) -> tuple[str, ...]:
    """Options that say what the data are."""
    return ("--data", str(folder), "--num-classes", "11", "--ignore", "11", "--crop", "32", "32")


def test_a_folder_keeps_its_run(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = model_config(Model(base_channels=8, head_channels=8), 11, (32, 32))
    (tmp_path / "small.py").write_text(f"model = {config!r}\n")
    out = tmp_path / "out"
    command = (
        "train", *images(folder), "--batch-size", "2", "--model", str(tmp_path / "small.py"),
        "--out", str(out),
    )  # fmt: skip

    def refused(*changes: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["seg-kd", *command, *changes])
            with pytest.raises(SystemExit) as stop:
                cli.main()
        assert stop.value.code == 2
        return capsys.readouterr().err

    # Killed in its 60th iteration, after the checkpoint of the 50th, with a measured length.
    monkeypatch.setattr(own_arms, "affordable", lambda study, session, seconds: 70)
    step, calls = ExactLoop.step, iter(range(59))

    def interrupted(loop: ExactLoop) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        step(loop)

    with monkeypatch.context() as patch:
        patch.setattr(ExactLoop, "step", interrupted)
        patch.setattr(sys, "argv", ["seg-kd", *command, "--budget-seconds", "9"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 130
    kept = (out / "run.json").read_bytes()
    assert "holds another run (seconds is 9 there and 8 here)" in refused("--budget-seconds", "8")
    assert "seconds is 9 there and not given here" in refused("--iterations", "70")
    assert "(optimiser learning rate is 0.01 there and 0.02 here)" in refused(
        "--budget-seconds", "9", "--learning-rate", "0.02"
    )
    assert (out / "run.json").read_bytes() == kept  # nothing is lost by a wrong command
    monkeypatch.setattr(
        own_arms, "affordable", lambda study, session, seconds: 99
    )  # measured once only
    call(*command, "--budget-seconds", "9")
    assert json.loads((out / "scores.json").read_text())["iterations"] == 70
    assert not list(out.rglob("checkpoints"))
    model = (out / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    call(*command, "--budget-seconds", "9")  # finished: shown again, not made again
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((out / "scores.json").read_text())
    assert "finished" in shown.err
    assert (out / "model.safetensors").stat().st_mtime_ns == model
    # Files that were deleted come back from the run's own folder, and from one another.
    written = {path: path.read_bytes() for path in out.glob("model.*")}
    assert len(written) == 2
    for gone in ([*written], [out / "model.safetensors"], [out / "model.pth"]):
        for path in gone:
            path.unlink()
        call(*command, "--budget-seconds", "9")
        assert {path: path.read_bytes() for path in written} == written
    shutil.rmtree(out / "work")
    (out / "model.pth").unlink()
    call(*command, "--budget-seconds", "9")
    assert (out / "model.pth").is_file()
    (out / "model.safetensors").unlink()
    assert f"remove {out} to train again" in refused("--budget-seconds", "9")
    assert "(seed is 0 there and 1 here)" in refused("--budget-seconds", "9", "--seed", "1")
    (out / "run.json").write_text("{")
    assert "is damaged" in refused("--budget-seconds", "9")


def test_a_rival_is_distilled_and_calibrated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = {}
    for name, width in (("teacher", 16), ("student", 8)):
        model = model_config(Model(base_channels=width, head_channels=width), 11, (32, 32))
        configs[name] = str(tmp_path / f"{name}.py")
        Path(configs[name]).write_text(f"model = {model!r}\n")
    data = images(folder)
    call("train", *data, "--iterations", "2", "--batch-size", "2", "--model", configs["teacher"],
         "--out", str(tmp_path / "t"))  # fmt: skip
    pair = ("--batch-size", "2", "--teacher", configs["teacher"], "--teacher-weights",
            str(tmp_path / "t" / "model.pth"), "--student", configs["student"])  # fmt: skip
    capsys.readouterr()
    command = ("distill", *data, *pair, "--iterations", "2", "--objective", "ifvd-as-published",
               "--out", str(tmp_path / "s"))  # fmt: skip
    call(*command, "--weights", "class-variation=2", "logit=0.5")
    said = json.loads(capsys.readouterr().out)
    assert said["iterations"] == 2
    text = json.dumps(json.loads((tmp_path / "s" / "distill" / "sets.json").read_text()))
    assert '"type": "ClassVariation", "weight": 2' in text
    parts = {name.split(".")[0] for name in read_weights(tmp_path / "s" / "model.safetensors")}
    assert parts == {"backbone", "decode_head", "auxiliary_head"}  # the bare student
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-kd", *command])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 2
    assert "holds another run" in capsys.readouterr().err
    call("calibrate", *data, *pair, "--rounds", "2", "--arms", "plain", "bpkd_like")
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == ["plain", "bpkd_like", "logit"]
