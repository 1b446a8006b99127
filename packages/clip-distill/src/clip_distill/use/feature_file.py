"""Features that somebody has made: a .npy file takes the place of a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_distill.use.teachers import damaged_rows
from repro_shared.runtime.errors import UserError

TILE = 4096  # rows that are looked at together


def read_features(path: str | Path, samples: int, names: tuple[str, ...] = ()) -> NDArray[Any]:
    """Features (samples, views, width), mapped, all of them looked at.

    Args:
        path: (samples, width) or (samples, views, width), float16 or float32, a row for each
            picture in the order in which they are read (sorted by class and name).
        samples: pictures that they belong to.
        names: of the pictures, for messages.

    Raises:
        UserError: no such file, another type or shape, a row of zeros or one that is not finite.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError):
        raise UserError(f"{path}: no .npy file of numbers") from None
    if array.dtype not in (np.float16, np.float32):
        raise UserError(f"{path}: holds {array.dtype}; store features as float16 or float32")
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or len(array) != samples or not array.size:
        wanted = f"({samples}, width) or ({samples}, views, width)"
        raise UserError(f"{path}: has shape {array.shape}; {samples} pictures need {wanted}")
    check_rows(array, str(path), names)
    return array


def check_rows(array: NDArray[Any], path: str, names: Sequence[str] = ()) -> None:
    """UserError, with its name, for a row (samples, views, width) that is no direction."""
    flat = array.reshape(-1, array.shape[2])
    for start in range(0, len(flat), TILE):
        if (bad := damaged_rows(flat[start : start + TILE])) is not None:
            row = (start + bad[0]) // array.shape[1]
            name = f" ({names[row]})" if names else ""
            raise UserError(f"{path}: row {row}{name} is {bad[1]}")
