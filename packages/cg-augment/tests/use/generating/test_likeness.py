"""The measure by which duplicates and copies are found, against a slow one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cg_augment.use.generating.likeness import (
    all_small,
    distance,
    images_below,
    mirrored,
    nearest,
    small,
)
from repro_shared.runtime.errors import UserError


def picture(seed: int, side: int = 64) -> np.ndarray:
    """Blobs: low frequencies, as photographs have them."""
    g = np.random.default_rng(seed)
    coarse = Image.fromarray(g.integers(0, 255, (6, 6, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def slow(one: np.ndarray, other: np.ndarray) -> float:
    mine, theirs = (each.reshape(32, 32, 3).astype(float) for each in (one, other))
    ways = (mine, mine[:, ::-1])
    return min(float(np.sqrt(((way - theirs) ** 2).mean())) for way in ways)


def test_distances_are_those_of_the_definition() -> None:
    rows = np.stack([small(picture(seed)) for seed in range(12)])
    for one in rows[:3]:
        for other in rows[3:6]:
            assert distance(one, other) == pytest.approx(slow(one, other))
    places, apart = nearest(rows[:4], rows[4:])
    for row in range(4):
        every = [slow(rows[row], other) for other in rows[4:]]
        assert places[row] == int(np.argmin(every))
        assert apart[row] == pytest.approx(min(every))
    flipped, exact = nearest(mirrored(rows[:4]), rows)
    assert flipped.tolist() == [0, 1, 2, 3]
    assert exact.tolist() == [0, 0, 0, 0]


def test_copies_are_alike_and_others_are_not() -> None:
    own = picture(1)
    image = Image.fromarray(own)
    larger = np.asarray(image.resize((200, 200), Image.Resampling.BICUBIC))
    lighter = (own.astype(int) + 2).clip(0, 255).astype(np.uint8)
    wide = np.concatenate([np.zeros_like(own[:, :20]), own, np.zeros_like(own[:, :20])], axis=1)
    for copy in (larger, lighter, wide, np.ascontiguousarray(own[:, ::-1])):
        assert distance(small(own), small(copy)) < 4
    assert min(distance(small(own), small(picture(seed))) for seed in range(2, 30)) > 20


def test_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        images_below(tmp_path / "none")
    with pytest.raises(UserError, match="no images below it"):
        images_below(tmp_path)
    (tmp_path / "a").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "a" / "0.png")
    files = images_below(tmp_path)
    assert np.array_equal(all_small(files, "images")[0], small(picture(0)))
