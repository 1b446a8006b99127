"""Folders of label maps as training data: what is refused, what is read when, what is kept."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.datasets import label_maps
from repro_shared.runtime.errors import UserError
from seg_kd.method.objectives import PLAIN
from seg_kd.train import Job, Optimiser, train
from seg_kd.use import data as data_module
from seg_kd.use.data import LabelMaps, View
from seg_kd.use.models import Model, model_config


def write(root: Path, split: str, name: str, label: np.ndarray, ending: str = "png") -> None:
    for kind, pixels in (("images", np.zeros((*label.shape, 3))), ("labels", label)):
        path = root / kind / split / f"{name}.{ending if kind == 'images' else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def masks(root: Path, *values: int) -> LabelMaps:
    """Two images a split whose masks hold these values, two classes."""
    for split in ("train", "val"):
        for name in ("a", "b"):
            write(root, split, name, np.resize(values, (4, 6)))
    return LabelMaps("x", ("ground", "thing"), own=True)


def test_masks_of_0_and_255_are_refused_and_can_be_mapped(tmp_path: Path) -> None:
    source = masks(tmp_path, 0, 0, 255)
    with pytest.raises(
        UserError,
        match=r"class 1 \(thing\) never occurs in the labels of split train; value 255 is ignored "
        r"in 16 pixels: give --map 255=1 if 255 stands for it, --allow-absent-classes if it may",
    ):
        source.open(tmp_path)
    absent = replace(source, absent=True).open(tmp_path)
    assert np.unique(absent.train[0][1]).tolist() == [0, 255]
    form = replace(data_module.find_form(tmp_path), mapped=((255, 1),))
    mapped = replace(source, form=form).open(tmp_path)
    assert mapped.train[0][1].tolist() == [[0, 0, 1, 0, 0, 1]] * 4
    assert mapped.fingerprint != absent.fingerprint


def test_a_class_may_be_missing_where_it_is_only_scored(tmp_path: Path) -> None:
    source = masks(tmp_path, 0, 1)
    write(tmp_path, "val", "a", np.zeros((4, 6)))
    write(tmp_path, "val", "b", np.zeros((4, 6)))
    assert len(source.open(tmp_path).test) == 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_that_are_all_ignored_are_refused(tmp_path: Path, split: str) -> None:
    source = replace(masks(tmp_path, 0, 1), absent=True)
    for name in ("a", "b"):
        write(tmp_path, split, name, np.full((4, 6), 255))
    message = f"every label of split {split} is ignored; value 255 is ignored in 48 pixels: .*--map"
    with pytest.raises(UserError, match=message):
        source.open(tmp_path)


def test_tif_images_and_what_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = masks(tmp_path, 0, 1)
    write(tmp_path, "train", "seq/c", np.resize([0, 1], (4, 6)), "tif")
    (tmp_path / "images/train/c.txt").touch()
    assert len(source.open(tmp_path).train) == 3
    assert "train (labels): 3 images; passed over: 1 .txt" in capsys.readouterr().err


def test_without_a_test_split_nothing_is_scored(tmp_path: Path) -> None:
    source = masks(tmp_path, 0, 1)
    both = source.open(tmp_path)
    alone = replace(source, test_split="").open(tmp_path)
    assert len(alone.test) == 0
    assert alone.fingerprint == f"{both.train.fingerprint[:32]}+"
    said = (
        "; splits found: train, val. Name one with --val-split, "
        "or give --val-split none to train without scoring"
    )
    with pytest.raises(UserError, match=f"{said}$"):
        replace(source, test_split="test").open(tmp_path)
    with pytest.raises(UserError, match=r"train, val\. Name one with --train-split$"):
        replace(source, train_split="test").open(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_gone_in_the_middle_ends_training_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    for name in ("a", "b"):
        write(tmp_path, "train", name, np.resize([0, 1], (32, 32)))
    monkeypatch.setattr(label_maps.LabelMapFolder.survey, "__defaults__", ("read", 0))
    source = LabelMaps("x", ("ground", "thing"), test_split="").open(tmp_path).train
    (tmp_path / "images/train/b.png").unlink()
    job = Job(
        model_config(Model(base_channels=8, head_channels=8), 2, (32, 32)), View((32, 32)), source,
        Optimiser(batch_size=2), 3, 0, PLAIN, None, tmp_path / "out", workers=workers,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"^\S+images/train/b.png: no such file$"):
        train(job)


def test_a_large_set_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = np.resize([0, 1], (256, 512))
    for split in ("train", "val"):
        for index in range(24):
            write(tmp_path, split, f"{index:02}", label)
    source = LabelMaps("x", ("a", "b"))
    whole = 2 * 24 * 4 * label.size
    kept = source.open(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(label_maps.LabelMapFolder.survey, "__defaults__", ("read", 0))
    tracemalloc.start()
    lazy = source.open(tmp_path)
    for index in range(24):
        np.testing.assert_array_equal(lazy.train[index][1], kept.train[index][1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < whole / 3
    assert lazy.fingerprint == kept.fingerprint
    assert lazy.train.sizes == kept.train.sizes
