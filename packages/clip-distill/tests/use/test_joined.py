"""Several sets as one: the same views, features and classes as each has alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clip_distill.use.joined import Joined, JoinedRows
from clip_distill.use.lessons import Lessons
from clip_distill.use.pictures import Folder
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.views import Views
from repro_shared.runtime.errors import UserError

VIEWS, PREPARED = Views(2, "random-crop"), Preprocessing(16)


def test_rows() -> None:
    arrays = [np.arange(n * 6.0).reshape(n, 2, 3) + 100 * n for n in (3, 1, 4)]
    whole, rows = np.concatenate(arrays), JoinedRows(arrays)
    assert rows.shape == whole.shape
    assert all(np.array_equal(rows[i], whole[i]) for i in range(8))
    samples, views = np.array([7, 0, 3, 3]), np.array([1, 0, 1, 0])
    assert np.array_equal(rows[samples, views], whole[samples, views])
    assert np.array_equal(rows[samples], whole[samples])
    with pytest.raises(UserError, match="cannot be joined"):
        JoinedRows([arrays[0], arrays[1][..., :2]])


def test_views_are_those_of_each_set(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    one, two = Folder(pictures(tmp_path / "a")), Folder(pictures(tmp_path / "b", seed=1, each=2))
    both = Joined([one, two])
    assert len(both) == 18
    assert len(set(both.ids)) == 18
    assert list(both.targets) == [*one.targets, *two.targets]
    together, alone = Lessons(both, VIEWS, PREPARED), Lessons(two, VIEWS, PREPARED)
    for index in range(6):
        pixels, sample, view = together[(0, 12 + index)]
        expected, own, same = alone[(0, index)]
        assert (sample, view) == (12 + own, same)
        assert np.array_equal(pixels, expected)


def test_classes_that_differ(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    one = Folder(pictures(tmp_path / "a"))
    more = pictures(tmp_path / "b", seed=1)
    (more / "class 2").rename(more / "emu")
    with pytest.raises(UserError, match="1 not in the list, such as 'emu'"):
        Joined([one, Folder(more)])
