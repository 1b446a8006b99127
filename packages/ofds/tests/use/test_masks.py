"""Masks as COCO stores them."""

from __future__ import annotations

import numpy as np
import pytest

from ofds.use.masks import extent, outlines, pixels, plain, run_lengths, uncompressed


def test_run_lengths_as_a_list() -> None:
    found = extent({"size": [4, 4], "counts": [5, 3, 8]}, (4, 4))
    assert found == (3, (1, 1, 1, 3))


def test_a_run_over_two_columns_touches_top_and_bottom() -> None:
    assert extent({"size": [4, 4], "counts": [3, 2, 11]}) == (2, (0, 0, 2, 4))


@pytest.mark.parametrize("seed", range(8))
def test_text_and_bytes_are_as_pycocotools_has_them(seed: int) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    g = np.random.default_rng(seed)
    pixels = np.zeros((50, 70), np.uint8, order="F")
    for _ in range(3):
        y, x = g.integers(0, 40, 2)
        pixels[y : y + g.integers(1, 30), x : x + g.integers(1, 30)] = 1
    theirs = mask.encode(pixels)
    box = tuple(mask.toBbox(theirs).tolist())
    for counts in (theirs["counts"], theirs["counts"].decode()):
        assert extent({"size": [50, 70], "counts": counts}) == (pixels.sum(), box)


def test_text() -> None:
    # pycocotools.mask.encode of a square of 2 x 2 in the middle of 4 x 4
    assert extent({"size": [4, 4], "counts": "52203"}, (4, 4)) == (4, (1, 1, 2, 2))


def test_polygons() -> None:
    square, triangle = [0, 0, 4, 0, 4, 4, 0, 4], [6, 1, 8, 1, 8, 5]
    assert extent([square, triangle]) == (16 + 4, (0, 0, 8, 5))
    assert extent(square) == (16, (0, 0, 4, 4))
    assert extent([[1, 1, 2, 2]]) is None


@pytest.mark.parametrize("nothing", [None, [], {}, [[]], {"size": [2, 2], "counts": [4]}])
def test_nothing(nothing: object) -> None:
    assert extent(nothing) is None


@pytest.mark.parametrize(
    ("damaged", "line"),
    [
        ({"size": [4, 4], "counts": [5, 3]}, "do not add up"),
        ({"size": [4, 4], "counts": [-1, 17]}, "do not add up"),
        ({"size": [4, 4], "counts": "5S"}, "damaged run lengths"),
        ({"size": [4], "counts": [4]}, "damaged run lengths"),
        ({"counts": [4]}, "damaged run lengths"),
        ({"size": [2, 8], "counts": [5, 3, 8]}, "another size"),
        ([[0, 0, 1, 1, 2, float("nan")]], "damaged polygons"),
        ([[0, 0, 1, 1, 2, 2, 3]], "damaged polygons"),
        ([[0, 0, 1, 1, 2, 10**400]], "damaged polygons"),
        ("text", "neither polygons nor run lengths"),
    ],
)
def test_damaged(damaged: object, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        extent(damaged, (4, 4))


SQUARES = [[2, 1, 6, 1, 6, 5, 2, 5], [8, 2, 12, 2, 12, 4, 8, 4]]


def test_polygons_as_they_came_and_nothing_for_what_is_damaged() -> None:
    assert outlines(SQUARES) == SQUARES
    assert outlines(SQUARES[0]) == SQUARES[:1]
    assert outlines([*SQUARES, [1, 2]]) == SQUARES
    damaged = [
        [[0, 0, 1, 1, 2, float("inf")]],
        [[0, 0, 1, 1, float("nan"), 2]],
        [[0, 0, 1, 1, 2, 2, 3]],
        [["a"] * 6],
        [[None] * 8],
    ]
    for each in (None, [], {}, [[]], {"size": [1, 1], "counts": [1]}, "text", *damaged):
        assert outlines(each) == []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pixels_are_as_pycocotools_draws_them() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    size = (10, 20)
    theirs = mask.merge(mask.frPyObjects([[float(v) for v in each] for each in SQUARES], *size))
    drawn = mask.decode(theirs)
    assert drawn.sum() == 16 + 8
    listed = {"size": [10, 20], "counts": uncompressed(theirs["counts"])}
    for form in (SQUARES, theirs, {**theirs, "counts": theirs["counts"].decode()}, listed):
        found = pixels(form, size)
        assert found.dtype == np.uint8
        assert (found == drawn).all()
    again = run_lengths(drawn)
    assert again == {"size": [10, 20], "counts": theirs["counts"].decode()}
    assert run_lengths(np.zeros(size)) == {"size": [10, 20], "counts": "X6"}


def test_bytes_become_text_and_all_else_stays() -> None:
    assert plain({"size": [4, 4], "counts": b"52203"}) == {"size": [4, 4], "counts": "52203"}
    for same in (None, SQUARES, SQUARES[0], {"size": [4, 4], "counts": [5, 3, 8]}):
        assert plain(same) == same
    assert plain([*SQUARES, [1, 2, 3, 4], [float("nan")]]) == SQUARES
