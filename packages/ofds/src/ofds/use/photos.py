"""The files of images: which are missing, and which are the same to the byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import Progress


def locate(folder: str | Path, name: str) -> Path:
    """Where an image's file is, or should be; a backslash is read as a slash if need be."""
    path = Path(folder) / name
    return path if path.is_file() else Path(folder) / name.replace("\\", "/")


def contents(
    folder: str | Path, names: Sequence[str], repairs: Repairs, skip: bool = False
) -> tuple[list[str], list[str]]:
    """SHA-256 of each image's file, and the names of those that cannot be read.

    Args:
        folder: that the names lie in; a backslash in a name is read as a slash if need be.
        names: of the images.
        repairs: books files that cannot be read.
        skip: they are left out, with their names instead of a hash; else they are refused.

    Raises:
        UserError: no such folder, or files that are refused.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found, bad = list[str](), dict[str, str]()
    with Progress(len(names), "image files read") as progress:
        for step, name in enumerate(names, start=1):
            try:
                path = locate(folder, name)
                found.append(sha256_file(path))
                if not path.stat().st_size:
                    bad[name] = "empty file"
            except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
                bad[name] = getattr(error, "strerror", None) or "cannot be read"
                found.append(name)
            progress.update(step)
    if bad and not skip:
        first = min(bad)
        many = f"{len(bad)} of {len(names)} images cannot be read"
        raise UserError(f"{folder}: {many}, such as {first!r} ({bad[first]}); --missing skip")
    for name, reason in bad.items():
        repairs.add(f"left out: image file cannot be read ({reason})", repr(name))
    return found, sorted(bad)
