"""Images with label maps: pairs of files, read when asked for, and one pass that checks them."""

import copy
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.fingerprint import content_of, fingerprint_contents
from repro_shared.datasets.label_values import IGNORED, Colour, LabelValues, stored_colours
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb
from repro_shared.runtime.progress import Progress

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]

KEPT_BYTES = 2**30
"""A set whose pixels take at most a gibibyte is kept in memory once a survey has read it."""
_THREADS = 16  # at most, each with two images in memory
_EXPLAINED = 10  # bad pairs that an error explains; it only names the others


@dataclass(frozen=True)
class Pair:
    """An image and its label map, by a name that is unique in the set."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Survey:
    """What one pass over all pairs found.

    Attributes:
        sizes: height and width of each image, in the order of the pairs.
        pixels: how many pixels of each class, int64 (num_classes,).
        ignored: how many pixels each ignored value has, those that occur.
        fingerprint: SHA-256 of the files and of how their values are read.
        problems: what is wrong with a pair, by its name, one line each; nothing else of such a
            pair counts above.
    """

    sizes: tuple[tuple[int, int], ...]
    pixels: NDArray[np.int64]
    ignored: dict[int, int]
    fingerprint: str
    problems: dict[str, str]

    def refuse(self) -> None:
        """UserError that explains ten bad pairs and names all others, if there are any."""
        if self.problems:
            explained = "; ".join(list(self.problems.values())[:_EXPLAINED])
            others = list(self.problems)[_EXPLAINED:]
            more = f"; and {len(others)} more: {', '.join(others)}" if others else ""
            count = f"{len(self.problems)} of {len(self.sizes)} images cannot be used"
            raise UserError(f"{count}: {explained}{more}")


class LabelMapFolder(Sequence[Sample]):
    """Images and label maps: uint8 RGB (H, W, 3), uint8 (H, W) of classes, 255 ignored.

    Args:
        root: the folder that all files lie in.
        pairs: the files.
        values: which stored value is which class.
    """

    def __init__(self, root: str | Path, pairs: Iterable[Pair], values: LabelValues) -> None:
        self.root, self.pairs, self.values = Path(root), tuple(pairs), values
        self._kept: list[Sample] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pairs, in order."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def in_memory(self) -> bool:
        """Whether a survey has kept the pixels; else files are read each time."""
        return self._kept is not None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Read a pair; UserError names a file that is unreadable or has a wrong size or value."""
        if self._kept is not None:
            return self._kept[index]
        return self._read(self.pairs[index])[0]

    def subset(self, keep: Callable[[str], bool]) -> Self:
        """The pairs whose name is kept; UserError if there is none."""
        part = copy.copy(self)
        part.pairs = tuple(pair for pair in self.pairs if keep(pair.name))
        part._kept = None
        if not part.pairs:
            raise UserError(f"{self.root}: no image has a wanted name")
        return part

    def survey(self, label: str = "images checked", kept_bytes: int = KEPT_BYTES) -> Survey:
        """Read every file once: check, count and hash; a small set stays in memory afterwards.

        Args:
            label: of the progress line.
            kept_bytes: of pixels, how many a set may have that stays in memory.
        """
        contents, problems = dict[str, tuple[int, str]](), dict[str, str]()
        sizes, stored, colours = list[tuple[int, int]](), np.zeros(256, np.int64), _Colours()
        kept: list[Sample] | None = []
        for pair, found in self._examined(label):
            if not isinstance(found, str):
                found = colours.clash(pair, found.colours) or found
            if isinstance(found, str):
                problems[pair.name], kept = found, None
                sizes.append((0, 0))
                continue
            contents |= found.contents
            stored += found.stored
            height, width = found.sample[1].shape
            sizes.append((height, width))
            kept_bytes -= 4 * height * width
            if kept_bytes < 0:
                kept = None
            if kept is not None:
                kept.append(found.sample)
        self._kept = kept
        table = self.values.table()
        key = f"{fingerprint_contents(contents)} {self.values.key()}"
        return Survey(
            sizes=tuple(sizes),
            pixels=np.array([stored[table == c].sum() for c in range(self.values.num_classes)]),
            ignored={int(v): int(stored[v]) for v in np.flatnonzero(stored * (table == IGNORED))},
            fingerprint=hashlib.sha256(key.encode()).hexdigest(),
            problems=problems,
        )

    def _examined(self, label: str) -> Iterator[tuple[Pair, "_Found | str"]]:
        """Every pair with what it holds, or with what is wrong with it, in order."""
        threads = min(_THREADS, os.cpu_count() or 1)
        with (
            warnings.catch_warnings(),  # threads would leave the filters as others found them
            ThreadPoolExecutor(threads) as pool,
            Progress(len(self), label) as progress,
        ):
            for start in range(0, len(self), 2 * threads):  # no more are in memory at a time
                part = self.pairs[start : start + 2 * threads]
                yield from zip(part, pool.map(self._examine, part), strict=True)
                progress.update(start + len(part))

    def _examine(self, pair: Pair) -> "_Found | str":
        try:
            paths = (pair.image, pair.label)
            contents = {path.relative_to(self.root).as_posix(): content_of(path) for path in paths}
            sample, values = self._read(pair)
            colours = {} if self.values.palette else stored_colours(pair.label, values)
            return _Found(contents, np.bincount(values.ravel(), minlength=256), colours, sample)
        except UserError as error:
            return str(error)

    def _read(self, pair: Pair) -> tuple[Sample, NDArray[np.uint8]]:
        """Image and classes, and the values that stand for the classes in the file."""
        image, values = read_rgb(pair.image), self.values.read(pair.label)
        if image.shape[:2] != values.shape:
            raise UserError(
                f"{pair.label}: label map is {values.shape[1]} x {values.shape[0]} pixels, "
                f"its image {image.shape[1]} x {image.shape[0]}; they must be the same size"
            )
        return (image, self.values.classes(values, pair.label)), values


@dataclass(frozen=True)
class _Found:
    contents: dict[str, tuple[int, str]]  # size and hash of both files
    stored: NDArray[np.int64]  # pixels of each stored value
    colours: dict[int, Colour]  # of the palette, for the values that occur
    sample: Sample


class _Colours:
    """Whether the palettes of all files mean the same: a value one colour, a colour one value."""

    def __init__(self) -> None:
        self._seen: dict[int | Colour, tuple[int | Colour, Path]] = {}

    def clash(self, pair: Pair, colours: dict[int, Colour]) -> str:
        """What contradicts an earlier file, in a line; "" if nothing does."""
        entries: list[tuple[int | Colour, int | Colour]] = [*colours.items()]
        if len({*colours.values()}) == len(colours):
            entries += [(colour, value) for value, colour in colours.items()]
        for one, other in entries:
            before, path = self._seen.setdefault(one, (other, pair.label))
            if before != other:
                return (
                    f"{pair.label}: its palette pairs {one} with {other}, that of {path} with "
                    f"{before}: give the colour of each class with --palette FILE, or store "
                    "class indices without a palette"
                )
        return ""
