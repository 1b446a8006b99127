"""Results in any format, damaged ones too."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ofds.use.coco import dataset_of, read_dataset
from ofds.use.formats import coco, cvat, label_studio, voc, yolo
from ofds.use.formats.reading import on_pool, read_content, read_results
from ofds.use.ingest_results import results
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

MASK = {"size": [100, 200], "counts": [5, 3, 19992]}
NOTES = [
    {"segmentation": MASK},
    {"category_id": 90, "segmentation": [[1, 1, 9, 1, 9, 9], [20, 1, 29, 1, 29, 9]]},
    {"image_id": 2, "attributes": {"ofds_id": "0a1b2c3d-0"}, "score": 0.5},
]
ODD = [None, True, False, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 10**30, "", "x", [], {},
       [[]], [1], ["a"], {"a": 1}, "../../x.jpg", "C:\\x"]  # fmt: skip


def written(dataset: Any, folder: Path, format_: str) -> Path:
    """Results in a format, as an annotator would bring them."""
    if format_ in ("voc", "yolo"):
        {"voc": voc, "yolo": yolo}[format_].write(folder, dataset, Repairs(), "train")
        return folder
    path = folder / "results.json"
    if format_ == "cvat":
        cvat.write(folder, dataset, Repairs())
        return folder / cvat.FILE
    if format_ == "label-studio":
        label_studio.write(folder, dataset)
        tasks = json.loads((folder / label_studio.TASKS).read_text(encoding="utf-8"))
        for task in tasks:
            made = [r for p in task.get("predictions", []) for r in p["result"]]
            task["annotations"] = [{"result": made, "lead_time": 3.0}]
        path.write_text(json.dumps(tasks))
    else:
        path.write_text(json.dumps(coco.content(dataset)))
    return path


@pytest.mark.parametrize("format_", ["coco", "voc", "yolo", "label-studio", "cvat"])
def test_a_data_set_of_its_own_and_one_of_a_pool(made: Any, tmp_path: Path, format_: Any) -> None:
    dataset = made(NOTES)
    path = written(dataset, tmp_path, format_)
    found = dataset_of(read_content(path, format_, Repairs(), dataset), path, Repairs())
    classes = [found.categories[label].name for label in found.objects.label]
    assert sorted(classes) == ["St. Bernard", "cat", "cat"]
    assert len(found.images) == 2
    if format_ != "yolo":  # which needs the images
        assert len(read_results(path, format_, Repairs()).objects) == 3


@pytest.mark.parametrize("content", [[], {"images": []}, {"annotations": 3}])
def test_no_results(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="no COCO file with `annotations`"):
        read_content(path, "coco", Repairs())


def test_flags_and_times_of_images(made: Any, tmp_path: Path) -> None:
    pool = made()
    said = [(True, True), (1, True), (0, False), ("x", None), (None, None)]
    for flag, known in said:
        content = coco.content(pool)
        content["images"][0] |= {"labelled": flag, "seconds": "x" if known is None else 3}
        image = on_pool(content, tmp_path, pool, Repairs())["images"][0]
        assert image["labelled"] is known
        assert image.get("seconds") == (None if known is None else 3.0)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def damaged(content: Any, seed: int) -> Any:
    """The same with one to three values of another kind, or gone."""
    made, g = copy.deepcopy(content), random.Random(seed)
    for _ in range(g.randint(1, 3)):
        *path, last = g.choice(places(made))
        parent = made
        for key in path:
            parent = parent[key]
        if isinstance(parent, dict) and g.random() < 0.2:
            del parent[last]
        else:
            parent[last] = copy.deepcopy(g.choice(ODD))
    return made


@pytest.mark.parametrize("format_", ["coco", "label-studio", "cvat"])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_damage_is_put_right_or_refused(
    made: Any, tmp_path_factory: Any, format_: Any, seed: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"damaged-{format_}"
    folder.mkdir(exist_ok=True)
    pool = made(NOTES)
    path = written(pool, folder, format_)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(damaged(content, seed)))
    shown = np.ones(len(pool.objects), bool)
    try:
        found = results(
            path, format_, pool, pool.objects, shown, "0a1b2c3d" * 8, Repairs(), "labelled"
        )
    except UserError:
        return
    objects = found.dataset.objects
    assert np.isfinite(objects.box).all()
    assert (objects.box[:, 2:] > 0).all()
    assert len(found.partner) == len(objects)
    path.write_text(json.dumps(coco.content(found.dataset), allow_nan=False, default=str))
    assert len(read_dataset(path, Repairs()).objects) == len(objects)
