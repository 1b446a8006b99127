"""Images of a pool, found by the names that annotation tools give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ofds.use.lists import Names
from repro_shared.runtime.errors import UserError

UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")


class ResultNames(Names):
    """As `Names`; a tool may also have added folders in front, or left them out.

    Label Studio puts an upload into a folder of its own, eight hex digits and a dash in front of
    its name, writes an underscore for a space, and leaves signs out.

    Args:
        names: of the pool, in its order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.names = list(names)
        self.tails = dict[str, list[int]]()
        for place, name in enumerate(names):
            for key in {_parts(name)[-1], _valid(name)}:
                self.tails.setdefault(key, []).append(place)

    def find(self, name: str, source: str | Path) -> int:
        """Place of an image, -1 for none; UserError if two could be meant, both named."""
        place = super().find(name, source)
        if place >= 0:
            return place
        for found in self._near(name):
            if len(found) > 1:
                one, two = (repr(self.names[each]) for each in found[:2])
                raise UserError(f"{source}: {name!r} may be {one} or {two}")
            if found:
                return found[0]
        return -1

    def _near(self, name: str) -> Iterator[list[int]]:
        """Images that could be meant, the likelier ones first."""
        parts = _parts(name)
        same = self.tails.get(parts[-1], [])
        lengths = {each: _common(parts, _parts(self.names[each])) for each in same}
        longest = max(lengths.values(), default=0)
        yield [each for each, length in lengths.items() if length and length == longest]
        if UPLOAD.match(parts[-1]):
            bare = UPLOAD.sub("", parts[-1], count=1)
            exact = [p for p in self.tails.get(bare, []) if _parts(self.names[p])[-1] == bare]
            yield exact
            yield self.tails.get(_valid(bare), [])


def _parts(name: str) -> list[str]:
    return [each for each in name.replace("\\", "/").split("/") if each not in ("", ".")] or [name]


def _common(one: list[str], two: list[str]) -> int:
    """How many parts the shorter path has, if the longer one ends in it; else 0."""
    short = min(len(one), len(two))
    return short if one[-short:] == two[-short:] else 0


def _valid(name: str) -> str:
    """The last part of a name as Django stores an upload, which Label Studio is built on."""
    return re.sub(r"[^-\w.]", "", _parts(name)[-1].strip().replace(" ", "_"))
