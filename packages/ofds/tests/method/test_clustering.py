"""k-means: as good as scikit-learn's, and the same whatever the threads, tiles and types are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans

from ofds.method import clustering
from ofds.method.clustering import kmeans, seeds
from ofds.use.features import read_features


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


@pytest.mark.parametrize("tile", [64, 4096])
def test_rows_kept_in_memory_do_not_change_a_bit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, tile: int
) -> None:
    monkeypatch.setattr(clustering, "TILE", tile)
    monkeypatch.setattr(clustering, "BATCH", 3)
    np.save(tmp_path / "x.npy", points().astype(np.float16))
    mapped = read_features(tmp_path / "x.npy", 900)  # scaled to length 1 as it is read
    rows, found = np.flatnonzero(np.arange(900) % 7), []
    for keep in (0, 1 << 29):
        monkeypatch.setattr(clustering, "KEEP", keep)
        found.append(kmeans(mapped, rows, 12, 0, threads=2))
    assert np.array_equal(found[0].centres, found[1].centres)
    assert np.array_equal(found[0].distance, found[1].distance)


def test_sums_follow_the_rows_that_move() -> None:
    # After all iterations every centre is the mean of its rows, whatever moved when.
    x = points()
    found = kmeans(x, np.arange(len(x)), 12, 1, iterations=60)
    for number, centre in enumerate(found.centres):
        np.testing.assert_allclose(centre, x[found.label == number].mean(axis=0), rtol=1e-5)
    apart = ((x[:, None] - found.centres[None]) ** 2).sum(-1)
    assert np.array_equal(apart.argmin(axis=1), found.label)
    np.testing.assert_allclose(found.distance, apart.min(axis=1), rtol=1e-3, atol=1e-4)


def test_first_centres_may_be_given() -> None:
    x, start = points(), points(5, seed=1)
    found = kmeans(x, np.arange(len(x)), 5, 0, iterations=1, start=start)
    nearest = ((x[:, None] - start[None]) ** 2).sum(-1).argmin(axis=1)
    expected = np.stack([x[nearest == k].mean(axis=0) for k in range(5)])
    np.testing.assert_allclose(found.centres, expected, rtol=1e-4, atol=1e-4)


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
