"""Checkpoints that survive a kill, a full disk and a damaged file.

A save writes a temporary file beside the final one, syncs it, renames it, and only then replaces
the pointer `latest.json`; the checkpoints before it stay until the pointer is safe. Whatever moment
the process dies at, the pointer names a complete checkpoint. Every file carries the SHA-256 of its
content in its name, so that damage is found before anything is unpickled, even if the pointer is
damaged too.
"""

import hashlib
import json
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import (
    TEMPORARY_SUFFIX,
    atomic_write_json,
    ensure_output_dir,
    publish,
    sync_directory,
    temporary_file,
)

POINTER = "latest.json"
_ZIP_MAGIC = b"PK\x03\x04"
_FILE_NAME = re.compile(r"step-(\d{9,})-([0-9a-f]{64})\.pt")

Write = Callable[[BinaryIO, bytes], object]


class CheckpointStore:
    """The checkpoints of one run in one folder, written by one process.

    Args:
        directory: The run's checkpoint folder; created at the first save.
        keep: How many checkpoints stay, the newest included; at least 2, so that there is one to
            fall back to.
        write: Writes one piece to the open temporary file; replaced in tests to fail or to be slow.
    """

    def __init__(
        self, directory: str | os.PathLike[str], keep: int = 2, write: Write | None = None
    ) -> None:
        if keep < 2:
            raise ValueError("keep at least 2 checkpoints: the newest and one to fall back to")
        self.directory = Path(directory)
        self.keep = keep
        self._write: Write = write or (lambda handle, piece: handle.write(piece))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Make `state` the latest checkpoint; older ones stay until it is safe.

        Args:
            step: Steps done, >= 0. Checkpoints of this or a later step (from before a fall-back)
                are superseded and deleted.
            state: Nested dict, list and tuple of tensors, numbers, strings and None.

        Raises:
            TypeError: The state holds anything else, which would be refused on loading.
            OSError: Full disk, read-only folder, ...; the earlier checkpoints are intact and no
                temporary file stays.
        """
        if step < 0:
            raise ValueError(f"step {step} is negative")
        _require_plain(state, "state")
        ensure_output_dir(self.directory)
        self._remove_stale_temporaries()
        with temporary_file(self.directory, f"step-{step:09d}") as (temporary, handle):
            digest = self._serialise({"step": step, "state": state}, handle)
            target = self.directory / f"step-{step:09d}-{digest}.pt"
            publish(handle, temporary, target)
        pointer = {"file": target.name, "sha256": digest, "step": step}
        atomic_write_json(self.directory / POINTER, pointer)
        self._remove_superseded(target)

    def load_latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest intact checkpoint as (step, state), tensors on the CPU; None if never saved.

        A damaged or missing one costs a warning line on stderr and the one before it is taken.

        Raises:
            UserError: There are checkpoints and none is intact, or one was made to run code.
        """
        failures: list[str] = []
        candidates = self._candidates(failures)
        for path in candidates:
            try:
                step, state = _load(path)
            except _DamagedError as damage:
                failures.append(f"{path.name}: {damage}")
                continue
            for failure in failures:
                print(f"warning: {one_line(failure)}; going on from {path.name}", file=sys.stderr)
            return step, state
        if not failures:
            return None
        raise UserError(
            f"no intact checkpoint in {self.directory} ({'; '.join(failures)}); "
            "delete that folder to start this run again"
        )

    def _serialise(self, content: dict[str, Any], handle: BinaryIO) -> str:
        """Write the content piece by piece; returns the SHA-256 of what was to be written."""
        stream = _HashingStream(handle, self._write)
        try:
            torch.save(content, cast(IO[bytes], stream))  # torch needs write and flush only
        except RuntimeError:
            # torch closes its archive after a failed write and reports that instead of the cause.
            if stream.failure is not None:
                raise stream.failure from None
            raise
        return stream.digest.hexdigest()

    def _candidates(self, failures: list[str]) -> list[Path]:
        """The pointed file, then all others from the latest step down; notes a bad pointer."""
        if not self.directory.is_dir():
            return []
        others = sorted(self._files(), key=_step, reverse=True)
        pointer = self.directory / POINTER
        try:
            name = json.loads(pointer.read_text(encoding="utf-8"))["file"]
        except FileNotFoundError:
            # The very first save was killed between rename and pointer: its file is complete.
            return others
        except (ValueError, TypeError, KeyError):
            name = None
        # A name of any other form, such as ../x, is damage, and is never opened.
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            failures.append(f"{POINTER} is damaged")
            return others
        newest = self.directory / name
        return [newest, *(path for path in others if path != newest)]

    def _files(self) -> list[Path]:
        return [path for path in self.directory.iterdir() if _FILE_NAME.fullmatch(path.name)]

    def _remove_stale_temporaries(self) -> None:
        """What a killed save left: no other process writes here, so nothing is in use."""
        for path in self.directory.glob(f".*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)

    def _remove_superseded(self, newest: Path) -> None:
        earlier = [path for path in self._files() if _step(path) < _step(newest)]
        kept = sorted(earlier, key=_step)[-(self.keep - 1) :]
        for path in self._files():
            if path != newest and path not in kept:
                path.unlink(missing_ok=True)
        sync_directory(self.directory)


class _DamagedError(Exception):
    """This file is not what was saved; another one may be."""


class _HashingStream:
    """What torch.save writes to: hashes the pieces on their way, remembers the first failure."""

    def __init__(self, handle: BinaryIO, write: Write) -> None:
        self.digest = hashlib.sha256()
        self.failure: BaseException | None = None
        self._handle = handle
        self._write = write

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        if self.failure is not None:
            raise self.failure
        try:
            self._write(self._handle, data)
        except BaseException as failure:
            self.failure = failure
            raise
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        """torch.save asks for it; `publish` flushes and syncs once all is written."""


def _step(path: Path) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _load(path: Path) -> tuple[int, dict[str, Any]]:
    """Verify and read one checkpoint.

    Raises:
        _DamagedError: Missing, unreadable, or not the bytes that were saved.
        UserError: The bytes are the saved ones, and hold code or objects instead of plain values.
    """
    match = _FILE_NAME.fullmatch(path.name)
    assert match is not None
    try:
        # One handle for both, so that what was verified is what is read.
        with path.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != match[2]:
                raise _DamagedError("the content does not match its SHA-256")
            handle.seek(0)
            content = _read_plain(handle)
    except FileNotFoundError:
        raise _DamagedError("the file is missing") from None
    except OSError as error:
        raise _DamagedError(f"cannot be read ({error.strerror})") from None
    if content is None:
        raise UserError(
            f"checkpoint {path} was refused: it holds something other than tensors and plain "
            "values, and is not one of ours; delete it"
        )
    return content["step"], content["state"]


def _read_plain(handle: BinaryIO) -> dict[str, Any] | None:
    """What `save` wrote, or None if it is anything else; runs no code from the file."""
    if handle.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:  # a bare pickle: torch's form before 1.6
        return None
    handle.seek(0)
    try:
        content = torch.load(handle, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception:  # a file made to do harm makes the unpickler fail in any way it likes
        return None
    if type(content) is not dict or content.keys() != {"step", "state"}:
        return None
    return content if type(content["state"]) in (dict, OrderedDict) else None


def _require_plain(value: Any, where: str) -> None:
    """Exact types only: a subclass (a NumPy float, an enum, a named tuple) would not load."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"{where} has a key of type {type(key).__name__}")
            _require_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{where}[{index}]")
    elif value is not None and type(value) not in (
        bool,
        int,
        float,
        str,
        torch.Tensor,
        torch.nn.Parameter,
    ):
        raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")
