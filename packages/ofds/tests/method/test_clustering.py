"""k-means: as good as scikit-learn's, and the same whatever the threads, tiles and types are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans

from ofds.method import clustering
from ofds.method.clustering import kmeans, seeds


def points(count: int = 900, seed: int = 0) -> Any:
    g = np.random.default_rng(seed)
    centres = g.normal(size=(6, 5)) * 3
    return (centres[g.integers(6, size=count)] + g.normal(size=(count, 5))).astype(np.float32)


def test_equals_scikit_learns_lloyd_from_the_same_seeds() -> None:
    x = points()
    start = seeds(x, np.arange(len(x)), 12, 3)
    theirs = KMeans(12, init=start, n_init=1, max_iter=25, tol=0, algorithm="lloyd").fit(x)
    ours = kmeans(x, np.arange(len(x)), 12, 3)
    assert np.array_equal(ours.label, theirs.labels_)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-4, atol=1e-4)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-4)


def test_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "TILE", 64)
    x = points()
    one, four = (kmeans(x, np.arange(len(x)), 12, 0, threads=n) for n in (1, 4))
    assert np.array_equal(one.centres, four.centres)
    assert np.array_equal(one.label, four.label)
    assert np.array_equal(one.distance, four.distance)


def test_rows_of_a_half_precision_map(tmp_path: Any) -> None:
    x = points().astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.arange(0, 900, 3)
    from_map, direct = kmeans(mapped, rows, 7, 0), kmeans(x[rows], np.arange(300), 7, 0)
    assert np.array_equal(from_map.label, direct.label)


@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_few_different_rows(k: int) -> None:
    x = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0)
    found = kmeans(x, np.arange(9), k, 0)
    assert len(found.centres) == k
    assert found.inertia == pytest.approx(0 if k >= 3 else {1: 6.0}[k], abs=1e-5)
    assert found.label.max() < k


def test_nothing_to_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows in 3 clusters"):
        kmeans(points(), np.arange(0), 3, 0)
