"""Attention transfer against loops."""

import numpy as np
import pytest
import torch

from seg_kd.rivals.attention import attention_transfer


def slow(student: np.ndarray, teacher: np.ndarray) -> float:
    """One image at a time."""
    total = 0.0
    for own, other in zip(student, teacher, strict=True):
        maps = []
        for feature in (own, other):
            energy = np.zeros(feature.shape[1:])
            for channel in feature:
                energy += channel**2 / len(feature)
            maps.append(energy / np.sqrt((energy**2).sum()))
        total += float(((maps[0] - maps[1]) ** 2).mean())
    return total / len(student)


def test_against_slow_reference(device: str) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 6, 4, 5))
    own, other = (torch.tensor(maps, device=device) for maps in (student, teacher))
    found = attention_transfer(own, other).item()
    assert found == pytest.approx(slow(student, teacher), rel=1e-10)


def test_signs_are_not_seen() -> None:
    feature = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 5)))
    assert attention_transfer(feature, -feature).item() == 0
