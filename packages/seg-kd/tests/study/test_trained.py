"""`seg-kd evaluate` and `predict`: class names, confusion, committed teachers, label maps."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro_shared.runtime.output import LOG
from repro_shared.runtime.weights import save_weights
from repro_shared.study.results import load_results
from seg_kd.cli import PAPER, main
from seg_kd.study.recipes import equal_time_digits
from seg_kd.use import adapter
from seg_kd.use.data import Scenes
from seg_kd.use.models import Model, model_config
from seg_kd.use.predict import class_colours

Capsys = pytest.CaptureFixture[str]
NAMES = tuple("abcdefghijk")


def call(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-kd", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def given(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """A model with random weights: what names it."""
    (folder / "model.py").write_text(f"model = {config!r}\n")
    save_weights(adapter.build_model(config), folder / "model.safetensors")
    return "--model", f"{folder}/model.py", "--weights", f"{folder}/model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, ...]:
    return given(tmp_path, model_config(Model(base_channels=8, head_channels=8), 11, (32, 32)))


def test_evaluate_names_classes_and_counts_confusions(
    folder: Path, tmp_path: Path, model: tuple[str, ...], capsys: Capsys
) -> None:
    table = tmp_path / "confusion.csv"
    images = ("--data", str(folder), "--classes", *NAMES, "--ignore", "11")
    assert call("evaluate", *images, *model, "--confusion", str(table)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert tuple(shown["iou"]) == NAMES
    heading, *rows = csv.reader(table.read_text().splitlines())
    assert heading == ["label", *NAMES]
    assert [row[0] for row in rows] == [*NAMES]
    counts = np.array([[int(cell) for cell in row[1:]] for row in rows])
    labels = np.stack([np.asarray(Image.open(p)) for p in (folder / "labels/val").iterdir()])
    assert counts.sum(axis=1).tolist() == [int((labels == c).sum()) for c in range(11)]
    right, union = np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1)
    for name, hit, both in zip(NAMES, right, union, strict=True):
        if both:
            assert shown["iou"][name] == pytest.approx(100 * hit / (both - hit), abs=1e-4)


def test_a_committed_teacher_is_scored_by_its_name(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: Capsys
) -> None:
    # Its study's data, without a folder; few of them: all 500 are the record's 0.5 seconds.
    made = Scenes.part
    monkeypatch.setattr(Scenes, "part", lambda self, *a, **k: made(replace_lengths(self), *a, **k))
    assert call("evaluate", "--model", "equal_time_digits") == 0
    said = capsys.readouterr()
    assert "train" not in said.err  # only what is scored is composed
    shown = json.loads(said.out)
    record = load_results(PAPER, equal_time_digits("cpu"), PAPER.results)
    best = record.values(record.study.arms[0], "miou")[0]
    assert shown["images"] == 20
    assert "digit 4" in shown["iou"]
    assert shown["miou"] == pytest.approx(best, abs=8)
    for flags, said in (
        (("--model", "equal_time_digits", "--weights", "x.pth"), "leave --weights out"),
        (("--model", "equal_time_camvid"), "give its folder with --data"),
        (
            ("--model", "equal_time_camvid", "--data", str(folder), "--num-classes", "12"),
            "--num-classes must be 11, got 12",
        ),
    ):
        assert call("evaluate", *flags) == 2
        assert said in capsys.readouterr().err
    assert call("evaluate", "--model", "equal_time_camvid", "--data", str(folder)) == 0
    shown_of_squares = capsys.readouterr()
    assert f"{folder}, val" in shown_of_squares.err
    assert f"{folder}, train" not in shown_of_squares.err
    assert "not the CamVid of the committed records" in shown_of_squares.err
    assert "bicyclist" in json.loads(shown_of_squares.out)["iou"]


def replace_lengths(scenes: Scenes) -> Scenes:
    return Scenes(scenes.scenes, 4, 20)


def test_predict_writes_label_maps_and_overlays(
    folder: Path, tmp_path: Path, model: tuple[str, ...], capsys: Capsys
) -> None:
    source, out = folder / "images", tmp_path / "out"
    (source / "notes.txt").touch()
    command = ("predict", str(source), *model, "--out", str(out))  # the config has the classes
    assert call(*command) == 0
    assert "8 label maps and overlays" in capsys.readouterr().out
    names = {
        f"{split}/{split}_{i}.png" for split, n in (("train", 6), ("val", 2)) for i in range(n)
    }
    for kind in ("labels", "overlays"):
        found = {path.relative_to(out / kind).as_posix() for path in (out / kind).rglob("*.png")}
        assert found == names
    label = Image.open(out / "labels/val/val_0.png")
    image = np.asarray(Image.open(source / "val/val_0.png").convert("RGB")).astype(float)
    indices = np.asarray(label)
    assert label.mode == "P"
    assert indices.max() < 11
    colours = np.array(class_colours(11), float)
    assert (np.asarray(label.convert("RGB")) == colours[indices]).all()
    overlay = np.asarray(Image.open(out / "overlays/val/val_0.png")).astype(float)
    assert np.abs(overlay - (image + colours[indices]) / 2).max() <= 0.5
    # Read as label maps, they are what `evaluate` counts.
    (folder / "labels").rename(folder / "truth")
    (out / "labels").rename(folder / "labels")
    assert call("evaluate", "--data", str(folder), "--num-classes", "11", *model) == 0
    assert json.loads(capsys.readouterr().out)["pixel_accuracy"] == 100.0


def test_predict_refuses(
    folder: Path, tmp_path: Path, model: tuple[str, ...], capsys: Capsys
) -> None:
    source, out = folder / "images" / "val", tmp_path / "out"
    (tmp_path / "none").mkdir()
    colours = tmp_path / "colours.txt"
    colours.write_text("0 0 0\n255 0 0\n")
    assert call("predict", str(source), "--out", str(out)) == 2
    assert "how many classes?" in capsys.readouterr().err
    for place, flags, said in (
        ("absent", ("--num-classes", "11"), "no such folder or image"),
        (str(tmp_path / "none"), ("--num-classes", "11"), "holds no images"),
        (str(source), ("--num-classes", "11", "--opacity", "2"), "--opacity must be 0 to 1"),
        (str(source), ("--num-classes", "12"), "--num-classes must be 11, as in "),
        (str(source), ("--palette", str(colours)), f"--palette {colours} has 2 colours for 11"),
        (str(tmp_path), ("--num-classes", "11"), "lies in the folder of the images"),
    ):
        assert call("predict", place, *model, *flags, "--out", str(out)) == 2
        assert said in capsys.readouterr().err
    Image.new("RGB", (32, 32)).save(source / "val_0.jpg")
    assert call("predict", str(source), *model, "--num-classes", "11", "--out", str(out)) == 2
    assert "would both be written" in capsys.readouterr().err
    assert not out.exists()


def test_an_image_that_a_model_cannot_take_is_named(
    folder: Path, tmp_path: Path, capsys: Capsys
) -> None:
    config = model_config(Model(base_channels=8, head_channels=8), 11, (32, 32))
    config["test_cfg"] = {"mode": "slide", "crop_size": (32, 32)}  # and no stride
    command = ("predict", str(folder / "images/val"), *given(tmp_path, config), "--num-classes")
    assert call(*command, "11", "--out", str(tmp_path / "out")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "stride" in last


def test_colours_are_pascal_vocs() -> None:
    expected = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128))
    assert class_colours(5) == expected
    assert class_colours(256)[-1] == (224, 224, 192)
    assert len(set(class_colours(254))) == 254


def test_models_that_print_leave_stdout_to_the_results(
    folder: Path, tmp_path: Path, capsys: Capsys
) -> None:
    norm = {"type": "GN", "num_groups": 4}
    config = {
        "type": "EncoderDecoder",
        "backbone": {
            "type": "MSCAN", "embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1],
            "mlp_ratios": [1, 1, 1, 1], "norm_cfg": {"type": "BN"},
        },
        "decode_head": {
            "type": "LightHamHead", "in_channels": [8, 16, 16], "in_index": [1, 2, 3],
            "channels": 8, "ham_channels": 8, "num_classes": 11, "norm_cfg": norm,
            "ham_kwargs": {"MD_R": 4}, "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss"},
        },
        "train_cfg": {}, "test_cfg": {"mode": "whole"},
    }  # fmt: skip
    model = given(tmp_path, config)
    assert "init cfg" in capsys.readouterr().out  # SegNeXt prints while it is built
    images = ("--data", str(folder), "--num-classes", "11", "--ignore", "11")
    assert call("evaluate", *images, *model) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["images"] == 2
    assert "init cfg" in said.err
    out = tmp_path / "out"
    train = ("train", *images, *model, "--crop", "32", "32", "--batch-size", "2", "--iterations")
    assert call(*train, "1", "--out", str(out)) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["iterations"] == 1
    assert "init cfg" not in said.err
    assert "init cfg" in (out / LOG).read_text()
