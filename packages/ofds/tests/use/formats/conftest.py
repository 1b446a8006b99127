"""Data sets to write and to read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from ofds.use.coco import dataset_of
from ofds.use.dataset import Dataset
from ofds.use.masks import outlines, pixels, run_lengths
from ofds.use.repairs import Repairs

CLASSES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 90, "name": "St. Bernard"}]
NAMES = ["shirt", "undershirt", "t-shirt", "container", "containernumber", "St. Bernard",
         "japanese_fruit", "猫 & <dog>", 'say "no"', "no", "1.5", "a:b::c", "#1"]  # fmt: skip


def made(
    notes: list[dict[str, Any]] | None = None,
    images: list[dict[str, Any]] | None = None,
    categories: list[dict[str, Any]] | None = None,
) -> Dataset:
    """A data set of two images of 200 x 100 by default; a note needs what is not usual alone."""
    usual = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]}
    if images is None:
        images = [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "b/1.jpg"}]
    content = {
        "images": [{"width": 200, "height": 100, **image} for image in images],
        "categories": CLASSES if categories is None else categories,
        "annotations": [{"id": n, **usual, **note} for n, note in enumerate(notes or [], 1)],
    }
    return dataset_of(content, "made.json", Repairs())


def _box_mask(x: float, y: float, w: float, h: float, width: int, height: int) -> Any:
    drawn = np.zeros((height, width), np.uint8)
    drawn[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1] = 1
    return drawn


@st.composite
def drawn(
    draw: Any, whole: bool = False, masks: str = "polygons runs", positive: bool = True
) -> Any:
    """Content of a COCO file: names, ids, boxes and masks as they may come.

    Args:
        draw: of hypothesis.
        whole: boxes in whole pixels, none of a single pixel.
        masks: kinds of masks.
        positive: ids of classes are whole numbers from 1 up.
    """
    part = st.text("ab1 _-äß猫()'&,.", min_size=1, max_size=6).map(lambda t: f"x{t}x")
    stems = draw(st.lists(st.lists(part, min_size=1, max_size=3).map("/".join), unique=True,
                          min_size=1, max_size=4))  # fmt: skip
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=5))
    numbers = st.integers(1 if positive else 0, 99)
    ids = draw(st.lists(numbers, unique=True, min_size=len(names), max_size=len(names)))
    images, notes = [], []
    for place, stem in enumerate(stems, start=1):
        suffix = draw(st.sampled_from([".jpg", ".png", ".JPG"]))
        width, height = draw(st.tuples(st.integers(4, 60), st.integers(4, 60)))
        size = {"width": width, "height": height}
        images.append({"id": place * 7, "file_name": stem + suffix, **size, "labelled": True})
        for _ in range(draw(st.integers(0, 3))):
            x, y = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
            w, h = draw(st.integers(2, width - x)), draw(st.integers(2, height - y))
            if not whole:
                x, y, w, h = (n - draw(st.floats(0, 0.5, width=16)) for n in (x, y, w, h))
                x, y = max(x, 0), max(y, 0)
            note: dict[str, Any] = {
                "id": len(notes) + 11,
                "image_id": place * 7,
                "category_id": draw(st.sampled_from(ids)),
                "bbox": [x, y, w, h],
                "iscrowd": 0,
            }
            kind = draw(st.sampled_from(["", *masks.split()]))
            if kind == "polygons":
                note["segmentation"] = [
                    [x, y, x + w, y, x + w / 2, y + h],
                    *([[x, y, x, y + h, x + w / 4, y + h, x + w / 4, y]] * draw(st.integers(0, 2))),
                ]
            if kind == "runs":
                mask = run_lengths(_box_mask(x, y, w, h, width, height))
                if draw(st.booleans()):
                    mask["counts"] = mask["counts"].encode()
                note["segmentation"] = mask
            if draw(st.booleans()):
                note |= {"score": draw(st.integers(0, 100)) / 100, "source": "auto"}
                note["attributes"] = {"ofds_id": f"0a1b2c3d-{len(notes)}"}
            notes.append(note)
    categories = [{"id": id_, "name": name} for id_, name in zip(ids, names, strict=True)]
    return {"images": images, "categories": categories, "annotations": notes}


def shown(dataset: Dataset, *parts: str, digits: int = 3) -> dict[str, list[Any]]:
    """What a data set holds, by the names of its images and classes; objects in order.

    Parts: box, mask (as it is), pixels (of the mask), score, source, mark.
    """
    found: dict[str, list[Any]] = {image.name: [] for image in dataset.images}
    objects = dataset.objects
    for place, entry in enumerate(objects.entries):
        image = dataset.images[objects.image[place]]
        mask = entry.get("segmentation")
        own: dict[str, Any] = {
            "box": [round(float(v), digits) for v in objects.box[place]],
            "mask": [[round(v, digits) for v in each] for each in outlines(mask)],
            "pixels": pixels(mask, (image.height, image.width)).tobytes()
            if isinstance(mask, dict) else b"",
            "score": entry.get("score"),
            "source": entry.get("source"),
            "mark": (entry.get("attributes") or {}).get("ofds_id"),
        }  # fmt: skip
        label = dataset.categories[objects.label[place]].name
        found[image.name].append((label, *(own[each] for each in parts)))
    return found


@pytest.fixture(scope="session", name="made")
def _made() -> Callable[..., Dataset]:
    return made


@pytest.fixture(scope="session", name="drawn")
def _drawn() -> Any:
    return drawn


@pytest.fixture(scope="session", name="shown")
def _shown() -> Any:
    return shown


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A new folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
