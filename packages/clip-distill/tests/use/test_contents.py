"""The memory of hashes: right after every kind of change, and reading once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clip_distill.use import contents
from clip_distill.use.contents import remembered
from repro_shared.datasets.fingerprint import content_of
from repro_shared.runtime.errors import UserError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were really read."""
    seen = list[Path]()

    def counting(path: Path) -> tuple[int, str]:
        seen.append(path)
        return content_of(path)

    monkeypatch.setattr(contents, "content_of", counting)
    return seen


def test_an_unchanged_file_is_read_once(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, memory = tmp_path / "a.png", tmp_path / "m" / "m.sqlite"
    file.write_bytes(b"one")
    monkeypatch.setattr(contents, "FRESH", -10.0)  # it was written a moment ago
    for _ in range(3):
        with remembered(memory) as content:
            assert content(file) == content_of(file)
    assert len(reads) == 1
    before = file.stat()
    file.write_bytes(b"two")  # as long as before, and made to look as old
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with remembered(memory) as content:
        assert content(file) == content_of(file)
    assert len(reads) == 2


def test_a_file_of_this_moment_is_not_remembered(tmp_path: Path, reads: list[Path]) -> None:
    file, memory = tmp_path / "a.png", tmp_path / "m.sqlite"
    file.write_bytes(b"one")
    for _ in range(2):
        with remembered(memory) as content:
            content(file)
    assert len(reads) == 2


def test_without_a_memory_all_is_read(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    (tmp_path / "file").write_bytes(b"no folder")
    (tmp_path / "damaged").write_bytes(b"no database" * 100)
    for memory in (tmp_path / "file" / "m.sqlite", tmp_path / "damaged"):
        with remembered(memory) as content:
            assert content(file) == content_of(file)
    assert len(reads) == 2
    with remembered(tmp_path / "m") as content, pytest.raises(UserError, match="cannot be read"):
        content(tmp_path / "none")


def test_an_interruption_keeps_what_was_read(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, memory = tmp_path / "a.png", tmp_path / "m.sqlite"
    file.write_bytes(b"one")
    monkeypatch.setattr(contents, "FRESH", -10.0)

    def read_and_interrupt() -> None:
        with remembered(memory) as content:
            content(file)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_and_interrupt()
    with remembered(memory) as content:
        content(file)
    assert len(reads) == 1
