"""Pools of composed scenes: exact columns, parts by seed, balanced test sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ofds.study.scenes import STYLES, OtherStyle, ScenePools
from repro_shared.datasets.scenes import DigitScenes

SMALL = ScenePools("small", "complex", 1.3, images=60, drawn=30, test=40)


def test_columns_are_the_scenes() -> None:
    opened = SMALL.open(None)
    pool, scenes = opened.pool, DigitScenes(SMALL.style, "train", 60, 0)
    for place in (0, 7, 59):
        scene, own = scenes[place], pool.image == place
        assert np.array_equal(pool.images[place], scene.image)
        edges = np.concatenate(
            [pool.box[own][:, :2], pool.box[own][:, :2] + pool.box[own][:, 2:]], 1
        )
        assert np.array_equal(edges, scene.boxes)
        assert np.array_equal(pool.label[own] + 1, scene.classes)
        for number, mask in enumerate(scene.instance_masks, start=1):
            assert np.array_equal(pool.instances[place] == number, mask)
            assert pool.area[own][number - 1] == mask.sum()
    assert pool.images.dtype == pool.instances.dtype == np.uint8


def test_a_part_keeps_its_objects() -> None:
    pool = SMALL.open(None).pool
    part = pool.part(np.array([5, 3, 40]))
    assert part.names == ("00003", "00005", "00040")
    for place, whole in enumerate((3, 5, 40)):
        assert np.array_equal(part.box[part.image == place], pool.box[pool.image == whole])
        assert np.array_equal(part.images[place], pool.images[whole])
    truth = part.truth()
    assert len(truth) == len(part.image)
    assert truth.counts.sum() == len(part.image)


def test_parts_differ_by_seed_and_stay() -> None:
    opened = SMALL.open(None)
    first, again, other = (opened.places(seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert len(np.unique(first)) == 30
    assert not np.array_equal(first, other)
    assert np.array_equal(first, np.sort(first))


def test_pool_is_long_tailed_and_test_is_not() -> None:
    opened = replace(SMALL, images=150, test=100).open(None)
    pool, test = (np.bincount(each.label, minlength=10) for each in (opened.pool, opened.test))
    assert pool.max() > 10 * pool.min()
    assert test.max() < 2.5 * test.min()
    assert sorted(np.argsort(pool)[-2:].tolist()) == [2, 7]
    rare = opened.rare(opened.pool.part(opened.places(0)))
    assert len(rare) == 3
    assert {7, 2}.isdisjoint(rare)
    assert not replace(SMALL, zipf=0.0).open(None).rare(opened.pool)


def test_fingerprints_tell_pools_apart() -> None:
    prints = {
        each.open(None).fingerprint
        for each in (SMALL, replace(SMALL, zipf=0.0), replace(SMALL, complexity="simple"),
                     replace(SMALL, test_split="val"), replace(SMALL, images=61))
    }  # fmt: skip
    assert len(prints) == 5


@pytest.mark.parametrize("complexity", STYLES)
def test_the_proposer_sees_another_style_and_split(complexity: str) -> None:
    from ofds.study.detection_recipes import STYLE

    pool = STYLES[complexity]  # type: ignore[index]
    assert (STYLE.min_contrast, STYLE.backdrop, STYLE.colour) != (
        pool.min_contrast, pool.backdrop, pool.colour,
    )  # fmt: skip
    assert OtherStyle(STYLE, 10).split == "val"
    assert STYLE.class_imbalance == 0
    assert "another style" in OtherStyle(STYLE, 10).sentence
