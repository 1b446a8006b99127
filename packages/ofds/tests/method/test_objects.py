"""The object table and its costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ofds import Budget, make_pool


def test_canonical_order(columns: Any) -> None:
    pool = make_pool(**columns())
    assert list(pool.images) == sorted(pool.images)
    keys = list(zip(pool.image, pool.label, -pool.score, strict=True))
    assert keys == sorted(keys)
    given = columns()
    for place in range(len(pool)):
        row = pool.row[place]
        assert given["image"][row] == pool.images[pool.image[place]]
        assert given["label"][row] == pool.label[place]
        assert given["score"][row] == pytest.approx(pool.score[place])


def test_images_of_objects_by_name_or_by_place(columns: Any) -> None:
    given = columns()
    shuffled = np.random.default_rng(0).permutation(given["images"]).tolist()
    where = {name: place for place, name in enumerate(shuffled)}
    places = np.array([where[name] for name in given["image"]])
    content = [name[:3] for name in shuffled]
    one = make_pool(**{**given, "images": shuffled, "content": content})
    two = make_pool(**{**given, "images": shuffled, "image": places, "content": content})
    for name in ("images", "image", "label", "score", "box", "row", "twin"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    alike = [i for i, name in enumerate(one.images) if name.startswith("002")]
    assert len(set(one.twin[alike].tolist())) == 1
    assert len(set(one.twin.tolist())) == 6
    with pytest.raises(ValueError, match="an object lies on image 60; there are 60"):
        make_pool(**{**given, "image": np.full(len(places), 60)})


def test_counts_and_costs() -> None:
    pool = make_pool(
        ["b", "a", "empty"], ["x", "y"], ["a", "b", "b"], [0, 1, 1], [0.9, 0.8, 0.2],
        [[0, 0, 2, 3], [0, 0, 4, 5], [0, 0, 1, 1]],
    )  # fmt: skip
    assert pool.images == ("a", "b", "empty")
    assert pool.counts.tolist() == [[1, 0], [0, 2], [0, 0]]
    assert Budget(1, "images").costs(pool).tolist() == [1, 1, 1]
    assert Budget(1, "objects").costs(pool).tolist() == [1, 2, 0]
    assert Budget(1, "pixels").costs(pool).tolist() == [6, 21, 0]
    assert Budget(1, "seconds", "extreme-clicks", 2.0).costs(pool).tolist() == [9, 16, 2]
    assert Budget(1, "column").costs(pool, np.array([3.0, 4, 5])).tolist() == [3, 4, 5]
    assert pool.above(0.5).counts.tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"images": ["a", "a"]}, "image 'a' is listed twice"),
        ({"image": ["c"]}, "'c', which is no image of the pool"),
        ({"label": [2]}, "labels must be 0 to 1"),
        ({"features": np.zeros((0, 4))}, "0 rows of features for row 0"),
    ],
)
def test_what_cannot_be_a_pool(change: dict[str, Any], line: str) -> None:
    given: dict[str, Any] = {
        "images": ["a", "b"], "classes": ["x", "y"], "image": ["a"], "label": [0], "score": [1.0],
        "box": [[0, 0, 1, 1]],
    }  # fmt: skip
    with pytest.raises(ValueError, match=line):
        make_pool(**{**given, **change})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"amount": 0.0}, "must be above 0, got 0"),
        ({"amount": float("nan")}, "must be above 0"),
        ({"amount": 1, "unit": "clicks"}, "unknown unit 'clicks'"),
        ({"amount": 1, "preset": "lasso"}, "unknown cost preset 'lasso'"),
        ({"amount": 1, "looking": -1.0}, "0 or more, got -1"),
    ],
)
def test_budgets_that_cannot_be(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Budget(**settings)


def test_columns_that_cannot_be(columns: Any) -> None:
    pool = make_pool(**columns(images=3))
    with pytest.raises(ValueError, match="needs a column"):
        Budget(1, "column").costs(pool)
    with pytest.raises(ValueError, match="2 costs for 3 images"):
        Budget(1, "column").costs(pool, np.ones(2))
    with pytest.raises(ValueError, match=r"cost of '0001.jpg' is -1"):
        Budget(1).costs(pool, np.array([1.0, -1, 1]))
