"""`amod train` and `amod transfer` on a user's class folders; under torchrun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import amod
from amod.cli import PAPER
from amod.study import stages
from amod.study.configs import Crops, Finetuned, Given, Variant
from amod.study.data import ImageFolders, RandomWeights
from amod.study.evaluate import evaluate
from amod.study.paper_tables import FINETUNE, TRANSFER
from amod.train import Trainer
from amod.use.hub import from_pretrained
from amod.use.metadata import names_in, routing_in
from amod.use.options import RoutingSettings
from amod.use.weights import routed_model
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
    with monkeypatch.context() as context:
        context.setattr(Trainer, "step", killed)
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
    weights = {"model.safetensors", "best.safetensors"}
    assert {path.name for path in out.iterdir()} == {*weights, "own", "run.json"}
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
        (("--layers", "3", "--router", "linear"), "--layers must be given without the flags"),
        (("--model", "resnet18"), "ResNet cannot be routed"),
        (("--router", "best"), "unknown router 'best'"),
        (("--mixup", "0.2", "--batch-size", "3"), "odd number"),
        (("--weights", "nowhere.pth"), "no weights at nowhere.pth"),
        (("--evaluations", "-3"), "--evaluations must be at least 1, got -3"),
        (("--clip", "-1"), "clip -1.0 is out of range"),
        (("--first", "0"), "block 0 cannot be routed"),
        (("--every", "1"), "every must be at least 2"),
        (("--preset", "practical", "--first", "99"), "first=99 routes nothing"),
        (("--img-size", "0"), "--img-size must be at least 1, got 0"),
        (("--img-size", "8"), "keeps none of 1 tokens"),
        (("--pretrained", "--weights", "x.pth"), "two origins"),
        (("--class-map", "nowhere.json"), "class map nowhere.json: cannot be read"),
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


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Classes 0, 2 and 10 in Train/ and valid/, at several depths, and other files."""
    rng, root = np.random.default_rng(0), tmp_path / "numbered"
    for part in ("Train", "valid"):
        for place in ("0/a.jpg", "0/deep/b.JPEG", "2/a.tif", "10/a.png"):
            (root / part / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(root / part / place)
        (root / part / "2" / "notes.txt").write_text("no image")
    return root


SHORT = ("--model", "test_vit", "--steps", "2", "--batch-size", "2")


def test_numbered_classes_below_any_usual_split(
    call: Call, numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("train", *SHORT, "--data", str(numbered), "--out", str(out)) == 0
    said = capsys.readouterr().err
    for part in ("Train", "valid"):
        assert f"{numbered / part}: 3 classes, 4 images; passed over: 1 .txt" in said
    assert "classes: 0 = 0, 1 = 2, 2 = 10" in said
    assert "evaluated 1/1 batches" in said
    assert "from random weights; 1e-05 is a rate for fine-tuning" in said
    for name in ("model.safetensors", "best.safetensors"):
        assert names_in(out / name) == ("0", "2", "10")
    # Evaluated on two of the classes, and in another order of folders, the numbers stay.
    weights = str(out / "model.safetensors")
    shutil.rmtree(numbered / "valid" / "0")
    assert call("evaluate", "--model", "test_vit", "--weights", weights, "--capacity", "0.5",
                "--data", str(numbered / "valid"), "--workers", "0") == 0  # fmt: skip
    assert "3 classes, as stored with the weights: 0 = 0, 1 = 2, 2 = 10." in capsys.readouterr().out
    (numbered / "valid" / "2").rename(numbered / "valid" / "two")
    assert call("evaluate", "--model", "test_vit", "--weights", weights, "--workers", "0",
                "--data", str(numbered / "valid")) == 2  # fmt: skip
    assert "were not trained on two; say which classes" in capsys.readouterr().err
    # A classifier that is kept must be of the same classes in the same order.
    (numbered / "valid" / "two").rename(numbered / "valid" / "2")
    (numbered / "classes.txt").write_text("10\n2\n0\n")
    again = ("--data", str(numbered), "--weights", weights, "--out", str(tmp_path / "other"),
             "--class-map", str(numbered / "classes.txt"))  # fmt: skip
    assert call("train", *SHORT, *again) == 2
    assert "number 0 is 0 there and 10 here" in capsys.readouterr().err
    assert call("transfer", *SHORT, *again) == 0
    assert names_in(tmp_path / "other" / "model.safetensors") == ("10", "2", "0")
    (numbered / "classes.json").write_text('{"10": 4, "2": 1, "0": 0}')
    gaps = (*again[:-1], str(numbered / "classes.json"))
    assert call("transfer", *SHORT, *gaps) == 2
    assert "a class map without gaps, 0 to 2; this one numbers 3 classes to 4" in (
        capsys.readouterr().err
    )


def test_weights_are_used_as_they_were_routed(
    call: Call, numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "out", str(numbered / "valid" / "2" / "a.tif")
    flags = ("--preset", "practical", "--first", "2", "--every", "3", "--capacity", "0.25")
    assert call("transfer", *SHORT, *flags, "--data", str(numbered), "--out", str(out)) == 0
    routing = amod.Routing(0.25, 2, 3, protect_prefix=True, k_align=8)
    for name in ("model", "best"):
        again = routed_model("test_vit", str(out / f"{name}.safetensors"), None, RoutingSettings())
        assert again.routing == routing
    weights = ("--weights", str(out / "model.safetensors"))
    evaluation = ("evaluate", "--model", "test_vit", *weights, "--workers", "0",
                  "--data", str(numbered / "valid"))  # fmt: skip
    capsys.readouterr()
    assert call(*evaluation) == 0
    told = capsys.readouterr()
    assert "A-MoD 25 %" in told.out
    assert "A-MoD 50 %" not in told.out
    assert "test_vit: accuracy dense and routed" in told.out
    words = "a multiple of 8 tokens, from block 2 on, every 3 blocks."
    assert words in " ".join(told.out.split())
    assert "no training" not in told.out
    assert "flags" not in told.err
    assert call(*evaluation, "--preset", "paper") == 0
    told = capsys.readouterr()
    assert told.err.count("as the flags say: first 1, not 2, every 2, not 3, protect_prefix") == 1
    assert "routed: attention." in " ".join(told.out.split())
    # Every other verb that routes.
    assert call("convert", "test_vit", str(tmp_path / "hub"), *weights) == 0
    assert "25 % of the tokens" in capsys.readouterr().out
    assert from_pretrained(tmp_path / "hub").routing == routing
    again = str(tmp_path / "hub" / "model.safetensors")
    assert routed_model("test_vit", again, None, RoutingSettings()).routing == routing
    with patch("amod.use.show._frames", side_effect=UserError("seen")) as drawn:
        assert call("show", picture, "--model", "test_vit", *weights) == 2
    assert (drawn.call_args[0][0].routing, drawn.call_args[0][2]) == (routing, (0.25,))
    with patch("amod.use.export.export_onnx", return_value="x.onnx") as exported:
        assert call("export", "test_vit", "x.onnx", *weights) == 0
    assert exported.call_args[0][0].routing == routing
    assert call("train", *SHORT, *weights, "--data", str(numbered), "--out", str(out / "on")) == 0
    assert routing_in(out / "on" / "model.safetensors") == routing_in(out / "model.safetensors")
    # Fewer layers and full capacity are dense.
    for number, dense in enumerate((("--layers", "3"), ("--capacity", "1"))):
        place = out / str(number)
        assert call("train", *SHORT, *dense, "--data", str(numbered), "--out", str(place)) == 0
        assert routing_in(place / "model.safetensors") == {}


def test_a_truncated_picture_is_found_before_training_and_mended(
    call: Call, numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, out = numbered / "Train" / "0" / "a.jpg", tmp_path / "out"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:300])
    arguments = ("train", *SHORT, "--data", str(numbered), "--out", str(out))
    assert call(*arguments) == 2
    assert f"1 of 8 images cannot be read: {broken}: truncated" in capsys.readouterr().err
    assert not out.exists()
    broken.write_bytes(whole)
    assert call(*arguments) == 0
    assert "images checked: 8/8" in capsys.readouterr().err
    assert call(*arguments) == 0
    assert "images checked" not in capsys.readouterr().err  # what was read is what was hashed


def test_splits_that_are_nowhere(
    call: Call, numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(numbered / "valid")
    assert call("train", *SHORT, "--data", str(numbered), "--out", str(tmp_path / "out")) == 2
    assert "has no val/ or valid/ or validation/ or test/" in capsys.readouterr().err


def test_the_best_weights_are_kept_beside_the_last(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter((40.0, 60.0, 50.0, 60.0))
    kept: list[dict[str, torch.Tensor]] = []

    def spy(model: torch.nn.Module, *_: object) -> tuple[float, float, int]:
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores), 100.0, 8

    monkeypatch.setattr("amod.train.top_accuracy", spy)
    schedule = replace(TRANSFER, steps=4, batch_size=4)
    _, folder = run_alone(session(data, tmp_path / "out", schedule=schedule, evaluations=4), 0)
    best, last = (load_file(folder / f"{name}.safetensors") for name in ("best", "model"))
    for name, value in kept[1].items():  # the first that scored 60
        assert torch.equal(best[name], value)
        assert torch.equal(last[name], kept[3][name])
    assert not torch.equal(best["head.weight"], last["head.weight"])


def test_weights_of_another_size_train_at_a_new_one(
    call: Call, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    trained = timm.create_model("test_vit", num_classes=2, img_size=48)
    save_file(trained.state_dict(), tmp_path / "small.safetensors")
    out = tmp_path / "out"
    assert call("train", *SHORT, "--data", str(data), "--out", str(out), "--img-size", "80",
                "--weights", str(tmp_path / "small.safetensors")) == 0  # fmt: skip
    assert "position embeddings: 3 x 3 patches resized to 5 x 5" in capsys.readouterr().err
    assert load_file(out / "model.safetensors")["pos_embed"].shape[1] == 26


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
