"""Shards of WebDataset's form (tar files), read in any order: every sample once, none twice.

A tar file's headers are read once and say where each member lies; a sample is then read from its
place. So samples have numbers, as files have: the order of training, its equal steps on every
process, resuming, and passes that see each sample once do not depend on the number of shards. The
webdataset library itself (1.0) hands out whole shards: with fewer shards than processes x workers
some get none, which raises or hangs.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_distill.use.contents import remembered
from clip_distill.use.pictures import decode
from clip_distill.use.preprocessing import Pixels
from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.images import SUFFIXES
from repro_shared.runtime.progress import Progress, say

PICKLED = ("pkl", "pickle", "pyd", "pth", "pt")  # running code on reading, or able to
BLOCK = tarfile.BLOCKSIZE
_PICTURES = tuple(suffix[1:] for suffix in SUFFIXES)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Sample:
    """Where a sample lies: the shard's number, and offset and size of its members."""

    shard: int
    key: str
    image: tuple[int, int]
    caption: tuple[int, int] | None
    label: int | None


class Shards:
    """The samples of tar files: a picture each, perhaps a caption (`.txt`) and a class (`.cls`).

    Args:
        source: a folder of `.tar` files, one file, or a pattern with `*` or `{000..123}`.
        skip_bad: leave out what a truncated shard has lost, with a line; else it is refused.
        classes: names of the classes that `.cls` numbers.

    Attributes:
        passed_over: members of other kinds, and samples without a picture, by kind.

    Raises:
        UserError: no shards, a compressed or truncated one, pickled members, a key twice.
    """

    def __init__(
        self, source: str | Path, skip_bad: bool = False, classes: tuple[str, ...] = ()
    ) -> None:
        self.where = str(source)
        self.paths = find_shards(str(source))
        self.passed_over = Counter[str]()
        self._fingerprint = ""
        self.samples: list[Sample] = []
        with Progress(len(self.paths), "shards looked through") as progress:
            for number, path in enumerate(self.paths):
                self.samples += self._index(number, path, skip_bad)
                progress.update(number + 1)
        if self.passed_over:
            listed = ", ".join(f"{count} {kind}" for kind, count in self.passed_over.items())
            say(f"{source}: passed over: {listed}")
        if not self.samples:
            raise UserError(f"{source}: no samples with a picture in {len(self.paths)} shards")
        names = [path.name for path in self.paths]
        self.ids: Sequence[str] = tuple(f"{names[each.shard]}/{each.key}" for each in self.samples)
        if len(set(self.ids)) < len(self.ids):
            twice = next(name for name, count in Counter(self.ids).items() if count > 1)
            raise UserError(f"{source}: two samples are called {twice}")
        self.classes = classes
        self.targets: Sequence[int] = self._targets(classes)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Pixels:
        """One picture."""
        sample = self.samples[index]
        return decode(self._bytes(sample.shard, sample.image), self.ids[index])

    def caption(self, index: int) -> str:
        """One caption."""
        sample = self.samples[index]
        text = ""
        if sample.caption is not None:
            raw = self._bytes(sample.shard, sample.caption)
            text = " ".join(raw.decode("utf-8", "replace").split())
        if not text:
            have = sum(each.caption is not None for each in self.samples)
            raise UserError(
                f"{self.ids[index]} has no caption (.txt); of {len(self)} samples {have} have one"
            )
        return text

    def fingerprint(self) -> str:
        """Of the shards' content, read once."""
        if not self._fingerprint:
            places = [path.resolve() for path in self.paths]
            folder = Path(os.path.commonpath([place.parent for place in places]))
            names = [place.relative_to(folder) for place in places]
            with remembered() as content:
                self._fingerprint = fingerprint_folder(folder, names, content)
        return self._fingerprint

    def _bytes(self, shard: int, place: tuple[int, int]) -> bytes:
        with self.paths[shard].open("rb") as file:
            return os.pread(file.fileno(), place[1], place[0])

    def _targets(self, classes: tuple[str, ...]) -> tuple[int, ...]:
        if not classes:
            return ()
        for sample, name in zip(self.samples, self.ids, strict=True):
            if sample.label is None or not 0 <= sample.label < len(classes):
                raise UserError(f"{name}: class {sample.label} is none of {len(classes)} (.cls)")
        return tuple(int(sample.label or 0) for sample in self.samples)

    def _index(self, number: int, path: Path, skip_bad: bool) -> list[Sample]:
        members, problem = read_headers(path)
        groups: dict[str, dict[str, tuple[int, int]]] = {}
        order = list[str]()
        for name, offset, size in members:
            folder, _, base = name.rpartition("/")
            if base.startswith(
                "."
            ):  # macOS writes a ._ file beside each; webdataset skips them too
                self.passed_over["hidden files"] += 1
                continue
            stem, _, ending = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if any(part.lower() in PICKLED for part in ending.split(".")):
                raise UserError(f"{path}: member {name!r} is pickled and could run code; remove it")
            if key not in groups:
                order.append(key)
            elif order[-1] != key or ending.lower() in groups[key]:
                raise UserError(f"{path}: two samples are called {key!r}")
            groups.setdefault(key, {})[ending.lower()] = (offset, size)
        if problem:
            # What was cut off may have belonged to the last sample.
            torn = bool(order) and groups[order[-1]].keys() != groups[order[0]].keys()
            whole = order[:-1] if torn or len(order) == 1 else order
            said = f"{path}: {problem}; {len(whole)} whole samples"
            if not skip_bad:
                raise UserError(f"{said}: fetch it again, or leave the rest out with --skip-bad")
            say(f"{said}, the rest is left out")
            order = whole
        return [made for key in order if (made := self._sample(number, path, key, groups[key]))]

    def _sample(
        self, number: int, path: Path, key: str, parts: dict[str, tuple[int, int]]
    ) -> Sample | None:
        pictures = [ending for ending in parts if ending in _PICTURES]
        known = {*pictures[:1], "txt", "cls"}
        self.passed_over.update(f".{ending}" for ending in parts if ending not in known)
        if not pictures:
            self.passed_over["samples without a picture"] += 1
            return None
        label = None
        if "cls" in parts:
            with path.open("rb") as file:
                text = os.pread(file.fileno(), parts["cls"][1], parts["cls"][0]).decode(
                    "ascii", "replace"
                )
            if not text.strip().isdecimal():
                raise UserError(f"{path}: {key}.cls holds {text.strip()[:20]!r}, not a number")
            label = int(text)
        return Sample(number, key, parts[pictures[0]], parts.get("txt"), label)


