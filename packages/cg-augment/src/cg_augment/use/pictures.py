"""Labelled pictures: files, arrays, unions and choices of them. No group label has a place here.

Training and generation take a `Pictures`, which knows classes alone. Group labels live beside them,
in `grouped`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.class_folders import ClassFolder
from repro_shared.datasets.fingerprint import fingerprint_arrays, fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb, scan_images

_NAMED = 3  # files or classes that an error names; it only counts the others
Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Pictures(Protocol):
    """What training reads, and what images are generated from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of their numbers."""
        ...

    @property
    def targets(self) -> Labels:
        """(n,) the class of each picture."""
        ...

    def __len__(self) -> int:
        """How many."""
        ...

    def read(self, index: int) -> Pixels:
        """A picture (h, w, 3)."""
        ...

    def name(self, index: int) -> str:
        """Which picture that is, for errors."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of all pictures and classes."""
        ...


class Files:
    """Image files with their classes.

    Args:
        root: folder that the files lie below.
        paths: the files.
        targets: of each file.
        classes: names.

    Raises:
        UserError: a class without pictures, or none at all.
    """

    def __init__(
        self,
        root: str | Path,
        paths: Sequence[Path],
        targets: Sequence[int] | Labels,
        classes: Sequence[str],
        empty: bool = False,
    ) -> None:
        self.root, self.paths = Path(root), tuple(paths)
        self.targets, self.classes = np.asarray(targets, np.int64), tuple(classes)
        if len(self.paths) != len(self.targets):
            raise ValueError(f"{len(self.paths)} files and {len(self.targets)} classes")
        if not empty:
            check_all_classes(self.targets, self.classes, str(root))

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Pixels:
        """A picture (h, w, 3), upright; UserError for a file that cannot be read."""
        return read_rgb(self.paths[index])

    def name(self, index: int) -> str:
        """Its path below the root."""
        return self.paths[index].relative_to(self.root).as_posix()

    @cached_property
    def _digest(self) -> str:
        places = [path.relative_to(self.root) for path in self.paths]
        content = fingerprint_folder(self.root, places)
        known = [f"{p.as_posix()} {t}" for p, t in zip(places, self.targets, strict=True)]
        return hashed(content, *self.classes, *sorted(known))

    def fingerprint(self) -> str:
        """Of all files, their places below the root, and classes."""
        return self._digest


class Arrays:
    """Pictures in memory.

    Args:
        pixels: uint8 (n, h, w, 3).
        targets: (n,).
        classes: names.
    """

    def __init__(self, pixels: Pixels, targets: Labels, classes: Sequence[str]) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ValueError(
                f"pixels must be uint8 (n, h, w, 3), not {pixels.dtype} {pixels.shape}"
            )
        if len(pixels) != len(targets):
            raise ValueError(f"{len(pixels)} pictures and {len(targets)} classes")
        self.pixels, self.targets = pixels, np.asarray(targets, np.int64)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Pixels:
        """A picture (h, w, 3)."""
        return self.pixels[index]

    def name(self, index: int) -> str:
        """Its number."""
        return f"picture {index}"

    @cached_property
    def _digest(self) -> str:
        content = fingerprint_arrays({"pixels": self.pixels, "targets": self.targets})
        return hashed(content, *self.classes)

    def fingerprint(self) -> str:
        """Of pixels, targets and classes."""
        return self._digest


class Chosen:
    """Some of the pictures, perhaps some of them several times.

    Args:
        pictures: to choose from.
        places: which, in order.
    """

    def __init__(self, pictures: Pictures, places: Sequence[int] | Labels) -> None:
        self.pictures, self.places = pictures, np.asarray(places, np.int64)
        self.classes, self.targets = pictures.classes, pictures.targets[self.places]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> Pixels:
        """A picture (h, w, 3)."""
        return self.pictures.read(int(self.places[index]))

    def name(self, index: int) -> str:
        """As it is called among all."""
        return self.pictures.name(int(self.places[index]))

    def fingerprint(self) -> str:
        """Of all pictures and of the choice."""
        return hashed(self.pictures.fingerprint(), fingerprint_arrays({"places": self.places}))


class Union:
    """Several sets of the same classes, one behind the other."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self.parts, self.classes = tuple(parts), parts[0].classes
        for part in parts[1:]:
            if part.classes != self.classes:
                here, there = (_some(each.classes) for each in (self, part))
                raise UserError(f"classes differ: {here} and {there}")
        self.targets = np.concatenate([part.targets for part in parts])
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def _place(self, index: int) -> tuple[Pictures, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - (self._ends[number - 1] if number else 0)

    def read(self, index: int) -> Pixels:
        """A picture (h, w, 3)."""
        part, own = self._place(index)
        return part.read(own)

    def name(self, index: int) -> str:
        """As its set calls it."""
        part, own = self._place(index)
        return part.name(own)

    def fingerprint(self) -> str:
        """Of all parts in order."""
        return hashed(*(part.fingerprint() for part in self.parts))


def of_folder(root: str | Path, split: str | None = None, classes: Sequence[str] = ()) -> Files:
    """Class folders; with `classes` those and no others, in that order.

    Raises:
        UserError: as `ClassFolder`; a class that is not there, or one that is not wanted.
    """
    folder = ClassFolder(root, split)
    if not classes or tuple(classes) == folder.classes:
        return Files(folder.folder, folder.paths, folder.targets, folder.classes)
    extra = [name for name in folder.classes if name not in classes]
    lacking = [name for name in classes if name not in folder.classes]
    if extra or lacking:
        said = [f"has {_some(extra)}, which is no class here"] if extra else []
        said += [f"lacks {_some(lacking)}"] if lacking else []
        raise UserError(f"classes differ: {folder.folder} {' and '.join(said)}")
    places = [list(classes).index(folder.classes[target]) for target in folder.targets]
    return Files(folder.folder, folder.paths, places, classes)


def check_all_classes(targets: Labels, classes: Sequence[str], where: str) -> None:
    """UserError that names classes without pictures."""
    counts = np.bincount(targets, minlength=len(classes))
    if not len(targets):
        raise UserError(f"{where}: no pictures")
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
        raise UserError(f"{where}: no pictures of {_some(empty)}; add some or leave the class out")


def check_files(sets: Sequence[Pictures], threads: int = 1) -> None:
    """Decode every file once; UserError names those that cannot be read."""
    paths = list(dict.fromkeys(path for pictures in sets for path in _paths(pictures)))
    if bad := scan_images(paths, threads):
        listed = _some([f"{path}: {reason}" for path, reason in bad], "; ")
        raise UserError(f"{len(bad)} of {len(paths)} images cannot be read: {listed}")


def _paths(pictures: Pictures) -> list[Path]:
    if isinstance(pictures, Files):
        return list(pictures.paths)
    if isinstance(pictures, Union):
        return [path for part in pictures.parts for path in _paths(part)]
    if isinstance(pictures, Chosen):
        every = _paths(pictures.pictures)
        return [every[place] for place in pictures.places] if every else []
    return []


def hashed(*parts: str) -> str:
    """SHA-256 of texts, their lengths in front: no two lists give the same bytes."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogateescape")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _some(items: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return separator.join(items[:_NAMED]) + more
