"""The intra-class variation against a loop over classes and positions."""

import itertools

import numpy as np
import pytest
import torch

from seg_kd.rivals.ifvd import class_variation


def slow(student: np.ndarray, teacher: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Class by class, position by position."""
    images, height, width = labels.shape
    total = 0.0
    for b, k in itertools.product(range(images), range(classes)):
        members = [*zip(*np.nonzero(labels[b] == k), strict=True)]
        nearness = []
        for maps in (student[b], teacher[b]):
            vectors = [maps[:, y, x] for y, x in members]
            centre = np.mean(vectors, axis=0) if vectors else 0
            nearness.append([
                v @ centre / np.linalg.norm(v) / np.linalg.norm(centre) for v in vectors
            ])  # fmt: skip
        total += sum((own - other) ** 2 for own, other in zip(*nearness, strict=True))
    return total / (images * height * width)


def test_against_slow_reference(device: str) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 6, 4, 5))
    labels = rng.choice([0, 1, 2, 3, 255], size=(2, 4, 5))
    own, other, places = (torch.tensor(a, device=device) for a in (student, teacher, labels))
    found = class_variation(own, other, places, classes=6)  # two of them never occur
    assert found.item() == pytest.approx(slow(student, teacher, labels, 6), rel=1e-9)


def test_labels_are_read_at_the_nearest_pixel() -> None:
    rng = np.random.default_rng(1)
    own, other = torch.tensor(rng.normal(size=(2, 1, 3, 2, 2)))
    labels = torch.tensor(rng.choice([0, 1, 255], size=(1, 2, 2)))
    fine = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    expected = class_variation(own, other, labels, classes=2)
    assert torch.equal(class_variation(own, other, fine, classes=2), expected)


def test_hand_worked() -> None:
    # One class of two positions: centre (1/2, 1/2), cosine with each 1 / sqrt 2; the teacher's are
    # equal, cosine 1.
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    loss = class_variation(student, torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 2).long(), classes=1)
    assert loss.item() == pytest.approx((1 - 0.5**0.5) ** 2)
