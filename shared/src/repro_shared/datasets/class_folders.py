"""Folders of images, one folder a class, in the form of ImageNet's validation set."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES, read_rgb, scan_images

TRAIN = ("train", "training")
SCORED = ("val", "valid", "validation", "test", "testing")
"""Usual names of the folders of splits, in the order in which they are looked for, in any case."""
_NAMED = 3  # files or classes that an error names; it only counts the others
_ORDER = 12  # classes that `order` lists in full


class ClassFolder:
    """Images `<root>/[<split>/]<class>/.../<name>.png`, of any ending in `runtime.images.SUFFIXES`.

    The folder below the root is the class, however deep the image lies. Classes are numbered in the
    natural order of their names (2 before 10), as timm numbers them, or as a class map says.

    Args:
        root: holds the class folders, or the splits that hold them.
        split: the folder of one split.
        class_map: from the name of a folder to the number of its class; its classes are all that it
            names, whether there is a folder of them or not.

    Attributes:
        folder: the folder that holds the class folders.
        classes: their names, in the order of their numbers.
        numbers: in the class map, ascending; without one 0 to len(classes) - 1.
        paths: the files, sorted by class and name.
        targets: the position in `classes` of each file's class.
        passed_over: by ending, how many files are none of these images.

    Raises:
        UserError: no such folder, one that holds splits, fewer than two class folders, a class
            without images, or a folder that the class map lacks.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        class_map: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = Path(root) / split if split else Path(root)
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; give one that holds a folder a class")
        folders = _class_folders(self.folder, alone=class_map is not None)
        names = [path.name for path in folders]
        if class_map is None:
            class_map = {name: number for number, name in enumerate(names)}
        elif lacking := [name for name in names if name not in class_map]:
            raise UserError(f"{self.folder}: the class map lacks {_some(lacking)}")
        named: dict[int, list[str]] = {}
        for name, number in class_map.items():
            named.setdefault(number, []).append(name)
        self.numbers = tuple(sorted(named))
        self.classes = tuple(" / ".join(named[number]) for number in self.numbers)
        # In this order for all records that were made before other ones could be had.
        self._sorted = self.numbers == (*range(len(names)),) and self.classes == (*sorted(names),)
        self.passed_over = Counter(_ending(path) for path in _visible(self.folder, files=True))
        found: list[tuple[int, Path]] = []
        for path in folders:
            images, others = _images(path)
            self.passed_over.update(others)
            found += [(self.numbers.index(class_map[path.name]), image) for image in images]
        self.paths = tuple(path for _, path in sorted(found))
        self.targets = tuple(target for target, _ in sorted(found))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """An image, as `read` gives it, and its class."""
        return self.read(index), self.targets[index]

    def read(self, index: int) -> Image.Image:
        """The image as RGB, upright as EXIF says; UserError for a file that cannot be read."""
        return Image.fromarray(read_rgb(self.paths[index]))

    def fingerprint(self, content_of: Callable[[Path], tuple[int, str]] | None = None) -> str:
        """SHA-256 of all images, their places below `folder`, wherever that lies, and classes.

        `content_of` is as in `fingerprint_folder`.
        """
        files = [path.relative_to(self.folder) for path in self.paths]
        content = fingerprint_folder(self.folder, files, content_of)
        if self._sorted:
            return content
        key = f"{content} classes {list(zip(self.numbers, self.classes, strict=True))}"
        return hashlib.sha256(key.encode()).hexdigest()

    def counts(self) -> str:
        """How many classes, images and files of other kinds, in a line."""
        line = f"{self.folder}: {len(self.classes)} classes, {len(self)} images"
        if empty := len(self.classes) - len(set(self.targets)):
            line += f", classes without images: {empty}"
        if self.passed_over:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.passed_over.most_common())
            line += f"; passed over: {kinds}"
        return line

    def order(self) -> str:
        """Which class has which number, in a line: of many classes the first ones and the last."""
        each = [f"{n} = {name}" for n, name in zip(self.numbers, self.classes, strict=True)]
        shown = each if len(each) <= _ORDER else [*each[: _ORDER - 1], "...", each[-1]]
        return _printable(", ".join(shown))


