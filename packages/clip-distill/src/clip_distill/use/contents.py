"""Hashes of files that were read before, so that a start need not read all pictures anew.

A file counts as unchanged while size, inode and both times of change are the same. One that was
changed in the last moments before it was hashed is not remembered: a second change within the
clock's tick would leave no trace. The memory lies in the user's cache folder (XDG_CACHE_HOME, else
~/.cache) and may be removed at any time; where it cannot be written, all files are read.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from repro_shared.datasets.fingerprint import content_of

Content = Callable[[Path], tuple[int, str]]
Row = tuple[str, int, int, int, int, str]
FRESH = 2.0  # seconds in which a change may go unseen on coarse file systems
_TABLE = (
    "CREATE TABLE IF NOT EXISTS contents (path TEXT PRIMARY KEY, size INTEGER, inode INTEGER, "
    "modified INTEGER, changed INTEGER, sha256 TEXT)"
)


def memory() -> Path:
    """The file of the memory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "clip-distill" / "contents.sqlite"


@contextmanager
def remembered(file: Path | None = None) -> Iterator[Content]:
    """Inside, a `content_of` that reads each unchanged file once in its life.

    Args:
        file: of the memory; `memory()` by default.
    """
    database = _open(file or memory())
    if database is None:
        yield content_of
        return
    new: list[Row] = []
    with closing(database):
        try:
            yield lambda path: _content(database, path, new)
        finally:  # what was read before an interruption counts, too
            with suppress(sqlite3.Error):
                database.executemany(
                    "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, ?)", new
                )
                database.commit()


def _open(file: Path) -> sqlite3.Connection | None:
    """The memory; None where there cannot be one."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(file, timeout=30)
        database.execute(_TABLE)
    except (OSError, sqlite3.Error):
        return None
    return database


def _content(database: sqlite3.Connection, path: Path, new: list[Row]) -> tuple[int, str]:
    try:
        there = path.stat()
    except OSError:
        return content_of(path)  # which says what is wrong
    state = (there.st_size, there.st_ino, there.st_mtime_ns, there.st_ctime_ns)
    name = os.fsdecode(os.path.realpath(path)).encode("utf-8", "surrogateescape").hex()
    with suppress(sqlite3.Error):
        kept = database.execute(
            "SELECT size, inode, modified, changed, sha256 FROM contents WHERE path = ?", (name,)
        ).fetchone()
        if kept is not None and kept[:4] == state:
            return there.st_size, str(kept[4])
    began = time.time()
    size, digest = content_of(path)
    last = max(state[2:]) / 1e9
    if size == there.st_size and last < began - FRESH:
        new.append((name, *state, digest))
    return size, digest
