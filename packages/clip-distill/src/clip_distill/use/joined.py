"""Several sets of pictures, and what was cached of each, as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_distill.use.pictures import Pictures, check_same_names
from clip_distill.use.preprocessing import Pixels
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes


class Joined:
    """Pictures of several sets, one after the other.

    Raises:
        UserError: some with classes and some without, or other classes.
    """

    def __init__(self, parts: Sequence[Pictures]) -> None:
        first = parts[0]
        for other in parts[1:]:
            check_same_names(other.classes, first.classes, other.where, first.where)
        self.parts = tuple(parts)
        self.ends = list(accumulate(len(part) for part in parts))
        self.where = " and ".join(part.where for part in parts)
        self.classes = first.classes
        self.ids: Sequence[str] = tuple(
            f"{number}: {name}" for number, part in enumerate(parts) for name in part.ids
        )
        self.targets: Sequence[int] = tuple(
            self.classes.index(part.classes[target]) for part in parts for target in part.targets
        )

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, index: int) -> Pixels:
        """One picture."""
        part, own = located(self.ends, index)
        return self.parts[part].read(own)

    def caption(self, index: int) -> str:
        """Its caption."""
        part, own = located(self.ends, index)
        return self.parts[part].caption(own)

    def fingerprint(self) -> str:
        """Of all sets in their order."""
        return sha256_bytes(" ".join(part.fingerprint() for part in self.parts).encode())


class JoinedRows:
    """Arrays (samples of a set, ...), one after the other, read where they lie."""

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) > 1:
            raise UserError(f"features of other shapes cannot be joined: {sorted(shapes)}")
        self.arrays = tuple(arrays)
        self.ends = list(accumulate(len(array) for array in arrays))
        self.shape = (self.ends[-1], *shapes.pop())

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """`rows[sample]`, `rows[sample, view]`, or arrays of samples and views."""
        samples, *rest = key if isinstance(key, tuple) else (key,)
        if np.ndim(samples) == 0:
            part, own = located(self.ends, int(samples))
            return np.asarray(self.arrays[part][(own, *rest)])
        columns = [np.asarray(each).tolist() for each in (samples, *rest)]
        return np.stack([self[each] for each in zip(*columns, strict=True)])


def located(ends: Sequence[int], index: int) -> tuple[int, int]:
    """Which part an index is in, and which of its samples it is."""
    part = bisect_right(ends, index)
    return part, index - (ends[part - 1] if part else 0)