def find_split(root: str | Path, names: Sequence[str]) -> str:
    """The first of the names, in any case, that is a folder with class folders in it; or ""."""
    if not Path(root).is_dir():
        return ""
    there = {path.name.lower(): path for path in _visible(Path(root)) if _visible(path)}
    return next((there[name].name for name in names if name in there), "")


def check_same_classes(one: ClassFolder, other: ClassFolder) -> None:
    """UserError, with names, unless two folders hold the same classes."""
    problems = []
    for here, there in ((one, other), (other, one)):
        extra = [name for name in here.classes if name not in set(there.classes)]
        if extra:
            problems.append(f"{there.folder} lacks {_some(extra)}")
    if problems:
        raise UserError(f"classes differ: {'; '.join(problems)}")


def check_readable(folders: Sequence[ClassFolder], threads: int = 1) -> None:
    """Decode every image once; UserError names those that cannot be read."""
    paths = [path for folder in folders for path in folder.paths]
    bad = scan_images(paths, threads)
    if bad:
        listed = _some([f"{path}: {reason}" for path, reason in bad], "; ")
        raise UserError(f"{len(bad)} of {len(paths)} images cannot be read: {listed}")


def check(root: str | Path, class_map: Mapping[str, int] | None = None) -> str:
    """What `data check` prints of a folder, or of its splits (train, val, test, ...).

    Returns:
        Two lines for each split: counts, least and most images of a class, fingerprint, what was
        passed over; and the numbers of the classes.

    Raises:
        UserError: as `ClassFolder`; splits of different classes; images that cannot be read.
    """
    splits = [find_split(root, (name,)) for name in (*TRAIN, *SCORED)]
    folders = [ClassFolder(root, split, class_map) for split in splits if split]
    first, *others = folders = folders or [ClassFolder(root, None, class_map)]
    for other in others:
        check_same_classes(first, other)
    check_readable(folders)
    lines = [f"{folder.counts()}\n  {_details(folder)}" for folder in folders]
    return _printable("\n".join([*lines, f"classes: {first.order()}"]))


def _details(folder: ClassFolder) -> str:
    each = torch.bincount(torch.tensor(folder.targets), minlength=len(folder.classes)).tolist()
    least, most = (f"{n} ({folder.classes[each.index(n)]})" for n in (min(each), max(each)))
    return f"all readable, {least} to {most} a class, sha256 {folder.fingerprint()}"


def _visible(folder: Path, files: bool = False) -> list[Path]:
    """The folders, or files, of a folder that are not hidden, in natural order."""
    found = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir() is not files]
    return sorted(found, key=lambda path: (_natural(path.name), path.name))


def _natural(name: str) -> list[int | str]:
    """As timm sorts classes: numbers by their value, letters in any case."""
    return [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", name.lower())]


def _class_folders(folder: Path, alone: bool) -> list[Path]:
    """The folders of a split; `alone`, one is enough."""
    classes = _visible(folder)
    if not classes:
        raise UserError(f"{folder} has no class folders; sort its images into one a class")
    # A folder `train` that holds images is a class: of vehicles, say.
    splits = [
        path.name
        for path in classes
        if path.name.lower() in (*TRAIN, *SCORED)
        and _visible(path)
        and not any(_is_image(file) for file in _visible(path, files=True))
    ]
    if splits:
        raise UserError(f"{folder} holds splits ({', '.join(splits)}): give the folder of one")
    if len(classes) == 1 and not alone:
        raise UserError(f"{folder} has one class folder only ({classes[0].name})")
    return classes


def _images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """All images below a class folder, and how many other files there are, by ending."""
    images, others = list[Path](), Counter[str]()
    for place, below, names in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if _is_image(path):
                images.append(path)
            else:
                others[_ending(path)] += 1
    if not images:
        raise UserError(f"class folder {folder} has no images ({' '.join(SUFFIXES)})")
    return images, others


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _ending(path: Path) -> str:
    if _is_image(path):
        return f"{path.suffix.lower()} outside class folders"
    return path.suffix.lower() or "without ending"


def _printable(text: str) -> str:
    """The text with names of files in another encoding spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _some(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return separator.join(items[:_NAMED]) + more
