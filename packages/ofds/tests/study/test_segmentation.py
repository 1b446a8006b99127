"""Views and weights of the segmenters' training, and what selectors are told of pixels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ofds.cli import PAPER
from ofds.study.scenes import ScenePools
from ofds.study.segmentation import Seen, batches, class_weights, mean_iou, viewed
from ofds.use.nets.segmenter import Segmenter
from repro_shared.study.command import main


def test_views_move_image_and_labels_together() -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    image = np.stack([labels] * 3, axis=2)
    seen, g = Seen(shift=3, light=0.0, mirror=True), np.random.default_rng(0)
    same = viewed(image, labels, seen, 0, g)
    assert np.array_equal(same[0], image)
    for view in range(1, 20):
        picture, moved = viewed(image, labels, seen, view, g)
        known = moved != 255
        assert known.any()
        assert np.array_equal(picture[..., 0][known], moved[known])


def test_light_changes_the_image_alone() -> None:
    image, labels = np.full((4, 4, 3), 100, np.uint8), np.ones((4, 4), np.uint8)
    picture, moved = viewed(image, labels, Seen(shift=0), 1, np.random.default_rng(0))
    assert 80 <= picture[0, 0, 0] <= 120
    assert np.array_equal(moved, labels)


def test_weights_of_rare_classes() -> None:
    maps = np.array([[[0] * 64 + [1] * 16 + [255] * 10]], np.uint8)
    assert class_weights(maps, 3, 0.0) is None
    weights = class_weights(maps, 3, 0.5)
    assert weights is not None
    assert (weights[1] / weights[0]).item() == pytest.approx(2)  # a quarter of the pixels
    assert weights[2] == weights[1]  # does not occur
    assert (0.8 * weights[0] + 0.2 * weights[1]).item() == pytest.approx(1)


def test_a_value_that_the_truth_has_not_is_left_out_of_the_mean() -> None:
    confusion = np.array([[0, 0, 0], [1, 8, 1], [0, 0, 10]])
    miou, by_value = mean_iou(confusion)
    assert by_value == pytest.approx((0, 80, 100 * 10 / 11))
    assert miou == pytest.approx((80 + 100 * 10 / 11) / 2)
    confusion[0, 0] = 10
    assert mean_iou(confusion)[0] == pytest.approx((100 * 10 / 11 + 80 + 100 * 10 / 11) / 3)


def test_batches_repeat_for_a_seed_and_refuse_nothing() -> None:
    scenes = ScenePools("few", images=6, drawn=6, test=1).open(None).pool
    model, ctx = Segmenter(11).eval(), SimpleNamespace(seed=3, device="cpu", label="")
    draws = [batches(model, scenes, 4, Seen(2), ctx) for _ in range(2)]
    one, other = (draw(np.random.default_rng(5)) for draw in draws)
    assert [tuple(level.shape[:2]) for level in one[0]] == [(4, 24), (4, 40), (4, 112)]
    assert one[1].shape == (4, 96, 96)
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    with pytest.raises(ValueError, match="no image"):
        batches(model, scenes.part(np.zeros(0, np.int64)), 4, Seen(2), ctx)


def test_from_nothing_to_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--scale", "smoke", "--table", "segmentation_long_tail"]
    assert main(PAPER, [*command, "--seeds", "0", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "at equal cost in objects" in shown
    assert "at equal cost in pixels" in shown
    assert "80 seconds an object (masks)" in shown
