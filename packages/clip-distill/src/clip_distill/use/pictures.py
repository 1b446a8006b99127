"""Pictures to learn from or to be scored on: folders, with classes, captions or neither."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from clip_distill.use.contents import remembered
from clip_distill.use.preprocessing import Pixels
from repro_shared.datasets.class_folders import ClassFolder
from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.images import FORMATS, MAX_PIXELS, SUFFIXES, read_rgb


class Pictures(Protocol):
    """What caches, training and evaluation read.

    Attributes:
        where: for messages.
        ids: of the samples, each once; they decide the views together with the fingerprint.
        classes: names of the classes; empty without classes.
        targets: each sample's class; empty without classes.
    """

    where: str
    ids: Sequence[str]
    classes: tuple[str, ...]
    targets: Sequence[int]

    def __len__(self) -> int:
        """How many."""
        ...

    def read(self, index: int) -> Pixels:
        """One picture, uint8 (h, w, 3)."""
        ...

    def caption(self, index: int) -> str:
        """Its caption; UserError where it has none."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of all that is read."""
        ...


class Folder:
    """Pictures below a folder, in class folders or not; captions are `.txt` files beside them.

    Args:
        root: the folder.
        classes: whether its sub-folders are classes.

    Raises:
        UserError: no such folder, no pictures, or no class folders.
    """

    def __init__(self, root: str | Path, classes: bool = True) -> None:
        self.where = str(root)
        self.ids: Sequence[str] = ()
        self.classes: tuple[str, ...] = ()
        self.targets: Sequence[int] = ()
        self._sorted: ClassFolder | None = None
        self._fingerprint = ""
        if classes:
            self._sorted = ClassFolder(root)
            self.root, self.paths = self._sorted.folder, self._sorted.paths
            self.classes, self.targets = self._sorted.classes, self._sorted.targets
        else:
            self.root = Path(root)
            if not self.root.is_dir():
                raise UserError(f"{root}: no such folder")
            self.paths = tuple(
                path for path in sorted(self.root.rglob("*"))
                if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
            )  # fmt: skip
        if not self.paths:
            raise UserError(f"{root}: no pictures ({', '.join(SUFFIXES)})")
        self.ids = tuple(path.relative_to(self.root).as_posix() for path in self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Pixels:
        """One picture."""
        return read_rgb(self.paths[index])

    def caption(self, index: int) -> str:
        """What the text file beside it says."""
        path = self.paths[index].with_suffix(".txt")
        try:
            text = " ".join(path.read_text(encoding="utf-8").split())
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{path}: not a text file in UTF-8") from None
        if not text:
            have = sum(each.with_suffix(".txt").is_file() for each in self.paths)
            raise UserError(
                f"{self.paths[index]} has no caption ({path.name}); of {len(self)} pictures {have} "
                "have one: add the others, or take --text classes"
            )
        return text

    def fingerprint(self) -> str:
        """Of the files and, in class folders, the classes; read once. Captions are not in it."""
        if not self._fingerprint:
            with remembered() as content:
                if self._sorted is not None:
                    self._fingerprint = self._sorted.fingerprint(content)
                else:
                    names = [path.relative_to(self.root) for path in self.paths]
                    self._fingerprint = fingerprint_folder(self.root, names, content)
        return self._fingerprint


def decode(data: bytes, where: str) -> Pixels:
    """A picture from the bytes of its file, uint8 (h, w, 3), upright.

    Raises:
        UserError: not a picture, a damaged one, or one that is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{where}: more than {MAX_PIXELS:,} pixels")
                upright = ImageOps.exif_transpose(image)
                return np.array(upright.convert("RGB"))
    except UserError:
        raise
    except Exception as error:  # decoders fail in many ways
        reason = one_line(str(error))[:120] or type(error).__name__
        raise UserError(f"{where}: truncated or damaged image ({reason})") from None


def check_same_names(given: Sequence[str], wanted: Sequence[str], where: str, what: str) -> None:
    """UserError, with names, unless both hold the same classes in any order."""
    extra, lacking = ([n for n in one if n not in set(two)] for one, two in
                      ((given, wanted), (wanted, given)))  # fmt: skip
    problems = [f"{len(names)} {word}, such as {names[0]!r}" for word, names in
                (("not in the list", extra), ("without a folder", lacking)) if names]  # fmt: skip
    if problems:
        raise UserError(f"{where}: classes differ from {what}: {'; '.join(problems)}")
