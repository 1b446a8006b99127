"""Tables of proposals: the same as COCO results, whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ofds.use import mask_column
from ofds.use.coco import read_dataset, read_proposals
from ofds.use.dataset import Dataset, Objects
from ofds.use.repairs import Repairs
from ofds.use.table import read_table, write_table
from repro_shared.runtime.errors import UserError

IMAGES = [
    {"id": 7, "file_name": "b.jpg", "width": 20, "height": 10},
    {"id": "x", "file_name": "a.jpg", "width": 30, "height": 30},
    {"id": 9, "file_name": "c.jpg"},
]
CATS = [{"id": 90, "name": "c"}, {"id": 1, "name": "a"}, {"id": 3, "name": "b"}]
NUMBER = st.sampled_from([float("nan"), float("inf"), -3.0, 0.0, 0.5, 2.0, 5.0, 18.0, 25.0])


def dataset(folder: Path) -> Dataset:
    path = folder / "images.json"
    path.write_text(json.dumps({"images": IMAGES, "categories": CATS}))
    return read_dataset(path, Repairs())


def table(folder: Path, **columns: Any) -> Path:
    np.savez(folder / "proposals.npz", **columns)
    return folder / "proposals.npz"


def columns(n: int = 1) -> dict[str, Any]:
    return {
        "image": np.zeros(n, np.int64),
        "label": np.zeros(n, np.int64),
        "score": np.full(n, 0.5, np.float32),
        "box": np.tile(np.array([1, 2, 3, 4], np.float32), (n, 1)),
        "area": np.full(n, 12, np.float32),
    }


def outcome(read: Any, path: Path, data: Dataset) -> Any:
    repairs = Repairs()
    try:
        found, total = read(path, data, repairs)
    except UserError as error:
        return str(error).partition("(from 0)")[0]
    names = ("image", "label", "score", "box", "area", "crowd", "row", "id")
    masks = [entry.get("segmentation") for entry in found.entries]
    rows = {name: np.asarray(getattr(found, name)).tolist() for name in names}
    return rows, masks, total, repairs.found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 2),
            st.sampled_from([0.25, 0.5, 1.0, float("nan")]),
            st.tuples(NUMBER, NUMBER, NUMBER, NUMBER),
            st.sampled_from([0.0, 7.0, float("nan")]),
            st.sampled_from(["", "whole", "empty"]),
        ),
        min_size=1,
        max_size=12,
    ),
    bad_score=st.booleans(),
)
def test_the_same_as_coco_results(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], bad_score: bool
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    data, results, masks = dataset(folder), [], []
    if bad_score:
        rows[-1] = (*rows[-1][:2], 1.5, *rows[-1][3:])
    for image, label, score, box, area, mask in rows:
        own = data.images[image]
        entry = {"image_id": own.id, "category_id": data.categories[label].id, "score": score,
                 "bbox": list(box), "area": area}  # fmt: skip
        text = ""
        if mask and own.width:
            drawn = np.zeros((own.height, own.width), np.uint8, order="F")
            drawn[2:7, 3:9] = mask == "whole"
            text = coco_mask.encode(drawn)["counts"].decode()
            if mask == "whole":
                entry["segmentation"] = {"size": [own.height, own.width], "counts": text}
            else:
                text = ""
        results.append(entry)
        masks.append(text)
    (folder / "results.json").write_text(json.dumps(results))
    image, label, score, box, area, _ = zip(*rows, strict=True)
    objects = Objects(
        np.array(image), np.array(label), np.array(score), np.array(box).reshape(-1, 4),
        np.array(area), np.zeros(len(rows), bool), np.arange(len(rows)), (), (),
    )  # fmt: skip
    write_table(folder / "proposals.npz", objects, masks)
    expected = outcome(read_proposals, folder / "results.json", data)
    found = outcome(read_table, folder / "proposals.npz", data)
    if isinstance(expected, str):
        assert found == expected.replace("results.json", "proposals.npz")
    else:
        assert found == expected


def test_damaged_masks_cost_the_mask_and_not_the_box(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    drawn = np.zeros((10, 20), np.uint8, order="F")
    drawn[1:4, 1:4] = 1
    good = coco_mask.encode(drawn)["counts"]
    other = coco_mask.encode(np.asfortranarray(drawn[:, :9]))["counts"]
    masks = [good, other, good[:-1], b"\x00\xff", None, good[:-1] + b"o", b"o" * 30, good]
    n = len(masks)
    objects = Objects(
        np.array([0] * (n - 1) + [2]), np.arange(n) % 3, np.linspace(0, 1, n),
        np.tile([1.0, 2, 3, 4], (n, 1)), np.zeros(n), np.zeros(n, bool), np.arange(n), (), (),
    )  # fmt: skip
    write_table(tmp_path / "t.npz", objects, masks)
    repairs = Repairs()
    found, total = read_table(tmp_path / "t.npz", data, repairs)
    assert total == len(found) == n
    assert found.area.tolist() == [9] + [12] * (n - 1)
    assert "segmentation" in found.entries[0]
    assert coco_mask.area(found.entries[0]["segmentation"]) == 9
    assert not any("segmentation" in entry for entry in found.entries[1:])
    assert repairs.count("mask left out: run lengths that do not add up to the mask's size") == 5
    assert repairs.count("mask left out: the size of its image is not known") == 1


@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
def test_areas_of_masks_are_those_of_pycocotools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(mask_column, "CHUNK", chunk)
    g = np.random.default_rng(0)
    drawn = [np.asfortranarray(g.random((10, 20)) < p, np.uint8) for p in (0, 0.1, 0.5, 0.9, 1)]
    codes = [coco_mask.encode(each)["counts"] for each in drawn]
    objects = Objects(
        np.zeros(5, int), np.zeros(5, int), np.linspace(0, 1, 5), np.tile([0.0, 0, 20, 10], (5, 1)),
        np.zeros(5), np.zeros(5, bool), np.arange(5), (), (),
    )  # fmt: skip
    write_table(tmp_path / "t.npz", objects, codes)
    found, _ = read_table(tmp_path / "t.npz", dataset(tmp_path), Repairs())
    assert found.area.tolist() == [200 if not m.any() else m.sum() for m in drawn]


def test_nothing_has_the_shape_of_boxes(tmp_path: Path) -> None:
    found, total = read_table(table(tmp_path, **columns(0)), dataset(tmp_path), Repairs())
    assert total == 0
    assert found.box.shape == (0, 4)


def test_rows_on_images_that_are_not_listed(tmp_path: Path) -> None:
    made = columns(3) | {"image": np.array([0, 3, -1]), "label": np.array([0, 1, 2])}
    repairs = Repairs()
    found, _ = read_table(table(tmp_path, **made), dataset(tmp_path), repairs)
    assert found.row.tolist() == [0]
    assert repairs.count("dropped: on an image that is not listed") == 2
    made["image"] = np.array([3, 3, 3])
    with pytest.raises(UserError, match="no image, such as place 3, is one listed"):
        read_table(table(tmp_path, **made), dataset(tmp_path), Repairs())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"label": np.array([3])}, r"result 0 \(from 0\) has label 3; the classes are 0 to 2"),
        ({"label": np.array([0.0])}, "column 'label' holds float64"),
        ({"score": np.array([-0.1])}, "scores must be 0 to 1"),
        ({"box": np.zeros(4)}, r"column 'box' has shape \(4,\), not \(1, 4\)"),
        ({"area": np.zeros(2)}, "column 'area' has shape"),
        ({"box": None}, "no .npz file of columns"),
        ({"mask": np.zeros(3, np.uint8), "mask_end": np.array([2])}, "does not fit the length"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        read_table(table(tmp_path, **columns() | change), dataset(tmp_path), Repairs())


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    data, path = dataset(tmp_path), tmp_path / "p.npz"
    with pytest.raises(UserError, match=r"p.npz: cannot be read \(No such file"):
        read_table(path, data, Repairs())
    whole = table(tmp_path, **columns(50)).read_bytes()
    plain = tmp_path / "plain.npy"
    np.save(plain, np.zeros(3))
    for content in (b"", b"no zip", whole[:100], whole[:-30], plain.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"p\.npz"):
            read_table(path, data, Repairs())
    made = columns()
    del made["area"]
    with pytest.raises(UserError, match="no column 'area'"):
        read_table(table(tmp_path, **made), data, Repairs())
    with pytest.raises(ValueError, match="1 masks for 0 objects"):
        write_table(path, read_table(table(tmp_path, **columns(0)), data, Repairs())[0], [b""])


def test_the_same_file_for_the_same_proposals(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    objects, _ = read_table(table(tmp_path, **columns(1)), data, Repairs())
    write_table(tmp_path / "one.npz", objects)
    write_table(tmp_path / "two.npz", objects)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(each.name for each in tmp_path.glob("*.tmp")) == []
