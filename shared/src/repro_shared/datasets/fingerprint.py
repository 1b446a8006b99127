"""Content fingerprints: what a measured number was measured on."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file


def fingerprint_folder(root: str | Path, files: Iterable[str | Path]) -> str:
    """Fingerprint of files by their place below a folder, size and content.

    The folder's own place, the order of `files` and times of change do not matter.

    Args:
        root: The folder; no part of the fingerprint.
        files: Files in it, relative to it (or absolute, if the folder is).

    Returns:
        Sha256, 64 hexadecimal digits.

    Raises:
        UserError: A file that is missing or cannot be read; the line names it.
        ValueError: A file outside the folder, or named twice.
    """
    root, listed = Path(root), [Path(root, file) for file in files]
    paths = {path.relative_to(root).as_posix(): path for path in listed}
    if len(paths) != len(listed):
        raise ValueError("a file is named twice")
    digest = hashlib.sha256()
    for name in sorted(paths):
        try:
            size, content = paths[name].stat().st_size, sha256_file(paths[name])
        except OSError as error:
            raise UserError(f"{paths[name]}: cannot be read ({error.strerror})") from None
        _add(digest, name, f"{size}", content.encode())
    return digest.hexdigest()


def fingerprint_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Fingerprint of named arrays by name, type, shape and values.

    Memory layout, byte order and the mapping's order do not matter.

    Args:
        arrays: Name to array of numbers or bools, any shape.

    Returns:
        Sha256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        _add(digest, name, f"{array.dtype.str} {array.shape}", array.tobytes())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, description: str, content: bytes) -> None:
    # Lengths in front: no two lists of entries give the same bytes.
    for part in (name.encode("utf-8", "surrogateescape"), description.encode(), content):
        digest.update(len(part).to_bytes(8, "little") + part)
