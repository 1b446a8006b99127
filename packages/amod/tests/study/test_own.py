"""`amod train` and `amod transfer` on a user's class folders; under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amod.cli import PAPER
from amod.study import stages
from amod.study.configs import Crops, Finetuned, Given, Variant
from amod.study.data import ImageFolders, RandomWeights
from amod.study.evaluate import evaluate
from amod.study.paper_tables import FINETUNE, TRANSFER
from amod.train import Trainer
from repro_shared.evidence.run_folder import RunFolder
from repro_shared.runtime.errors import UserError
from repro_shared.study.alone import run_alone
from repro_shared.study.paper import Arm, Study
from repro_shared.study.session import Session

MODEL = "vit_tiny_patch16_224"
SMALL = {"img_size": 32, "embed_dim": 24, "depth": 4, "num_heads": 2}
Call = Callable[..., int]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes that differ in brightness."""
    rng, data = np.random.default_rng(0), tmp_path / "data"
    for part in ("train", "val"):
        for name, level in (("dark", 0), ("bright", 150)):
            (data / part / name).mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 100, (40, 40, 3), np.uint8) + np.uint8(level)
                Image.fromarray(pixels).save(data / part / name / f"{i}.png")
    return data


def session(data: Path, out: Path, **changes: object) -> Session:
    """A training of a model on pictures of four patches, as the verbs make it."""
    start = Arm("given", Given(MODEL, 2, tuple(SMALL.items())), stages.given, data=RandomWeights())
    schedule = replace(TRANSFER, epochs=2, batch_size=4)
    config = Finetuned(Variant(capacity=0.5), schedule, Crops(), evaluations=2, keep=True)
    config = replace(config, **changes)  # type: ignore[arg-type]
    arm = Arm("fine-tuned", config, stages.finetuned, (start,))
    study = Study("own", "paper", ImageFolders("own pictures", scored="val"), (start, arm), (0,))
    return Session(PAPER, study, out, data)


def test_train_and_evaluate_a_user_model(data: Path, tmp_path: Path) -> None:
    made = session(data, tmp_path / "out")
    record, folder = run_alone(made, 0)
    curve = made.records.curves()[record.arm, 0, record.key]
    assert curve["step"] == [2, 4]
    assert curve["accuracy"][-1] == pytest.approx(record.metrics["accuracy"], 1e-4)
    assert (record.samples, record.data_name) == (16, "own pictures")
    weights = str(folder / "model.safetensors")
    table = evaluate(MODEL, weights, str(data / "val"), (0.5,), model_kwargs=SMALL)
    assert table.rows[1][1] == record.metrics["accuracy"]
    assert not (folder / "checkpoints").exists()
    # A finished run is not made again; other settings in the same folder are refused.
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert run_alone(session(data, tmp_path / "out"), 0)[0] == record
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    for other in (session(data, tmp_path / "out", view=Crops(mirror=False)),):
        with pytest.raises(UserError, match="holds another run"):
            run_alone(other, 0)
    with pytest.raises(UserError, match="holds another run"):
        run_alone(session(data, tmp_path / "out"), 1)


def test_a_killed_training_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = replace(TRANSFER, steps=150, batch_size=4)
    whole, _ = run_alone(session(data, tmp_path / "whole", schedule=schedule), 0)
    step = Trainer.step

    def killed(self: Trainer, *batch: object) -> float:
        if self.done == 120:
            raise KeyboardInterrupt
        return step(self, *batch)  # type: ignore[arg-type]

    stopped = session(data, tmp_path / "out", schedule=schedule)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            run_alone(stopped, 0)
    done: list[int] = []
    monkeypatch.setattr(
        Trainer, "step", lambda self, *batch: done.append(self.done) or step(self, *batch)
    )
    record, _ = run_alone(session(data, tmp_path / "out", schedule=schedule), 0)
    assert done[0] == 100
    assert record.metrics == whole.metrics


def test_a_long_curve_is_thinned(data: Path, tmp_path: Path) -> None:
    schedule = replace(TRANSFER, steps=60, batch_size=2)
    made = session(data, tmp_path / "out", schedule=schedule, evaluations=60)
    record, _ = run_alone(made, 0)
    assert made.records.curves()[record.arm, 0, record.key]["step"] == [*range(2, 61, 2)]


