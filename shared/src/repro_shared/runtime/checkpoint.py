"""Checkpoints that survive a kill, a full disk and a damaged file.

A save writes a temporary file beside the final one, syncs it, renames it, and only then replaces
the pointer `latest.json`; the checkpoint before it stays. Every file carries the SHA-256 of its
content in its name, so that damage is found before anything is unpickled.
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
_FILE_NAME = re.compile(r"step-\d{9,}-[0-9a-f]{64}\.pt")
_PLAIN = (type(None), bool, int, float, str, torch.Tensor, torch.nn.Parameter)


class CheckpointStore:
    """The newest checkpoint of one run and the one before; `write` puts a piece into the file."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        write: Callable[[BinaryIO, bytes], object] = lambda handle, piece: handle.write(piece),
    ) -> None:
        self.directory = Path(directory)
        self._write = write

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Make `state`, after `step` >= 0 steps, the latest checkpoint; later ones are deleted.

        It holds nested dict, list and tuple of tensors, numbers, strings and None; what would be
        refused on loading is a TypeError. After an OSError (full disk, ...) the others are intact.
        """
        _require_plain(state, "state")
        ensure_output_dir(self.directory)
        for left_by_a_killed_save in self.directory.glob(f".*{TEMPORARY_SUFFIX}"):
            left_by_a_killed_save.unlink(missing_ok=True)
        with temporary_file(self.directory, f"step-{step:09d}") as (temporary, handle):
            stream = _HashingStream(lambda piece: self._write(handle, piece))
            try:
                torch.save({"step": step, "state": state}, cast(IO[bytes], stream))
            except RuntimeError as error:
                # torch closes its archive after a failed write and reports that, not the cause.
                raise error.__context__ or error from None
            digest = stream.digest.hexdigest()
            target = self.directory / f"step-{step:09d}-{digest}.pt"
            publish(handle, temporary, target)
        pointer = {"file": target.name, "sha256": digest, "step": step}
        atomic_write_json(self.directory / POINTER, pointer)
        self._remove_superseded(target)

    def load_latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest intact checkpoint as (step, state), tensors on the CPU; None if never saved.

        A damaged or missing one costs a warning line on stderr and the one before it is taken.
        UserError if none is intact, or one was made to run code.
        """
        candidates, failures = self._candidates()
        for path in candidates:
            try:
                content = _load(path)
            except _DamagedError as damage:
                failures.append(f"{path.name}: {damage}")
                continue
            for failure in failures:
                print(f"warning: {one_line(failure)}; going on from {path.name}", file=sys.stderr)
            return content["step"], content["state"]
        if not failures:
            return None
        where = f"no intact checkpoint in {self.directory} ({'; '.join(failures)})"
        raise UserError(f"{where}; delete that folder to start this run again")

    def _candidates(self) -> tuple[list[Path], list[str]]:
        """The pointed file, then all others from the latest step down; what is wrong so far."""
        others = sorted(self._files(), key=_step, reverse=True)
        try:
            name = json.loads((self.directory / POINTER).read_text(encoding="utf-8"))["file"]
            # A name of any other form, such as ../x, is damage, and is never opened.
            if _FILE_NAME.fullmatch(name):
                newest = self.directory / name
                return [newest, *(path for path in others if path != newest)], []
        except FileNotFoundError:
            return others, []  # the first save was killed before its pointer: its file is complete
        except (ValueError, TypeError, KeyError):
            pass
        return others, [f"{POINTER} is damaged"]

    def _files(self) -> list[Path]:
        return [p for p in self.directory.glob("step-*.pt") if _FILE_NAME.fullmatch(p.name)]

    def _remove_superseded(self, newest: Path) -> None:
        earlier = [path for path in self._files() if _step(path) < _step(newest)]
        kept = {newest, max(earlier, key=_step, default=newest)}
        for path in self._files():
            if path not in kept:
                path.unlink(missing_ok=True)
        sync_directory(self.directory)


class _DamagedError(Exception):
    """This file is missing, unreadable, or not what was saved; another one may be."""


class _HashingStream:
    """What torch.save writes to (it needs no more of a file); hashes the pieces on their way."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.digest = hashlib.sha256()
        self._write = write

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._write(data)
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        """`publish` flushes and syncs once all is written."""


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _load(path: Path) -> dict[str, Any]:
    """Verify and read what `save` wrote, running no code from it; UserError if it is not ours."""
    content: Any = None
    try:
        with path.open("rb") as handle:  # one handle: what was verified is what is read
            if hashlib.file_digest(handle, "sha256").hexdigest() != path.stem.split("-")[2]:
                raise _DamagedError("the content does not match its SHA-256")
            handle.seek(0)
            content = torch.load(handle, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise _DamagedError("the file is missing") from None
    except OSError as error:
        raise _DamagedError(f"cannot be read ({error.strerror})") from None
    except (_DamagedError, MemoryError):
        raise
    except Exception:  # a file made to do harm makes the unpickler fail in any way it likes
        pass
    ours = type(content) is dict and content.keys() == {"step", "state"}
    if ours and type(content["state"]) in (dict, OrderedDict):
        return cast(dict[str, Any], content)
    why = "it holds something other than tensors and plain values, and is not one of ours"
    raise UserError(f"checkpoint {path} was refused: {why}; delete it")


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
    elif type(value) not in _PLAIN:
        raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")
