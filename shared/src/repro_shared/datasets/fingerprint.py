"""Content fingerprints, SHA-256 in hexadecimal: what a measured number was measured on."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import Progress


def fingerprint_folder(
    root: str | Path,
    files: Iterable[str | Path],
    content: Callable[[Path], tuple[int, str]] | None = None,
) -> str:
    """Fingerprint of files by place below a folder, size and content; UserError if unreadable.

    Args:
        root: the folder.
        files: below it.
        content: what gives a file's `content_of`, such as one that remembers; by default it reads.
    """
    content = content or content_of
    root, listed = Path(root), [Path(root, file) for file in files]
    paths = {path.relative_to(root).as_posix(): path for path in listed}
    if len(paths) != len(listed):
        raise ValueError("a file is named twice")
    contents = dict[str, tuple[int, str]]()
    with Progress(len(paths), "files read for their fingerprint") as progress:
        for step, (name, path) in enumerate(paths.items(), start=1):
            contents[name] = content(path)
            progress.update(step)
    return fingerprint_contents(contents)


def content_of(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file; UserError if it cannot be read."""
    try:
        return path.stat().st_size, sha256_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def fingerprint_contents(contents: Mapping[str, tuple[int, str]]) -> str:
    """The fingerprint of files from the `content_of` each, by place below their folder."""
    digest = hashlib.sha256()
    for name, (size, content) in sorted(contents.items()):
        _add(digest, name, f"{size}", content.encode())
    return digest.hexdigest()


def fingerprint_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Fingerprint of named arrays by name, type, shape and values, whatever their layout."""
    digest = hashlib.sha256()
    for name, given in sorted(arrays.items()):
        array = given.astype(given.dtype.newbyteorder("<"), copy=False)
        _add(digest, name, f"{array.dtype.str} {array.shape}", array.tobytes())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, description: str, content: bytes) -> None:
    # Lengths in front: no two lists of entries give the same bytes.
    for part in (name.encode("utf-8", "surrogateescape"), description.encode(), content):
        digest.update(len(part).to_bytes(8, "little") + part)