def test_the_verbs(
    call: Call, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ("--model", MODEL, "--data", str(data), "--steps", "2", "--batch-size", "4")
    assert call("train", *arguments, "--out", str(out), "--no-mirror", "--amp", "bfloat16") == 0
    shown = capsys.readouterr().out
    assert "% after 2 steps, in " in shown
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "own", "run.json"}
    (config,) = [c for c in RunFolder(out / "own", "own").configs().values() if "schedule" in c]
    assert config["view"] == {"type": "Crops", "mirror": False}
    assert (config["schedule"]["steps"], config["schedule"]["epochs"]) == (2, 0.0)  # not the usual
    assert (config["schedule"]["amp"], config["schedule"]["learning_rate"]) == ("bfloat16", 1e-5)
    made = (out / "model.safetensors").stat().st_mtime_ns
    assert call("train", *arguments, "--out", str(out), "--no-mirror", "--amp", "bfloat16") == 0
    again = capsys.readouterr()
    assert (again.out, (out / "model.safetensors").stat().st_mtime_ns) == (shown, made)
    assert "holds this run already, finished" in again.err
    # A classifier of other classes is replaced, all else is loaded.
    for part in ("train", "val"):
        (data / part / "third").mkdir()
        Image.new("RGB", (40, 40)).save(data / part / "third" / "0.png")
    weights = ("--weights", str(out / "model.safetensors"))
    for verb, more in (("transfer", ("--layers", "3")), ("train", ("--router", "linear-unit"))):
        target = tmp_path / verb
        assert call(verb, *arguments, *weights, *more, "--out", str(target)) == 0
        (config,) = [
            c for c in RunFolder(target / "own", "own").configs().values() if "schedule" in c
        ]
        assert config["schedule"]["optimiser"] == ("sgd" if verb == "transfer" else "adamw")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--capacity", "1.5"), "at most 1"),
        (("--capacity", "0.001"), "keeps none"),
        (("--workers", "-1"), "--workers"),
        (("--seed", "-1"), "--seed"),
        (("--epochs", "0"), "epochs 0.0 is out of range"),
        (("--steps", "2", "--epochs", "3"), "--steps 2 and --epochs 3 are two lengths: give one"),
        (("--epochs", "nan"), "epochs nan is out of range"),
        (("--epochs", "inf"), "epochs inf is out of range"),
        (("--layers", "13"), "layers must be 1 to 12"),
        (("--model", "resnet18"), "ResNet cannot be routed"),
        (("--router", "best"), "unknown router 'best'"),
        (("--mixup", "0.2", "--batch-size", "3"), "odd number"),
        (("--weights", "nowhere.pth"), "no weights at nowhere.pth"),
        (("--evaluations", "0"), "--evaluations must be at least 1"),
    ],
)
def test_refusals_leave_nothing(
    call: Call,
    arguments: tuple[str, ...],
    line: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    usual = () if "--model" in arguments else ("--model", MODEL)
    assert call("train", *usual, "--data", str(data), "--out", str(out), *arguments) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1
    assert not out.exists()


def test_a_broken_picture_is_named(data: Path, tmp_path: Path) -> None:
    broken = data / "train" / "dark" / "0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    made = session(data, tmp_path / "out")
    made.workers = 1
    with pytest.raises(UserError) as caught:
        run_alone(made, 0)
    assert f"{broken}" in str(caught.value)  # a loading process's error is its own one line
    assert "Traceback" not in str(caught.value)


def test_lengths_in_epochs_follow_the_batch() -> None:
    assert replace(FINETUNE, batch_size=64).resolved(1280).steps == 2000
    assert FINETUNE.resolved(1280).steps == 1000
    assert replace(FINETUNE, steps=7).resolved(1280).steps == 7


def test_torchrun_keeps_one_record_and_speaks_once(
    data: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [
        "train", "--model", MODEL, "--data", str(data), "--out", str(out),
        "--epochs", "1", "--batch-size", "4", "--weight-decay", "0.1", "--no-mirror",
    ]  # fmt: skip
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "--no-python", str(Path(sys.executable).parent / "amod"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [*launch, *arguments, *more]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    done = run()
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("accuracy") == 1
    folder = RunFolder(out / "own", "own")
    assert sorted(record.arm for record in folder.read()) == ["fine-tuned", "given"]
    made = (out / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert call(*arguments) == 0  # one process finds what two have made
    again = capsys.readouterr()
    assert again.out == done.stdout
    assert "finished" in again.err
    assert (out / "model.safetensors").stat().st_mtime_ns == made
    other = run("--seed", "1")
    assert other.returncode != 0
    assert other.stderr.count("error: ") == 1
    assert "[rank1]" not in other.stderr
