"""Images that are nearly the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ofds import make_pool
from ofds.method import duplicates
from ofds.method.duplicates import Duplicates, components, image_vectors, skipped, unit


def test_vectors_are_the_means_of_the_objects(columns: Any, monkeypatch: Any) -> None:
    pool = make_pool(**columns())
    monkeypatch.setattr(duplicates, "TILE", 7)
    found = image_vectors(pool)
    for image in range(0, 60, 9):
        mean = pool.features[pool.row[pool.image == image]].mean(axis=0)
        np.testing.assert_allclose(found[image], mean / np.linalg.norm(mean), atol=2e-3)
    lonely = make_pool(**{**columns(), "images": [*columns()["images"], "zzz"]})
    assert not image_vectors(lonely)[-1].any()


@pytest.mark.parametrize("tile", [3, 4096])
def test_what_repeats_is_what_is_near_any_chosen_one(monkeypatch: Any, tile: int) -> None:
    monkeypatch.setattr(duplicates, "TILE", tile)
    g = np.random.default_rng(0)
    x = unit(g.normal(size=(40, 3)))
    found = Duplicates(np.arange(40), x, 0.9)
    chosen = list[int]()
    for image in g.permutation(40)[:12].tolist():
        asked = g.integers(0, 40, 9)
        expected = [bool(chosen) and (x[chosen] @ x[i]).max() >= 0.9 for i in asked]
        assert found.repeats(asked).tolist() == expected
        found.add(image)
        chosen.append(image)
    free = np.setdiff1d(np.arange(40), chosen)
    listed = skipped(np.arange(40), x, 0.9, chosen, free)
    assert [each[0] for each in listed] == [
        i for i in free if (x[chosen] @ x[i]).max() >= 0.9
    ]  # fmt: skip
    for image, like, cosine in listed:
        assert cosine == pytest.approx((x[chosen] @ x[image]).max(), abs=1e-6)
        assert cosine == pytest.approx(x[like] @ x[image], abs=1e-6)


def test_equal_content_counts_without_vectors() -> None:
    found = Duplicates(np.array([0, 1, 1, 2]))
    found.add(1)
    assert found.repeats(np.arange(4)).tolist() == [False, True, True, False]
    assert skipped(np.array([0, 1, 1, 2]), None, 1.0, [1], np.array([0, 2, 3])) == [(2, 1, 1.0)]


def test_a_chain_is_no_duplicate_but_stays_together() -> None:
    # Each is like the next one, and the last not like the first.
    angle = np.linspace(0, np.pi / 2, 10)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    found = Duplicates(np.arange(10), x, 0.98)
    found.add(0)
    assert found.repeats(np.arange(10)).sum() == 2
    assert components([np.arange(10)], x, 0.98).tolist() == [0] * 10


@pytest.mark.parametrize("tile", [3, 4096])
def test_components(monkeypatch: Any, tile: int) -> None:
    monkeypatch.setattr(duplicates, "TILE", tile)
    keys = [np.array([0, 0, 1, -1, -1, 2, 1]), np.array([5, 6, 7, 5, 9, 9, 8])]
    assert components(keys, None, 1.0).tolist() == [0, 0, 1, 0, 2, 2, 1]
    x = np.zeros((7, 7), np.float32)
    x[np.arange(7), np.arange(7)] = 1
    x[6] = x[5]
    assert components(keys, x, 0.99).tolist() == [0, 0, 1, 0, 1, 1, 1]