def find_shards(source: str) -> list[Path]:
    """The tar files that a source names, sorted.

    Raises:
        UserError: none, an address, a command, or a compressed file.
    """
    if source.startswith("pipe:") or "://" in source:
        raise UserError(f"{source}: only local tar files are read; commands are never run")
    if Path(source).is_dir():
        found = sorted(Path(source).glob("*.tar"))
        compressed = sorted(Path(source).glob("*.tar.*"))
    else:
        names = expand(source)
        found = [Path(n) for name in names for n in sorted(glob.glob(name)) or [name]]
        compressed = [path for path in found if path.suffix != ".tar"]
    if compressed:
        raise UserError(
            f"{compressed[0]}: only plain .tar files can be read in any order; unpack it"
        )
    if not found:
        raise UserError(f"{source}: no .tar files")
    if missing := [path for path in found if not path.is_file()]:
        raise UserError(f"{missing[0]}: no such file ({len(missing)} of {len(found)} are missing)")
    return found


def expand(pattern: str) -> list[str]:
    """`a-{08..10}.tar` to its names, as WebDataset writes them."""
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    names = []
    for number in range(int(first), int(last) + 1):
        filled = f"{number:0{len(first)}d}" if first.startswith("0") else str(number)
        names += expand(pattern[: match.start()] + filled + pattern[match.end() :])
    return names


def read_headers(path: Path) -> tuple[list[tuple[str, int, int]], str]:
    """Name, offset and size of each whole member, and what is wrong with the end of the file."""
    found, size = list[tuple[str, int, int]](), path.stat().st_size
    if size == 0:
        return [], "empty file (0 bytes)"
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                end = member.offset_data + member.size
                if end > size:
                    return found, f"truncated in {member.name!r}"
                if member.isfile():
                    found.append((member.name.removeprefix("./"), member.offset_data, member.size))
            # A whole archive ends with blocks of zeros.
            with path.open("rb") as file:
                last = os.pread(file.fileno(), BLOCK, tar.offset)
    except tarfile.TarError as error:
        if not found:
            raise UserError(f"{path}: no tar file ({one_line(str(error))})") from None
        return found, "truncated"
    return found, "" if len(last) == BLOCK and not any(last) else "truncated"
