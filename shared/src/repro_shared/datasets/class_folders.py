"""Folders of images, one folder a class, in the form of ImageNet's validation set."""

from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image

from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES, read_rgb, scan_images
from repro_shared.runtime.progress import Progress

SPLITS = ("train", "val", "test")
_NAMED = 3  # files or classes that an error names; it only counts the others


class ClassFolder:
    """Images `<root>/[<split>/]<class>/<name>.png` (jpg, jpeg, webp, bmp, in any case).

    Classes are numbered in the order of their names, which for ImageNet's `n01440764` and so on is
    the order of its labels. Hidden files and files of other kinds are passed over.

    Attributes:
        folder: the folder that holds the class folders.
        classes: their names, sorted.
        paths: the files, sorted by class and name.
        targets: the class of each file, 0 to len(classes) - 1.

    Raises:
        UserError: no such folder, fewer than two class folders, or a class without images.
    """

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        self.folder = Path(root) / split if split else Path(root)
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; give one that holds a folder a class")
        classes = _visible_folders(self.folder)
        if not classes:
            raise UserError(f"{self.folder} has no class folders; sort its images into one a class")
        if len(classes) == 1:
            raise UserError(f"{self.folder} has one class folder only ({classes[0].name})")
        self.classes = tuple(path.name for path in classes)
        found = [_images(path) for path in classes]
        self.paths = tuple(path for paths in found for path in paths)
        self.targets = tuple(target for target, paths in enumerate(found) for _ in paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """An image, as `read` gives it, and its class."""
        return self.read(index), self.targets[index]

    def read(self, index: int) -> Image.Image:
        """The image as RGB, upright as EXIF says; UserError for a file that cannot be read."""
        return Image.fromarray(read_rgb(self.paths[index]))

    def fingerprint(self) -> str:
        """SHA-256 of all images and their places below `folder`, wherever that lies."""
        return fingerprint_folder(self.folder, (p.relative_to(self.folder) for p in self.paths))


def check_same_classes(one: ClassFolder, other: ClassFolder) -> None:
    """UserError, with names, unless two folders hold the same classes."""
    problems = []
    for here, there in ((one, other), (other, one)):
        extra = [name for name in here.classes if name not in set(there.classes)]
        if extra:
            problems.append(f"{there.folder} lacks {_some(extra)}")
    if problems:
        raise UserError(f"classes differ: {'; '.join(problems)}")


def check(root: str | Path) -> str:
    """What `data check` prints of a folder, or of its splits train, val and test.

    Returns:
        A line for each split: classes, images, the least and most images of a class, fingerprint.

    Raises:
        UserError: as `ClassFolder`; splits of different classes; images that cannot be read.
    """
    # A folder `train` without folders in it is a class of that name.
    splits = [s for s in SPLITS if (Path(root) / s).is_dir() and _visible_folders(Path(root) / s)]
    folders = {split: ClassFolder(root, split) for split in splits} or {"all": ClassFolder(root)}
    first, *others = folders.values()
    for other in others:
        check_same_classes(first, other)
    bad = scan_images(_watched([path for folder in folders.values() for path in folder.paths]))
    if bad:
        listed = _some([f"{path}: {reason}" for path, reason in bad], "; ")
        count = f"{len(bad)} of {sum(map(len, folders.values()))} images"
        raise UserError(f"{count} cannot be read: {listed}")
    return "\n".join(f"{split}: {_counts(folder)}" for split, folder in folders.items())


def _counts(folder: ClassFolder) -> str:
    each = torch.bincount(torch.tensor(folder.targets)).tolist()
    least, most = (f"{n} ({folder.classes[each.index(n)]})" for n in (min(each), max(each)))
    return (
        f"{len(each)} classes, {len(folder)} images, {least} to {most} a class, all readable, "
        f"sha256 {folder.fingerprint()}"
    )


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        deeper = "; give the folder of one split" if _visible_folders(folder) else ""
        raise UserError(f"class folder {folder} has no images ({' '.join(SUFFIXES)}){deeper}")
    return found


def _some(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return separator.join(items[:_NAMED]) + more


def _watched(paths: list[Path]) -> Iterable[Path]:
    with Progress(len(paths), "images read") as progress:
        for step, path in enumerate(paths, start=1):
            yield path
            progress.update(step)
