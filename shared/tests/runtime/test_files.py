"""Files are complete or absent, whatever fails on the way."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from repro_shared.runtime import files
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    ensure_output_dir,
    sha256_bytes,
    sha256_file,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_bytes(path, b"old\r\n\x00")
    assert path.read_bytes() == b"old\r\n\x00"
    atomic_write_text(path, "neu: äöü\n")
    assert path.read_bytes() == "neu: äöü\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_json_is_stable_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, {"b": 1, "a": [0.1, "ä"]})
    assert path.read_text(encoding="utf-8") == (
        '{\n  "b": 1,\n  "a": [\n    0.1,\n    "ä"\n  ]\n}\n'
    )
    with pytest.raises(ValueError, match="JSON"):
        atomic_write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 1


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_longest_name(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / ("n" * 255), b"x")
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failure_leaves_the_old_file_only(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    atomic_write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_synced_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        events.append("fsync")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        assert source.read_bytes() == b"data"
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    atomic_write_bytes(tmp_path / "a", b"data")
    assert events == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_a_link_is_replaced_and_its_target_untouched(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    atomic_write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_output_dir_is_made_and_left_empty(tmp_path: Path) -> None:
    made = ensure_output_dir(tmp_path / "a" / "b")
    assert made.is_dir()
    assert names(made) == []
    assert ensure_output_dir(str(made)) == made


def test_output_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(UserError, match=f"{path} is a file or lies below one"):
            ensure_output_dir(path)


def test_read_only_output_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, mode)

    # Root writes through permission bits, so that a mount is imitated instead.
    monkeypatch.setattr(files.os, "open", read_only)
    with pytest.raises(UserError, match=r"cannot be written.*Read-only file system"):
        ensure_output_dir(tmp_path)
