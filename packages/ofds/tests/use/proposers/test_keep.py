"""Suppression of doubles and thresholds."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.ops import batched_nms

from ofds.use.proposers.interface import Detections
from ofds.use.proposers.keep import joined, kept, thresholds


def test_suppression_by_class_is_torchvisions() -> None:
    for seed in range(20):
        g = np.random.default_rng(seed)
        low = g.uniform(0, 40, (80, 2))
        boxes = np.concatenate([low, low + g.uniform(4, 30, (80, 2))], axis=1).astype(np.float32)
        scores = g.uniform(0, 1, (80, 3)).astype(np.float32)
        place, label, score = kept(boxes, scores, 0.0, 0.4, 1000)
        best = torch.from_numpy(scores.max(axis=1))
        theirs = batched_nms(
            torch.from_numpy(boxes), best, torch.from_numpy(scores.argmax(axis=1)), 0.4
        )
        assert place.tolist() == theirs.tolist()
        assert np.array_equal(label, scores[place].argmax(axis=1))
        assert np.array_equal(score, scores[place].max(axis=1))


def test_order_of_the_input_floor_and_most() -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 40, 9]], np.float32)
    scores = np.array([[0.5, 0.1], [0.5, 0.1], [0.2, 0.4], [0.9, 0.9]], np.float32)
    place, label, _ = kept(boxes, scores, 0.3, 0.5, 10)
    assert (place.tolist(), label.tolist()) == ([0, 2], [0, 1])  # one of doubles, none that is flat
    back = np.array([3, 2, 1, 0])
    other, _, _ = kept(boxes[back], scores[back], 0.3, 0.5, 10)
    assert boxes[back][other].tolist() == boxes[place].tolist()
    assert kept(boxes, scores, 0.3, 0.5, 1)[0].tolist() == [0]
    assert not len(kept(boxes, scores, 0.95, 0.5, 1)[0])
    assert not len(kept(boxes[:0], scores[:0], 0.0, 0.5, 1)[0])


def test_a_class_has_its_own_threshold_and_always_keeps_something() -> None:
    label = np.array([0] * 10 + [1] * 2)
    score = np.array([*np.arange(10) / 10 + 0.05, 0.3, 0.4])
    least = thresholds(label, score, 3, 0.25, 0.5)
    assert np.allclose(least, [0.45, 0.3, 0.25])
    assert np.allclose(thresholds(label, score, 3, 0.25, 0.0), 0.25)
    assert (score[label == 1] >= least[1] - 1e-6).all()


def test_an_object_that_two_passes_find_has_one_class() -> None:
    def of(boxes: list[list[float]], scores: list[list[float]]) -> Detections:
        count = len(boxes)
        return Detections(
            np.array(boxes, np.float32).reshape(count, 4),
            np.array(scores, np.float32).reshape(count, 3),
            np.arange(count, dtype=np.float32)[:, None],
            tuple(b"mask" for _ in boxes),
        )

    shirt = of([[0, 0, 100, 100], [0, 0, 100, 99]], [[0.6, 0, 0], [0.5, 0.4, 0]])
    undershirt = of([[0, 0, 99, 100], [0, 0, 40, 100]], [[0, 0, 0.7], [0, 0, 0.3]])
    found = joined([shirt, undershirt, of([], [])])
    # Both of the first pass are the object that the second calls by its right name.
    assert found.boxes.tolist() == [[0, 0, 99, 100], [0, 0, 40, 100]]
    assert found.features is not None
    assert found.features[:, 0].tolist() == [0, 1]
    assert found.masks == (b"mask", b"mask")
    # What one pass found twice is for `kept` to decide.
    assert len(joined([shirt])) == 2
    assert joined([undershirt, shirt]).boxes.tolist() == found.boxes.tolist()
    assert not len(joined([of([], []), of([], [])]))
