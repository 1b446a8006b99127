"""Parts of label maps as objects: what scipy and pycocotools say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_masks

from ofds.use.coco import dataset_of
from ofds.use.dataset import Dataset
from ofds.use.masks import pixels
from ofds.use.repairs import Repairs
from ofds.use.stuff import components, pooled, proposals_from_label_maps
from repro_shared.runtime.errors import UserError

MAP = np.array(
    [
        [0, 0, 1, 1, 255],
        [0, 9, 1, 0, 255],
        [2, 1, 9, 0, 0],
        [2, 2, 9, 0, 0],
    ]
)


def a_dataset(*sizes: tuple[int, int]) -> Dataset:
    images: list[Any] = [
        {"id": n, "file_name": f"{n}.png", "width": w, "height": h}
        for n, (w, h) in enumerate(sizes)
    ]
    names = [{"id": 3 * n, "name": name} for n, name in enumerate(("road", "sky", "pole"))]
    return dataset_of({"images": images, "categories": names}, Path("pool.json"), Repairs())


def test_neighbours_are_eight_and_other_values_are_no_class() -> None:
    found, dropped = components(MAP, 3, smallest=1)
    assert [(part.label, part.box, part.area) for part in found] == [
        (0, (0, 0, 2, 2), 3),
        (0, (3, 1, 2, 3), 5),
        (1, (1, 0, 3, 3), 4),  # joined over a corner
        (2, (0, 2, 2, 2), 3),
    ]
    assert not dropped.any()


def test_small_parts_are_dropped_and_counted() -> None:
    found, dropped = components(MAP, 3, smallest=4)
    assert [part.label for part in found] == [0, 1]
    assert dropped.tolist() == [1, 0, 1]


def test_scores_are_means_over_the_part() -> None:
    probability = np.arange(20).reshape(4, 5) / 20
    found, _ = components(MAP, 3, 1, probability)
    assert found[3].score == pytest.approx((10 + 15 + 16) / 3 / 20)


@given(st.integers(0, 2**20))
def test_parts_make_the_map_again(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, (9, 11))
    found, _ = components(labels, 3, smallest=1)
    again = np.full(labels.shape, 3)
    for part in found:
        counts = part.counts(*labels.shape)
        own = pixels({"size": list(labels.shape), "counts": counts}, labels.shape) > 0
        assert own.sum() == part.area
        assert (again[own] == 3).all()  # no pixel twice
        again[own] = part.label
    assert np.array_equal(again, labels)


def test_a_crop_shows_the_part_alone() -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    crop = components(MAP, 3, 1)[0][3].crop(image)
    assert crop.shape == (2, 2, 3)
    assert np.array_equal(crop[:, 0], image[2:4, 0])
    assert (crop[0, 1] == 127).all()


def test_pooling_is_the_mean_of_the_map_over_the_part() -> None:
    parts, _ = components(MAP, 3, 1)
    maps = np.random.default_rng(0).normal(size=(6, 4, 5)).astype(np.float32)
    expected = [maps[:, MAP == 2].mean(axis=1)]
    assert np.allclose(pooled(maps, parts[3:], 4, 5), expected, atol=1e-6)
    coarse = maps[:, ::2, ::5]  # cells of 2 x 5 pixels: each part mixes those that it touches
    mixed = pooled(coarse, parts[:1], 4, 5)
    assert np.allclose(mixed, coarse[:, 0].T, atol=1e-6)


def test_the_table_keeps_images_in_order_and_books_what_is_dropped() -> None:
    dataset, repairs = a_dataset((5, 4), (5, 4), (5, 4)), Repairs()
    empty = np.full((4, 5), 255)
    found = proposals_from_label_maps(
        dataset, [(0, MAP, None), (1, empty, None), (2, MAP, np.full((4, 5), 0.5))], repairs, 4
    )
    assert found.objects.image.tolist() == [0, 0, 2, 2]
    assert found.objects.area.tolist() == [5, 4, 5, 4]
    assert found.objects.score.tolist() == [1, 1, 0.5, 0.5]
    assert repairs.count("dropped: pole, a component of fewer than 4 pixels") == 2
    assert coco_masks.area({"size": [4, 5], "counts": found.masks[0]}) == 5


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"'0.png' is 5 x 4, the image 6 x 4"):
        proposals_from_label_maps(a_dataset((6, 4)), [(0, MAP, None)], Repairs())
