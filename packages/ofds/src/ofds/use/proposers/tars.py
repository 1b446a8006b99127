"""Images inside tar files (WebDataset's shards), by names such as `0001.tar/000042.jpg`."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from repro_shared.runtime.errors import UserError

SUFFIX = ".tar"


def members(tar: Path) -> list[str]:
    """Names of the files in a tar file, each once; UserError if it is none."""
    return list(_index(tar))


@contextmanager
def file_of(folder: str | Path, name: str) -> Iterator[Path]:
    """Path of an image's file; of one in a tar file that of a copy, which is gone afterwards.

    A backslash in a name is a slash if need be. Nothing is unpacked under a name from the tar.

    Raises:
        FileNotFoundError: no such file in the tar.
    """
    path = Path(folder) / name
    if not path.is_file():
        path = Path(folder) / name.replace("\\", "/")
    tar = next((each for each in path.parents if each.suffix.lower() == SUFFIX), None)
    if tar is None or not tar.is_file():
        yield path
        return
    place = _index(tar).get(path.relative_to(tar).as_posix())
    if place is None:
        raise FileNotFoundError(2, "no such file in the tar", str(path))
    with tempfile.NamedTemporaryFile(suffix=path.suffix) as copy, tar.open("rb") as content:
        content.seek(place[0])
        copy.write(content.read(place[1]))
        copy.flush()
        yield Path(copy.name)


@lru_cache(maxsize=64)
def _index(tar: Path) -> dict[str, tuple[int, int]]:
    """Where in a tar file each of its files begins, and its length."""
    try:
        with tarfile.open(tar, "r:") as content:
            return {each.name: (each.offset_data, each.size) for each in content if each.isfile()}
    except (OSError, tarfile.TarError, ValueError) as error:
        raise UserError(f"{tar}: no tar file without compression ({error})") from None
