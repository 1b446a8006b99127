"""Masks as Label Studio's brush stores them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofds.use.formats.brush import decode, encode


def bits(*parts: tuple[int, int]) -> list[int]:
    """Bytes of numbers, each in so many bits."""
    text = "".join(f"{value:0{count}b}" for value, count in parts)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


HEAD = [(7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]


def test_by_hand() -> None:
    # One row of three pixels, the second of which is set: 4 values of 0, 4 of 255, 4 of 0.
    runs = [(1, 1), (0, 2), (3, 3), (0, 8), (1, 1), (0, 2), (3, 3), (255, 8),
            (1, 1), (0, 2), (3, 3), (0, 8)]  # fmt: skip
    packed = bits((12, 32), *HEAD, *runs)
    assert encode(np.array([[0, 1, 0]])) == packed
    assert decode(packed, 1, 3).tolist() == [[0, 1, 0]]


def test_values_that_do_not_repeat_and_any_alpha() -> None:
    # A block of eight values one by one: red 9, green 8, blue 7, alpha 0; then alpha 3.
    values = [9, 8, 7, 0, 9, 8, 7, 3]
    packed = bits((8, 32), *HEAD, (0, 1), (0, 2), (7, 3), *((value, 8) for value in values))
    assert decode(packed, 1, 2).tolist() == [[0, 1]]


def test_runs_longer_than_the_longest_size() -> None:
    mask = np.ones((300, 400), np.uint8)
    mask[0, 0] = 0
    assert (decode(encode(mask), 300, 400) == mask).all()
    assert len(encode(mask)) < 60


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_back_again(height: int, width: int, seed: int) -> None:
    g = np.random.default_rng(seed)
    mask = (g.random((height, width)) < g.choice([0.02, 0.5])).astype(np.uint8)
    assert (decode(encode(mask), height, width) == mask).all()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ([], "damaged"),
        ([1, 2, 3], "damaged"),
        ([-1], "damaged"),
        ("text", "damaged"),
        (bits((12, 32), *HEAD, (1, 1), (0, 2), (3, 3), (0, 8)), "damaged"),
        (bits((12, 32), *HEAD, (1, 1), (3, 2), (99, 16), (0, 8)), "damaged"),
        (bits((16, 32), *HEAD), "of another size"),
    ],
)
def test_damaged(data: object, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        decode(data, 1, 3)
