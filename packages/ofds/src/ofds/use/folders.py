"""Folders that are there complete or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import TEMPORARY_SUFFIX


def check_empty(folder: str | Path) -> None:
    """UserError unless a folder is new, or empty."""
    try:
        if Path(folder).exists() and any(Path(folder).iterdir()):
            raise UserError(f"{folder} is not empty: name a new folder")
    except NotADirectoryError:
        raise UserError(f"{folder} is a file: name a new folder") from None


@contextmanager
def new_folder(folder: str | Path, check: Callable[[Path], None] = check_empty) -> Iterator[Path]:
    """A folder to write into, which appears under its name when all is written.

    Args:
        folder: its name; an empty one that is there gives way, no other does.
        check: raises a UserError if the folder cannot be written, before and after.
    """
    folder = Path(os.path.abspath(folder))
    check(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.parent / f".{folder.name[:48]}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
    beside.mkdir()
    try:
        yield beside
        try:
            os.rename(beside, folder)
        except OSError:
            check(folder)  # somebody was faster
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
