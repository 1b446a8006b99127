"""Segmentation data in the form of CamVid: a folder of images, a folder of label maps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES, read_label_map, read_rgb

IGNORE = 255

# Bad pairs that `check()` explains; it only names the others, to keep its line legible.
_EXPLAINED = 10

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class LabelMapFolder(Sequence[Sample]):
    """Images `<image_dir>/<split>/<name>.png` (jpg, ...), labels `<label_dir>/<split>/<name>.png`.

    Items are (image, label map): uint8 RGB (H, W, 3) and uint8 (H, W), classes 0 to
    num_classes - 1, 255 ignored. Files whose names end in no image suffix, and hidden files, are
    passed over; every image needs its label map and every label map its image.

    Args:
        root: The data set's folder.
        split: Name of the sub-folder, say "train".
        num_classes: 1 to 255.
        ignore_values: Values in the files that mean "not labelled"; read as 255.
        image_dir: Folder of the images.
        label_dir: Folder of the label maps.

    Raises:
        UserError: A folder that is missing or empty, an image without label map, a label map
            without image, two images of one name, or ignore values that are also classes.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        num_classes: int,
        ignore_values: tuple[int, ...] = (IGNORE,),
        image_dir: str = "images",
        label_dir: str = "labels",
    ) -> None:
        if not 1 <= num_classes <= 255:
            raise UserError(f"number of classes must be 1 to 255, got {num_classes}")
        for value in ignore_values:
            if not num_classes <= value <= 255:
                raise UserError(
                    f"ignore value {value} must be above the classes 0 to {num_classes - 1}, "
                    "at most 255"
                )
        self.root = Path(root)
        self.split = split
        self.num_classes = num_classes
        self.ignore_values = ignore_values
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder; give the folder of the data set")
        self._images = _files_by_name(self.root / image_dir / split)
        self._labels = _files_by_name(self.root / label_dir / split)
        _check_pairs(self._images, self._labels)
        self.names: tuple[str, ...] = tuple(sorted(self._images))
        # Value in the file -> label; values that may not occur are caught before.
        self._mapping = np.full(256, IGNORE, np.uint8)
        self._mapping[:num_classes] = np.arange(num_classes)
        self._allowed = np.zeros(256, np.bool_)
        self._allowed[[*range(num_classes), *ignore_values]] = True

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Read image and label map `index`; a slice gives a list.

        Raises:
            UserError: An unreadable file, sizes that differ, or a value that is neither a class
                nor ignored; the line names the file.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        image_path, label_path = self.paths(self.names[index])
        image, values = read_rgb(image_path), read_label_map(label_path)
        if image.shape[:2] != values.shape:
            raise UserError(
                f"{label_path}: label map is {values.shape[1]} x {values.shape[0]} pixels, "
                f"its image {image.shape[1]} x {image.shape[0]}; they must be the same size"
            )
        counts = np.bincount(values.ravel(), minlength=256)
        strange = np.flatnonzero((counts > 0) & ~self._allowed)
        if len(strange):
            ignored = ", ".join(map(str, self.ignore_values)) or "none"
            raise UserError(
                f"{label_path}: value {strange[0]} ({counts[strange[0]]} pixels) is neither a "
                f"class (0 to {self.num_classes - 1}) nor ignored ({ignored})"
            )
        return image, self._mapping[values]

    def paths(self, name: str) -> tuple[Path, Path]:
        """Image file and label map file of a name."""
        return self._images[name], self._labels[name]

    def problems(self) -> list[str]:
        """Read everything; one line for each pair that cannot be used, in order of names."""
        return list(self._bad_pairs().values())

    def check(self) -> None:
        """Read everything, and refuse the data if anything is wrong.

        Raises:
            UserError: How many pairs are bad, what is wrong with the first ten, and the names of
                all others.
        """
        bad = self._bad_pairs()
        if bad:
            explained = "; ".join(list(bad.values())[:_EXPLAINED])
            others = ", ".join(list(bad)[_EXPLAINED:])
            more = f"; and {len(bad) - _EXPLAINED} more: {others}" if others else ""
            raise UserError(f"{len(bad)} of {len(self)} images cannot be used: {explained}{more}")

    def _bad_pairs(self) -> dict[str, str]:
        """Name of each pair that cannot be used -> what is wrong with it."""
        bad = {}
        for i, name in enumerate(self.names):
            try:
                self[i]
            except UserError as error:
                bad[name] = str(error)
        return bad

    def subset(self, keep: Callable[[str], bool]) -> LabelMapFolder:
        """The images whose name (file name without suffix) is kept, say a held-out sequence.

        Raises:
            UserError: No image is kept.
        """
        part = object.__new__(LabelMapFolder)
        part.__dict__.update(self.__dict__)
        part.names = tuple(name for name in self.names if keep(name))
        if not part.names:
            raise UserError(f"{self.root}: no image of split {self.split!r} has a wanted name")
        return part

    def fingerprint(self) -> str:
        """Sha256 of the files, the number of classes and the ignored values."""
        # Relative to the folder, which may itself be given relative to the working directory.
        files = [path.relative_to(self.root) for name in self.names for path in self.paths(name)]
        content = fingerprint_folder(self.root, files)
        key = f"{content} classes {self.num_classes} ignored {sorted(self.ignore_values)}"
        return hashlib.sha256(key.encode()).hexdigest()


def _files_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the images or label maps of the split")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in files:
            raise UserError(f"{path}: same name as {files[path.stem].name}; keep one of them")
        files[path.stem] = path
    if not files:
        raise UserError(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    return files


def _check_pairs(images: dict[str, Path], labels: dict[str, Path]) -> None:
    unlabelled = sorted(images.keys() - labels.keys())
    if unlabelled:
        folder = next(iter(labels.values())).parent
        raise UserError(
            f"{images[unlabelled[0]]}: image without label map in {folder} "
            f"({len(unlabelled)} of {len(images)} images lack one)"
        )
    orphans = sorted(labels.keys() - images.keys())
    if orphans:
        folder = next(iter(images.values())).parent
        raise UserError(
            f"{labels[orphans[0]]}: label map without image in {folder} "
            f"({len(orphans)} of {len(labels)} label maps lack one)"
        )
