"""Annotations keep their source; merging can be undone; batches are half people's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ofds.study.annotations import (
    batches,
    by_detector,
    by_people,
    merged,
    shifted,
    shifted_target,
    targets,
)
from ofds.study.scenes import ScenePools, Scenes
from ofds.use.nets.detector import Detections


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return ScenePools("small", images=12, drawn=12, test=1).open(None).pool


def seen(scenes: Scenes) -> Detections:
    """The truth, a pixel off, with scores of 0.1 to 0.9."""
    score = np.linspace(0.1, 0.9, len(scenes.image)).astype(np.float32)
    return Detections(scenes.image, scenes.label, score, scenes.box + np.float32(1))


def test_people_give_way_nowhere_and_the_detector_where_people_were(scenes: Scenes) -> None:
    people, auto = by_people(scenes, [2, 5]), by_detector(seen(scenes), range(12), 0.3)
    both = merged(people, auto)
    assert both.images.tolist() == list(range(12))
    assert np.flatnonzero(both.by_people).tolist() == [2, 5]
    assert np.array_equal(np.unique(both.image[both.human]), [2, 5])
    assert (both.score[both.human] == 1).all()
    assert (both.score[~both.human] >= 0.3).all()
    assert np.array_equal(both.box[both.human], people.box)
    undone = both.without(np.array([2, 5]))
    rest = auto.without(np.array([2, 5]))
    assert np.array_equal(undone.box, rest.box)
    assert not undone.human.any()
    assert (np.diff(both.image) >= 0).all()


def test_targets_ignore_what_is_not_sure(scenes: Scenes) -> None:
    auto = by_detector(seen(scenes), range(12), 0.3)
    made = targets(merged(by_people(scenes, [0]), auto), sure=0.6, weight=0.5)
    assert len(made) == 12
    assert [float(each["weight"]) for each in made] == [1.0] + [0.5] * 11
    first = scenes.box[scenes.image == 0]
    assert torch.allclose(made[0]["boxes"][:, 2:] - made[0]["boxes"][:, :2],
                          torch.from_numpy(first[:, 2:]), atol=1e-4)  # fmt: skip
    for place in range(1, 12):
        own = auto.image == place
        assert len(made[place]["boxes"]) == (auto.score[own] >= 0.6).sum()
        assert len(made[place]["ignored"]) == (auto.score[own] < 0.6).sum()


def test_half_of_a_batch_is_peoples(scenes: Scenes) -> None:
    both = merged(by_people(scenes, [3]), by_detector(seen(scenes), range(12), 0.3))
    images, found = batches(scenes, both, 8, sure=0.6, weight=0.5)(np.random.default_rng(0))
    assert images.shape == (8, 3, 96, 96)
    assert 0 <= images.min() <= images.max() <= 1
    assert [float(each["weight"]) for each in found] == [1.0] * 4 + [0.5] * 4
    alone = batches(scenes, by_people(scenes, [3]), 8)(np.random.default_rng(0))[1]
    assert all(float(each["weight"]) == 1 for each in alone)


def test_images_without_a_box_are_drawn_too(scenes: Scenes) -> None:
    nothing = by_detector(seen(scenes), [0, 1], least=2.0)
    found = batches(scenes, nothing, 4)(np.random.default_rng(0))[1]
    assert [len(each["boxes"]) for each in found] == [0] * 4
    with pytest.raises(ValueError, match="no image is annotated"):
        batches(scenes, by_people(scenes, []), 4)


def test_boxes_move_with_their_images() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[4:10, 6:12] = 255
    target = {
        "boxes": torch.tensor([[6.0, 4.0, 12.0, 10.0]]), "labels": torch.tensor([1]),
        "ignored": torch.zeros(0, 4),
    }  # fmt: skip
    moved = shifted(image, right=3, down=-2)
    x1, y1, x2, y2 = (int(v) for v in shifted_target(target, 3, -2, (20, 20))["boxes"][0])
    assert (moved[y1:y2, x1:x2] == 255).all()
    assert moved.sum() == image.sum()
    gone = shifted_target(target, 11, 0, (20, 20))  # 3 of 6 columns are left
    assert gone["boxes"].tolist() == [[17, 4, 20, 10]]
    gone = shifted_target(target, 12, 0, (20, 20))
    assert not len(gone["boxes"])
    assert not len(gone["labels"])
    assert gone["ignored"].tolist() == [[18, 4, 20, 10]]
