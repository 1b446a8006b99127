"""Folders that users bring become pools, and their studies run from end to end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ofds.cli import PAPER
from ofds.study.cityscapes import CLASSES, Frames
from ofds.study.cityscapes_stages import SegmentFrames, ordered
from ofds.study.photographs import BloodCells
from ofds.study.road_scenes import CAMVID, RoadScenes
from ofds.train import Training
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main


def test_cells_are_scaled_with_their_boxes(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = BloodCells(size=(96, 128), first=4).open(cells)
    assert "1 x dropped: box of zero size" in capsys.readouterr().err
    assert (len(opened.pool), len(opened.test)) == (9, 3)
    assert opened.pool.classes == ("Platelets", "RBC", "WBC")
    assert opened.pool.images.shape == (9, 96, 128, 3)
    assert len(opened.pool.label) == 9 * 3 - 1
    first = opened.pool.image == 0
    boxes = dict(zip(opened.pool.label[first], opened.pool.box[first].tolist(), strict=True))
    assert boxes[1] == [0, 0, 64, 48]  # 1 to 32 of 64 pixels, at twice the size
    assert boxes[2] == [64, 48, 64, 48]


def test_a_seed_draws_its_first_images_and_its_pool(cells: Path) -> None:
    opened = BloodCells(first=4).open(cells)
    for seed in (0, 1):
        first, pool = opened.first_places(seed), opened.places(seed)
        assert len(first) == 4
        assert sorted([*first, *pool]) == list(range(9))
    assert not np.array_equal(opened.places(0), opened.places(1))


def test_tuning_never_sees_what_is_scored_in_the_end(cells: Path, roads: Path) -> None:
    held = BloodCells(held_out=True).open(cells)
    final = BloodCells().open(cells)
    assert not set(held.test.names) & set(held.pool.names)
    assert not {*held.test.names, *held.pool.names} & set(final.test.names)
    assert held.fingerprint != final.fingerprint
    tuning = RoadScenes(hold_out="0006R0").open(roads)
    assert {name[:6] for name in tuning.test.names} == {"0006R0"}
    assert {name[:6] for name in tuning.pool.names} == {"0001TP"}


def test_objects_of_roads_are_parts_of_label_maps(roads: Path) -> None:
    opened = RoadScenes(size=(45, 60), first=2).open(roads)
    pool = opened.pool
    assert (len(pool), len(opened.test), pool.classes) == (8, 2, CAMVID)
    labelled = (pool.label_maps[pool.label_maps != 255] > 0).sum()
    assert pool.area.sum() == labelled  # stripes: no part is small
    assert (pool.label_maps[:, :4, :4] == 255).all()
    assert [CAMVID[label] for label in opened.rare(pool)] == [
        "pole", "sign", "fence", "pedestrian", "bicyclist",
    ]  # fmt: skip


def test_a_frame_without_a_label_map_is_named(roads: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(roads, tmp_path / "roads")
    (copy / "labels" / "train" / "0001TP_00.png").unlink()
    with pytest.raises(UserError, match="no label map for '0001TP_00'"):
        RoadScenes().open(copy)


@pytest.mark.parametrize("study", ["cells_bccd", "roads_camvid"])
def test_from_a_folder_to_tables(
    study: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue("cells" if study == "cells_bccd" else "roads")
    command = ["reproduce", "--scale", "smoke", "--table", study, "--out", str(tmp_path)]
    assert main(PAPER, [*command, "--data", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "at equal cost in" in shown
    assert "of which there is no record" in shown or "not the" in shown
    assert main(PAPER, [*command, "--data", str(folder), "--plan"]) == 0
    assert "together 0 runs to make" in capsys.readouterr().out
    assert main(PAPER, command) == 2  # without --data
    assert "--data DIR" in capsys.readouterr().err


def test_cityscapes_says_what_is_absent_and_then_runs(
    cityscapes: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    absent = Frames().missing(folder)
    assert len(absent) == 6
    assert "ofds propose" in absent[4]
    assert absent[5].endswith("resnet50.pth, torchvision's ResNet-50")
    root = cityscapes()
    assert Frames("").missing(root) == []
    opened = Frames("").open(root)
    assert (len(opened.train), len(opened.val)) == (4, 1)
    assert opened.pool.classes == CLASSES
    assert len(opened.pool) == 24
    pool = opened.pool.where(opened.pool.image != 2)
    for selector in ("random", "class-balanced random", "image k-centre", "TypiClust", "OFDS"):
        config = SegmentFrames(Training(1), selector, share=0.25)  # of four frames: one
        order = ordered(config, pool, 0)
        assert sorted(order) == [0, 1, 2, 3]  # nothing is proposed on frame 2
        assert ordered(config, pool, 0) == order
    command = ["reproduce", "--scale", "smoke", "--table", "segmentation_cityscapes"]
    assert main(PAPER, [*command, "--data", str(root), "--out", str(tmp_path / "out")]) == 0
    assert "OFDS, 50 % of the pixels" in capsys.readouterr().out
