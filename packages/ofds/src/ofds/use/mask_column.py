"""Masks of many objects in one array, as compressed COCO run lengths, checked on whole columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Ints

LONGEST = 9  # characters of a run length: 45 bits, more than any image needs
CHUNK = 1 << 20  # characters that are looked at together


@dataclass(frozen=True)
class Masks:
    """Compressed run lengths (`counts` of pycocotools) of all objects in one array.

    Attributes:
        text: uint8, all of them, one after the other.
        end: (n,) where each ends; one that ends where it starts is none.
    """

    text: NDArray[np.uint8]
    end: Ints

    @classmethod
    def of(cls, masks: Sequence[str | bytes | None]) -> Masks:
        """From run lengths of each object; None or empty for one without a mask."""
        texts = [each.encode() if isinstance(each, str) else each or b"" for each in masks]
        lengths = [len(each) for each in texts]
        return cls(np.frombuffer(b"".join(texts), np.uint8), np.cumsum(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, row: int) -> str:
        start = int(self.end[row - 1]) if row else 0
        return self.text[start : self.end[row]].tobytes().decode("ascii", "replace")

    @property
    def given(self) -> NDArray[np.bool_]:
        """(n,) which objects have one."""
        return np.diff(self.end, prepend=0) > 0

    def areas(self, size: NDArray[Any]) -> NDArray[np.float64]:
        """Pixels of each mask, (n,); 0 where there is none, -1 where it is damaged.

        Args:
            size: (n, 2) width and height that each mask has to have.
        """
        found = np.zeros(len(self))
        wanted = size[:, 0].astype(np.float64) * size[:, 1]
        for part in self._parts():
            first = int(self.end[part.start - 1]) if part.start else 0
            end = self.end[part] - first
            runs, owner, inside, bad = _runs(self.text[first : first + int(end[-1])], end)
            count = len(end)
            bad |= np.bincount(owner[runs < 0], minlength=count) > 0
            bad |= np.bincount(owner, runs, count) != np.where(self.given[part], wanted[part], 0)
            area = np.bincount(owner[inside], runs[inside], count)
            found[part] = np.where(bad, -1.0, area)
        return found

    def _parts(self) -> Iterator[slice]:
        start = 0
        while start < len(self):
            before = int(self.end[start - 1]) if start else 0
            stop = int(np.searchsorted(self.end, before + CHUNK, side="right"))
            yield slice(start, max(stop, start + 1))
            start = max(stop, start + 1)


def _runs(text: NDArray[np.uint8], end: Ints) -> tuple[Ints, Ints, NDArray[np.bool_], Any]:
    """All run lengths, the mask that each belongs to, whether it is of the object and not of the
    background, and which masks end within a number or have one that is too long."""
    bad = np.zeros(len(end), bool)
    if not len(text):
        return *(np.zeros(0, np.int64),) * 2, np.zeros(0, bool), bad
    bits = text.astype(np.int64) - 48
    last = (bits & 32) == 0
    closing = end[np.diff(end, prepend=0) > 0] - 1
    owner_of = np.repeat(np.arange(len(end)), np.diff(end, prepend=0))
    bad[owner_of[closing[~last[closing]]]] = True
    bad[owner_of[(bits < 0) | (bits > 63)]] = True
    last[closing] = True  # so that no number goes on in the next mask
    stop = np.flatnonzero(last)
    first = np.append(0, stop[:-1] + 1)
    digits, owner = stop - first + 1, owner_of[first]
    bad[owner[digits > LONGEST]] = True
    shift = 5 * np.minimum(np.arange(len(text)) - np.repeat(first, digits), LONGEST)
    value = np.add.reduceat((bits & 31) << shift, first)
    value -= np.where(bits[stop] & 16, np.int64(1) << (5 * np.minimum(digits, LONGEST)), 0)
    # From the third on a number is the difference to the one before the last.
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    chain = 3 * owner + np.where(place == 0, 0, 2 - place % 2)
    order = np.argsort(chain, kind="stable")
    total = np.cumsum(value[order])
    start = np.searchsorted(chain[order], chain[order])
    value[order] = total - np.where(start > 0, total[start - 1], 0)
    return value, owner, place % 2 == 1, bad
