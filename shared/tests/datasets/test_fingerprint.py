"""Fingerprints change with content and with nothing else; the scan finds every bad file."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.datasets.fingerprint import fingerprint_arrays, fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import scan_images


def folder(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_folder_fingerprint_is_of_content_and_relative_names(tmp_path: Path) -> None:
    root = folder(tmp_path / "one", a="1", sub__b="22")
    files = [root / "a", root / "sub" / "b"]
    reference = fingerprint_folder(root, files)
    assert len(reference) == 64

    assert fingerprint_folder(root, ["sub/b", "a"]) == reference
    copy = shutil.copytree(root, tmp_path / "two")
    os.utime(copy / "a", (0, 0))
    assert fingerprint_folder(copy, ["a", "sub/b"]) == reference

    assert fingerprint_folder(root, files[:1]) != reference
    folder(copy, a="2")
    assert fingerprint_folder(copy, ["a", "sub/b"]) != reference
    (root / "a").rename(root / "c")
    assert fingerprint_folder(root, ["c", "sub/b"]) != reference


def test_moving_bytes_between_files_or_names_shows(tmp_path: Path) -> None:
    first = folder(tmp_path / "1", a="xy", b="z")
    second = folder(tmp_path / "2", a="x", b="yz")
    assert fingerprint_folder(first, ["a", "b"]) != fingerprint_folder(second, ["a", "b"])


def test_folder_fingerprint_refuses(tmp_path: Path) -> None:
    root = folder(tmp_path, a="1")
    with pytest.raises(UserError, match=r"gone: cannot be read \(No such file"):
        fingerprint_folder(root, ["a", "gone"])
    with pytest.raises(ValueError, match="twice"):
        fingerprint_folder(root, ["a", root / "a"])
    with pytest.raises(ValueError, match="subpath"):
        fingerprint_folder(root / "sub", [root / "a"])


def test_array_fingerprint() -> None:
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    reference = fingerprint_arrays({"a": values, "b": np.float64(1.5) * np.ones(())})
    same = {"b": np.array(1.5), "a": np.asfortranarray(values).astype(">i4")}
    assert fingerprint_arrays(same) == reference
    for changed in (
        {"a": values, "c": np.array(1.5)},
        {"a": values.reshape(3, 2), "b": np.array(1.5)},
        {"a": values.astype(np.uint32), "b": np.array(1.5)},
        {"a": values + 1, "b": np.array(1.5)},
        {"a": values, "b": np.array([1.5])},
    ):
        assert fingerprint_arrays(changed) != reference


def test_scan_reports_bad_files_in_order(tmp_path: Path) -> None:
    good, cut, empty, text = (tmp_path / f"{name}.png" for name in ("good", "cut", "empty", "text"))
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(good)
    cut.write_bytes(good.read_bytes()[:-30])
    empty.touch()
    text.write_text("hello")
    found = scan_images([text, good, str(cut), empty, tmp_path / "gone.png"])
    assert [path for path, _ in found] == [text, cut, empty, tmp_path / "gone.png"]
    reasons = [reason for _, reason in found]
    assert reasons[0] == "not an 8- or 16-bit PNG, JPEG, WEBP, BMP, TIFF or PPM image"
    assert reasons[1].startswith("truncated or damaged")
    assert reasons[2].startswith("empty file")
    assert reasons[3] == "no such file"
