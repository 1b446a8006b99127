"""Segmentation data in the form of CamVid: a folder of images, a folder of label maps."""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES, read_label_map, read_rgb

# Bad pairs that `check()` explains; it only names the others, to keep its line legible.
_EXPLAINED = 10


class LabelMapFolder:
    """Images `images/<split>/<name>.png` (jpg, ...) and labels `labels/<split>/<name>.png`.

    Items are (image, label map): uint8 RGB (H, W, 3) and uint8 (H, W), classes 0 to
    num_classes - 1 (at most 254), 255 ignored; `ignore_values` in the files are read as 255. Other
    files are passed over. UserError for folders that are missing or empty, names that are not in
    both or in one twice, and ignore values that are also classes.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        num_classes: int,
        ignore_values: tuple[int, ...] = (255,),
    ) -> None:
        if not 1 <= num_classes <= 255:
            raise UserError(f"number of classes must be 1 to 255, got {num_classes}")
        for value in ignore_values:
            if not num_classes <= value <= 255:
                rule = f"must be above the classes 0 to {num_classes - 1}, at most 255"
                raise UserError(f"ignore value {value} {rule}")
        self.root, self.split = Path(root), split
        self.num_classes, self.ignore_values = num_classes, ignore_values
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder; give the folder of the data set")
        images = _files_by_name(self.root / "images" / split)
        labels = _files_by_name(self.root / "labels" / split)
        _require_partners(images, labels, "image", "label map")
        _require_partners(labels, images, "label map", "image")
        self._pairs = {name: (images[name], labels[name]) for name in sorted(images)}

    @property
    def names(self) -> tuple[str, ...]:
        """File names without suffix, sorted."""
        return tuple(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read a pair; UserError names a file that is unreadable or has a wrong size or value."""
        image_path, label_path = self._pairs[self.names[index]]
        image, values = read_rgb(image_path), read_label_map(label_path)
        if image.shape[:2] != values.shape:
            raise UserError(
                f"{label_path}: label map is {values.shape[1]} x {values.shape[0]} pixels, "
                f"its image {image.shape[1]} x {image.shape[0]}; they must be the same size"
            )
        counts = np.bincount(values.ravel(), minlength=256)
        counts[[*range(self.num_classes), *self.ignore_values]] = 0
        if counts.any():
            strange = int(counts.argmax())
            ignored = ", ".join(map(str, self.ignore_values)) or "none"
            raise UserError(
                f"{label_path}: value {strange} ({counts[strange]} pixels) is neither a "
                f"class (0 to {self.num_classes - 1}) nor ignored ({ignored})"
            )
        return image, np.where(values < self.num_classes, values, np.uint8(255))

    def check(self) -> None:
        """Read everything; UserError that explains ten bad pairs and names all others."""
        bad = {}
        for i, name in enumerate(self.names):
            try:
                self[i]
            except UserError as error:
                bad[name] = str(error)
        if bad:
            explained = "; ".join(list(bad.values())[:_EXPLAINED])
            others = list(bad)[_EXPLAINED:]
            more = f"; and {len(others)} more: {', '.join(others)}" if others else ""
            raise UserError(f"{len(bad)} of {len(self)} images cannot be used: {explained}{more}")

    def subset(self, keep: Callable[[str], bool]) -> Self:
        """The images whose name (file name without suffix) is kept; UserError if there is none."""
        part = copy.copy(self)
        part._pairs = {name: pair for name, pair in self._pairs.items() if keep(name)}
        if not part._pairs:
            raise UserError(f"{self.root}: no image of split {self.split!r} has a wanted name")
        return part

    def fingerprint(self) -> str:
        """Sha256 of the files, the number of classes and the ignored values."""
        # Relative to the folder, which may itself be given relative to the working directory.
        files = [path.relative_to(self.root) for pair in self._pairs.values() for path in pair]
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


def _require_partners(
    files: dict[str, Path], partners: dict[str, Path], kind: str, partner: str
) -> None:
    alone = sorted(files.keys() - partners.keys())
    if alone:
        folder = next(iter(partners.values())).parent
        raise UserError(
            f"{files[alone[0]]}: {kind} without {partner} in {folder} "
            f"({len(alone)} of {len(files)} {kind}s lack one)"
        )
