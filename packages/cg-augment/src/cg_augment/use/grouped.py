"""Group labels beside pictures: scoring and the oracle's row alone read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cg_augment.use.pictures import (
    Chosen,
    Labels,
    Pictures,
    check_all_classes,
    hashed,
    of_folder,
)
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Grouped:
    """Pictures with group labels beside them, for scoring and for the oracle's row alone.

    Attributes:
        pictures: the pictures.
        groups: (n,) the group of each.
        names: of all groups, also of those without pictures.
    """

    pictures: Pictures
    groups: Labels
    names: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pictures of each group."""
        return tuple(np.bincount(self.groups, minlength=len(self.names)).tolist())

    def number(self, name: str) -> int:
        """Of a group; UserError for a name that is none."""
        if name not in self.names:
            raise UserError(f"there is no group {name!r}: {', '.join(self.names)}")
        return self.names.index(name)

    def without(self, dropped: Sequence[str]) -> Grouped:
        """The set with whole groups removed: a covariate shift between training and test.

        Raises:
            UserError: an unknown group, or a class that nothing is left of.
        """
        gone = [self.number(name) for name in dropped]
        kept = np.flatnonzero(~np.isin(self.groups, gone))
        left = Chosen(self.pictures, kept)
        check_all_classes(left.targets, left.classes, f"without {', '.join(dropped)}")
        return Grouped(left, self.groups[kept], self.names)

    def fingerprint(self) -> str:
        """Of pictures and groups."""
        labels = fingerprint_arrays({"groups": self.groups})
        return hashed(self.pictures.fingerprint(), labels, *self.names)


def grouped_folder(root: str | Path, classes: Sequence[str] = ()) -> Grouped:
    """Class folders that hold a folder for each group: `<root>/<class>/<group>/.../<name>.png`.

    A group's name is that of its class and its own: `waterbirds/land`.

    Raises:
        UserError: as `of_folder`; a picture that lies in no group's folder.
    """
    pictures = of_folder(root, None, classes)
    names = list[str]()
    for index in range(len(pictures)):
        parts = pictures.name(index).split("/")
        if len(parts) < 3:
            raise UserError(
                f"{pictures.root / pictures.name(index)}: lies in no group's folder; with groups, "
                "pictures lie in CLASS/GROUP/"
            )
        names.append("/".join(parts[:2]))
    known = sorted(set(names))
    groups = [known.index(name) for name in names]
    return Grouped(pictures, np.asarray(groups, np.int64), tuple(known))
