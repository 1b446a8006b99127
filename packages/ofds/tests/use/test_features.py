"""Features on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofds.use import features as module
from ofds.use.features import read_features
from repro_shared.runtime.errors import UserError


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_mapped_and_scaled_as_read(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE", 3)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(kind)
    x[2], x[7, 1], x[5] = 0, np.inf, np.nan
    np.save(tmp_path / "x.npy", x)
    found = read_features(tmp_path / "x.npy", 8)
    assert isinstance(found.array, np.memmap)
    assert found.damaged.tolist() == [5, 7]
    rows = found[np.array([4, 0])]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert found[np.array([2])].tolist() == [[0, 0, 0, 0]]
    raw = read_features(tmp_path / "x.npy", 8, unit=False)
    assert raw[np.arange(2)].tolist() == x[:2].tolist()
    assert raw.sha256 == found.sha256


def test_the_fingerprint_is_of_values_type_and_shape(tmp_path: Path) -> None:
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    seen = set()
    for array in (x, x.astype(np.float16), x[::-1], x.reshape(2, 4), x + 1):
        np.save(tmp_path / "x.npy", array)
        seen.add(read_features(tmp_path / "x.npy", len(array)).sha256)
    assert len(seen) == 5
    np.save(tmp_path / "f.npy", np.asfortranarray(x))
    assert read_features(tmp_path / "f.npy", 4).sha256 in seen


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.zeros((5, 2), np.float32), r"shape \(5, 2\); 4 proposals need \(4, d\)"),
        (np.zeros(4, np.float32), r"shape \(4,\)"),
        (np.zeros((4, 0), np.float32), r"shape \(4, 0\)"),
        (np.zeros((4, 2)), "holds float64; store features as float16 or float32"),
        (np.zeros((4, 2), int), "holds int64"),
        (np.array([{}] * 4), r"no \.npy file of numbers"),
    ],
)
def test_arrays_that_are_no_features(tmp_path: Path, array: Any, line: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=line):
        read_features(tmp_path / "x.npy", 4)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npy: "):
        read_features(tmp_path / "x.npy", 4)
    with pytest.raises(UserError, match="cannot be read"):
        read_features(tmp_path / "none.npy", 4)


def test_a_torn_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2), np.float32))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-3])
    with pytest.raises(UserError, match=r"x\.npy: "):
        read_features(tmp_path / "x.npy", 4)


def test_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.zeros((4, 2), np.float32))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(UserError, match=r"no \.npy file of numbers"):
        read_features(tmp_path / "x.npy", 4)
