"""`data check`, training without an evaluation split, and how often data are read."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seg_kd
from repro_shared.study.session import Session
from seg_kd import cli
from seg_kd.study import own
from seg_kd.use.data import LabelMaps, Samples, Splits


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-kd", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    shown = capsys.readouterr()
    assert stop.value.code == code, shown.err
    return shown.out, shown.err


def test_data_check_counts(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "images" / "train" / "notes.txt").touch()
    out, _ = call(capsys, "data", "check", str(folder), "--num-classes", "11", "--ignore", "11")
    label = np.stack([np.asarray(Image.open(p)) for p in (folder / "labels/train").iterdir()])
    lines = out.splitlines()
    assert lines[0] == "train: 6 images; passed over: 1 .txt"
    assert lines[1].startswith("  48 x 40 pixels; fingerprint ")
    for line, value in zip(lines[2:14], range(12), strict=True):
        assert line.split()[1] == str(value)
        assert f"{(label == value).sum():,} pixels" in line
    assert lines[13].split()[2] == "ignored"
    assert lines[14] == "val: 2 images; passed over: nothing"
    # Squares are not CamVid, whatever their labels are.
    other, err = call(capsys, "data", "check", str(folder), "--set", "camvid", code=2)
    assert "class   0 sky" in other
    assert "problem: images of the given folder, not the CamVid of the" in other
    assert "1 problem, see above" in err


def test_public_names_are_listed_before_they_are_imported() -> None:
    names = {
        "METHOD_VERSION", "Images", "Length", "Network", "Training", "compare", "distill",
        "objective",
    }  # fmt: skip
    assert {*seg_kd.__all__} == names
    assert names <= {*dir(seg_kd)}
    assert all(hasattr(seg_kd, name) for name in names)


def test_data_check_names_every_problem(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "labels/train/train_1.png").write_bytes(b"")
    Image.fromarray(np.full((40, 48), 77, np.uint8)).save(folder / "labels/train/train_2.png")
    (folder / "images/val/val_0.png").unlink()
    out, err = call(
        capsys, "data", "check", str(folder), "--num-classes", "12", "--ignore", "12", code=2
    )
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 3
    assert "train_1.png: empty file" in problems[0]
    assert "train_2.png: value 77" in problems[1]
    assert "val_0.png: label map without image" in problems[2]
    assert err.splitlines()[-1] == f"error: {folder}: 3 problems, see above"


def test_data_check_shows_values_where_the_classes_are_not_known(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    out, err = call(capsys, "data", "check", str(folder), code=2)
    assert [line.split()[1] for line in out.splitlines() if "pixels " in line][:12] == [
        str(value) for value in range(12)
    ]
    assert "how many classes? Give --num-classes N" in err.splitlines()[-1]


def test_training_without_an_evaluation_split(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    images = ("--data", str(folder), "--num-classes", "11", "--ignore", "11", "--crop", "32", "32")
    out, _ = call(
        capsys, "train", *images, "--val-split", "none", "--iterations", "1", "--batch-size", "2",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    scores = json.loads(out)
    assert scores["iterations"] == 1
    assert "miou" not in scores
    weights = str(tmp_path / "out" / "model.pth")
    assert Path(weights).is_file()
    _, err = call(capsys, "evaluate", *images, "--val-split", "none", "--weights", weights, code=2)
    assert "name a split with --val-split" in err
    # Only the split that is scored is read.
    (folder / "labels/train/train_1.png").write_bytes(b"")
    out, err = call(capsys, "evaluate", *images, "--weights", weights, "--eval-batch-size", "1")
    assert json.loads(out)["images"] == 2
    assert "train (labels)" not in err


def test_calibrate_checks_the_data_once(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = list[Path | None]()
    none = Samples([], "", [])

    def read(self: LabelMaps, path: Path | None) -> Splits:
        opened.append(path)
        return Splits(none, none, self.classes)

    monkeypatch.setattr(LabelMaps, "open", read)

    def step(session: Session, *_: object) -> Callable[[], None]:
        session.open(session.study.data)
        return lambda: time.sleep(0.001)

    monkeypatch.setattr(own, "timed_step", step)
    (tmp_path / "teacher.pth").write_bytes(b"never read")
    out, _ = call(
        capsys, "calibrate", "--data", str(folder), "--num-classes", "11", "--rounds", "2",
        "--teacher", "pspnet_r18", "--teacher-weights", str(tmp_path / "teacher.pth"),
    )  # fmt: skip
    assert "feature+logit" in out
    assert opened == [folder]
