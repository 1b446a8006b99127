"""What a user says of the data: classes, values, forms, splits; and what is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.runtime.errors import UserError
from seg_kd.study.own_arms import Images
from seg_kd.study.recipes import CAMVID


def test_the_number_of_classes_is_asked_for(folder: Path) -> None:
    with pytest.raises(UserError, match=r"how many classes\? Give --num-classes N, or --classes"):
        Images(data=str(folder)).source()


def test_class_names_count_the_classes(folder: Path, tmp_path: Path) -> None:
    images = Images(data=str(folder), classes=CAMVID, ignore=(11,))
    assert images.num_classes == 11
    assert images.source().classes == CAMVID
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(CAMVID) + "\n\n")
    assert Images(data=str(folder), classes=(str(listed),)).source().classes == CAMVID
    with pytest.raises(UserError, match="--classes names 11 classes, --num-classes says 12"):
        Images(data=str(folder), classes=CAMVID, num_classes=12)
    assert replace(Images(classes=("a", "b")), data=str(folder)).num_classes == 2


def test_names_are_those_of_the_data_set_that_the_folder_is(tmp_path: Path) -> None:
    for kind in ("JPEGImages", "SegmentationClass"):
        (tmp_path / kind).mkdir()
    images = Images(data=str(tmp_path))
    source = images.source()
    assert images.num_classes == len(source.classes) == 21
    assert source.classes[15] == "person"
    assert Images(data=str(tmp_path), num_classes=3).source().classes[2] == "class 2"


def test_a_palette_names_and_counts_the_classes(tmp_path: Path) -> None:
    colours = np.array([(128, 64, 128), (70, 70, 70), (0, 0, 0)], np.uint8)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            path = tmp_path / kind / split / "a.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(colours[[[0, 1, 2, 1]]]).save(path)
    with pytest.raises(UserError, match=r"colour image.*--palette"):
        Images(data=str(tmp_path), num_classes=2).source().open(tmp_path)
    (tmp_path / "colours.csv").write_text(
        "name,r,g,b\nroad,128,64,128\nhouse,70,70,70\nvoid,0,0,0\n"
    )
    images = Images(data=str(tmp_path), palette=str(tmp_path / "colours.csv"), ignore=(2,))
    assert images.num_classes == 2
    data = images.source().open(tmp_path)
    assert data.classes == ("road", "house")
    assert data.train[0][1].tolist() == [[0, 1, 255, 1]]


def test_settings_reach_the_reader(folder: Path) -> None:
    images = Images(
        data=str(folder), num_classes=11, ignore=(11,), map=("11=3", "0=255"),
        eval_batch_size=4, val_split="none",
    )  # fmt: skip
    source = images.source()
    assert source.form is not None
    assert source.form.mapped == ((11, 3), (0, 255))
    assert (source.batch_size, source.test_split) == (4, "")
    reduced = Images(data=str(folder), num_classes=11, reduce_zero_label=True).source().open(folder)
    plain = replace(images, map=()).source().open(folder)
    np.testing.assert_array_equal(
        np.where(reduced.train[0][1] == 255, 0, reduced.train[0][1] + 1),
        np.where(plain.train[0][1] == 255, 11, plain.train[0][1]),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"map": ("255",)}, "--map 255: give VALUE=CLASS"),
        ({"map": ("255=x",)}, "--map 255=x"),
        ({"classes": ("a", "b") * 5 + ("c",)}, "class name 'a' stands for two classes"),
        ({"format": "coco"}, "--format coco: choose one of cityscapes, ade20k, voc, mmseg"),
        ({"eval_batch_size": 0}, "--eval-batch-size must be at least 1"),
    ],
)
def test_settings_that_are_refused(folder: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Images(data=str(folder), num_classes=11, **settings).source()
