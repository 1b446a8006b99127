"""Files that are either complete or not there: write beside, fsync, rename."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from repro_shared.runtime.errors import UserError

TEMPORARY_SUFFIX = ".tmp"


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace `path` (not what it links to): whatever fails, the old or the new file is there."""
    target = Path(path)
    with temporary_file(target.parent, target.name) as (temporary, handle):
        handle.write(data)
        publish(handle, temporary, target)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """`atomic_write_bytes` of the text as UTF-8, line ends as they are."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """`atomic_write_bytes` of indented JSON, keys in the order given; ValueError for NaN."""
    atomic_write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a text file and sync it, after cutting away one that a kill tore off."""
    with Path(path).open("ab+") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def complete_lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Numbered lines that are not empty, without one at the end that was torn off; [] for none."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8", "replace")
    return [(n, line) for n, line in enumerate(whole.split("\n"), start=1) if line.strip()]


@contextmanager
def temporary_file(directory: Path, name: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Path and handle of a new file beside `name` that is gone afterwards unless renamed."""
    # tempfile's files are private (0600); these become results, so they get the umask's mode.
    # The name is cut because 255 bytes is the usual limit for the whole.
    path = directory / f".{name[:48]}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as handle:
        try:
            yield path, handle
        except BaseException:
            with suppress(OSError):  # closing flushes, and fails again on a full disk
                handle.close()
            raise
        finally:
            path.unlink(missing_ok=True)


def publish(handle: BinaryIO, temporary: Path, target: Path) -> None:
    """Make a completely written temporary file appear under its final name, durably."""
    handle.flush()
    os.fsync(handle.fileno())
    os.replace(temporary, target)
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make renames and deletions in a folder survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_bytes(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, read in pieces, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def ensure_output_dir(path: str | os.PathLike[str]) -> Path:
    """Create an output folder with its parents; UserError if files cannot be written there."""
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Permission bits say too little (root, read-only mounts): only a write proves it.
        with temporary_file(directory, "write-test"):
            return directory
    except (FileExistsError, NotADirectoryError):
        problem = "is a file or lies below one; name a folder"
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); name another one"
    raise UserError(f"output folder {directory} {problem}")
