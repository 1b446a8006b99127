"""Features of objects in a file of NumPy, mapped and never read as a whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress

TILE = 4096  # rows that are looked at together


@dataclass(frozen=True)
class Features:
    """Rows of features, read when asked for.

    Attributes:
        array: (m, d) float16 or float32, mapped.
        sha256: of shape, type and values.
        damaged: rows with a value that is not finite, ascending.
        blank: rows of zeros, ascending.
        unit: each row is scaled to length 1 as it is read; a row of zeros stays one.
    """

    array: NDArray[Any]
    sha256: str
    damaged: NDArray[np.int64]
    blank: NDArray[np.int64]
    unit: bool = True

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.array.shape[0], self.array.shape[1]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        found = np.asarray(self.array[rows], np.float32)
        if self.unit:
            lengths = np.sqrt((found * found).sum(axis=-1, keepdims=True))
            found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
        return found


def read_features(
    path: str | Path, rows: int, unit: bool = True, what: str = "proposals"
) -> Features:
    """Open a .npy file of features and look at all of it, a tile at a time.

    Args:
        path: (rows, d) in float16 or float32.
        rows: that it must have.
        unit: scale each row to length 1 as it is read.
        what: the rows are of, for messages.

    Raises:
        UserError: no such file, or one of another type or shape.
    """
    path = Path(path)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError):
        raise UserError(f"{path}: no .npy file of numbers") from None
    if array.dtype not in (np.float16, np.float32):
        raise UserError(f"{path}: holds {array.dtype}; store features as float16 or float32")
    if array.ndim != 2 or len(array) != rows or not array.shape[1]:
        raise UserError(f"{path}: has shape {array.shape}; {rows} {what} need ({rows}, d)")
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    damaged, blank = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with Progress(rows, "features checked") as progress:
        for start in range(0, rows, TILE):
            tile = np.ascontiguousarray(array[start : start + TILE])
            digest.update(tile.data if tile.size else b"")
            damaged.append(start + np.flatnonzero(~np.isfinite(tile).all(axis=1)))
            blank.append(start + np.flatnonzero(~tile.any(axis=1)))
            progress.update(start + len(tile))
    sha256 = digest.hexdigest()
    return Features(array, sha256, np.concatenate(damaged), np.concatenate(blank), unit)
