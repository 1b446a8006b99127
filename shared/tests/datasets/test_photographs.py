"""Photographs out of wheels."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from repro_shared.datasets import wheels as module
from repro_shared.datasets.wheels import SPLITS, photographs
from repro_shared.runtime.errors import UserError


def test_splits_share_no_picture() -> None:
    names = [name for split in SPLITS for name in photographs(split)]
    assert len(names) == len(set(names)) == 18
    contents = {hashlib.sha256(p).digest() for split in SPLITS for p in photographs(split).values()}
    assert len(contents) == len(names)
    # Two views of one motorcycle are one picture as far as leaks go.
    assert {"motorcycle_left", "motorcycle_right"} <= photographs("train").keys()


def test_pictures_are_rgb_and_shared_safely() -> None:
    for split in SPLITS:
        for picture in photographs(split).values():
            assert picture.dtype == np.uint8
            assert picture.ndim == 3
            assert picture.shape[2] == 3
            assert min(picture.shape[:2]) >= 300
            assert picture.std() > 5
            assert not picture.flags.writeable
    camera = photographs("train")["camera"]
    assert (camera == camera[:, :, :1]).all()
    photographs("train").clear()  # a copy of the dictionary: the next caller is not affected
    assert len(photographs("train")) == 10


def test_unknown_split() -> None:
    with pytest.raises(UserError, match="unknown split 'all'; choose one of train, val, test"):
        photographs("all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "message"), [(None, "is not installed"), ("skimage", r"astronaut\.png: no such file")]
)
def test_incomplete_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str | None, message: str
) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec and Spec)
    module._read_photograph.cache_clear()
    with pytest.raises(UserError, match=message):
        photographs("train")
