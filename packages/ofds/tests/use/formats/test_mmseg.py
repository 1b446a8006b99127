"""mmsegmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use.formats import mmseg
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_label_map

SQUARE = [[20, 10, 40, 10, 40, 30, 20, 30]]


def test_label_maps(made: Any, out: Path) -> None:
    other = [[30, 10, 50, 10, 50, 30, 30, 30]]
    notes = [
        {"segmentation": other, "category_id": 90, "score": 0.9},
        {"segmentation": SQUARE, "category_id": 1, "score": 0.4},
        {"bbox": [0, 0, 9, 9]},
    ]
    repairs = Repairs()
    mmseg.write(out, made(notes), repairs, "train")
    drawn = read_label_map(out / "ann_dir" / "a" / "1.png")
    expected = np.full((100, 200), 255)
    expected[10:30, 20:40] = 0
    expected[10:30, 30:50] = 2  # in front: its score is higher
    assert (drawn == expected).all()
    assert not (out / "ann_dir" / "b").exists()  # nothing is known of it
    assert (out / "splits" / "train.txt").read_text() == "a/1\nb/1\n"
    meta = json.loads((out / "metainfo.json").read_text(encoding="utf-8"))
    assert meta["classes"] == ["cat", "dog", "St. Bernard"]
    assert len({tuple(colour) for colour in meta["palette"]}) == 3
    assert repairs.count("left out: object without a mask") == 1


def test_mmseg_reads_it(made: Any, out: Path) -> None:
    datasets = pytest.importorskip("mmseg.datasets")
    mmseg.write(out, made([{"segmentation": SQUARE}]), Repairs(), "train")
    meta = json.loads((out / "metainfo.json").read_text(encoding="utf-8"))
    found = datasets.BaseSegDataset(
        ann_file="splits/train.txt", data_root=str(out), img_suffix=".jpg", metainfo=meta,
        data_prefix={"img_path": "img_dir", "seg_map_path": "ann_dir"}, lazy_init=False,
    )  # fmt: skip
    assert len(found) == 2
    assert found.get_data_info(0)["seg_map_path"] == str(out / "ann_dir" / "a" / "1.png")


def test_a_list_for_each_suffix(made: Any, out: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.jpg"}]
    mmseg.write(out, made(images=images), Repairs(), "val")
    lists = {path.name: path.read_text() for path in (out / "splits").iterdir()}
    assert lists == {"val.png.txt": "a\n", "val.jpg.txt": "b\n"}


def test_what_is_refused(made: Any, out: Path) -> None:
    classes = [{"id": n, "name": f"class {n}"} for n in range(256)]
    with pytest.raises(UserError, match="256 classes: a label map holds 255 at most"):
        mmseg.write(out, made(categories=classes), Repairs(), "train")
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "1.jpg"}]
    with pytest.raises(UserError, match="mmseg cannot tell"):
        mmseg.write(out, made(images=images), Repairs(), "train")
