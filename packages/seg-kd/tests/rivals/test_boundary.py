"""Edges against scipy-like loops, and both terms against slow references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from repro_shared.runtime.errors import UserError
from seg_kd.rivals.boundary import Boundary, body_distillation, class_edges, edge_distillation


def slow_edges(labels: np.ndarray, classes: int, window: int) -> np.ndarray:
    """Pixel by pixel: sees the class, and not only the class; unlabelled pixels are not there."""
    images, height, width = labels.shape
    edges, half = np.zeros((images, classes, height, width)), window // 2
    for b, y, x in itertools.product(range(images), range(height), range(width)):
        if labels[b, y, x] >= classes:
            continue
        around = labels[b, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        seen = {*around[around < classes].tolist()}
        for k in seen if len(seen) > 1 else ():
            edges[b, k, y, x] = 1
    return edges


@pytest.mark.parametrize("window", [3, 7])
def test_edges_against_slow_reference(window: int, device: str) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.choice([0, 1, 2, 255], size=(2, 3, 4))
    labels = np.kron(blocks, np.ones((1, 8, 8), int))
    expected = slow_edges(labels, 4, window)
    places = torch.tensor(labels, device=device)
    found = class_edges(places, (24, 32), classes=4, window=window)
    assert np.array_equal(found.cpu().numpy(), expected)
    coarse = class_edges(places, (3, 4), classes=4, window=window).cpu().numpy()
    cells = expected.reshape(2, 4, 3, 8, 4, 8).mean((3, 5))
    np.testing.assert_allclose(coarse, cells, rtol=1e-6)
    assert coarse[:, :3].any()
    assert not coarse[:, 3].any()  # never occurs


def test_terms_against_slow_references(device: str) -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 2, 3, 4, 5))
    edges, labels = rng.random((2, 3, 4, 5)), rng.choice([0, 1, 2, 255], size=(2, 4, 5))
    edges[:, 2] = 0  # a class without an edge
    maps = [torch.tensor(each, device=device) for each in (student, teacher, edges)]

    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (teacher, student))
    divergence = (p * np.log(p / q)).sum(1)
    edge = sum(2 * (edges[:, k] * divergence).sum() / edges[:, k].sum() for k in (0, 1))
    assert edge_distillation(*maps).item() == pytest.approx(edge, rel=1e-9)

    total = 0.0
    for b, k in itertools.product(range(2), range(3)):
        keep = (1 - edges[b, k]) * (labels[b] < 3)
        p, q = (np.exp(z[b, k] * keep) / np.exp(z[b, k] * keep).sum() for z in (teacher, student))
        total += (p * np.log(p / q)).sum()
    found = body_distillation(*maps, torch.tensor(labels, device=device)).item()
    assert found == pytest.approx(total / 6, rel=1e-9)


@pytest.mark.parametrize("window", [0, 4])
def test_a_window_is_odd(window: int) -> None:
    with pytest.raises(UserError, match="window must be odd and positive"):
        Boundary(window=window)
