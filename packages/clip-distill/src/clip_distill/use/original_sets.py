"""The paper's six data sets as their authors hand them out, read through torchvision.

`pets:ROOT` is the test split below a folder, `pets-train:ROOT` all that torchvision has besides it.
Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clip_distill.use.contents import remembered
from clip_distill.use.preprocessing import Pixels
from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import sha256_bytes
from repro_shared.runtime.images import open_image, read_rgb

SetName = Literal["pets", "flowers", "cars", "food", "aircraft", "textures"]


@dataclass(frozen=True)
class Layout:
    """Where a data set's parts lie.

    Attributes:
        title: as the paper's numbers have it.
        reader: name of torchvision's class.
        folder: that torchvision looks for below the root.
        train: its splits that are not the test split.
        holds: what must lie in the folder, for messages.
    """

    title: str
    reader: str
    folder: str
    train: tuple[str, ...]
    holds: str


LAYOUTS: dict[str, Layout] = {
    "pets": Layout("Oxford Pets", "OxfordIIITPet", "oxford-iiit-pet", ("trainval",),
                   "images, annotations"),
    "flowers": Layout("Flowers-102", "Flowers102", "flowers-102", ("train", "val"),
                      "jpg, imagelabels.mat, setid.mat"),
    "cars": Layout("Stanford Cars", "StanfordCars", "stanford_cars", ("train",),
                   "cars_test, cars_test_annos_withlabels.mat, cars_train, devkit"),
    "food": Layout("Food-101", "Food101", "food-101", ("train",), "images, meta"),
    "aircraft": Layout("FGVC Aircraft", "FGVCAircraft", "fgvc-aircraft-2013b",
                       ("trainval",), "data/images, data/variants.txt, data/images_variant_*.txt"),
    "textures": Layout("DTD", "DTD", "dtd", ("train", "val"), "dtd/images, dtd/labels"),
}  # fmt: skip


class OriginalSet:
    """A split of one of the six sets, with the names that torchvision has for its classes.

    Args:
        name: one of `LAYOUTS`.
        root: the folder that holds the set's own folder, or that one itself.
        train: all but the test split.

    Raises:
        UserError: the set, a part of it or pictures are not there.
    """

    names_from = "torchvision"

    def __init__(self, name: str, root: str | Path, train: bool = False) -> None:
        layout, place = LAYOUTS[name], Path(root)
        if place.name == layout.folder and not (place / layout.folder / layout.folder).is_dir():
            place = place.parent  # DTD's own folder holds another `dtd`
        self.where, self.root = f"{name}:{root}", place / layout.folder
        paths, targets, self.classes = list[Path](), list[int](), tuple[str, ...]()
        for split in layout.train if train else ("test",):
            found = _opened(layout, place, split)
            there, labels = _listed(found)
            paths, targets = [*paths, *there], [*targets, *labels]
            self.classes = tuple(map(str, found.classes))
        if lacking := [path for path in paths if not path.is_file()]:
            raise UserError(f"{lacking[0]}: no such file ({len(lacking)} of {len(paths)} pictures)")
        self.paths = tuple(paths)
        self.targets: Sequence[int] = tuple(targets)
        self.ids: Sequence[str] = tuple(path.relative_to(self.root).as_posix() for path in paths)
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Pixels:
        """One picture."""
        return read_rgb(self.paths[index])

    def caption(self, index: int) -> str:
        """None of the sets has captions."""
        raise UserError(f"{self.where} has no captions")

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """Where the object is, (h, w): the trimap of Oxford Pets, its border counted in."""
        path = self.root / "annotations" / "trimaps" / f"{self.paths[index].stem}.png"
        if not path.is_file():
            return None
        return np.asarray(open_image(path).convert("L")) != 2  # the ground; 1 pet, 3 border

    def fingerprint(self) -> str:
        """Of the pictures and their classes, read once."""
        if not self._fingerprint:
            with remembered() as content:
                files = fingerprint_folder(self.root, self.ids, content)
            key = repr((files, self.classes, list(zip(self.ids, self.targets, strict=True))))
            self._fingerprint = sha256_bytes(key.encode())
        return self._fingerprint


def original_of(data: str) -> OriginalSet | None:
    """The set that `pets:ROOT` or `pets-train:ROOT` names; None for other forms."""
    name, colon, root = data.partition(":")
    base = name.removesuffix("-train")
    if not colon or base not in LAYOUTS:
        return None
    if not root:
        raise UserError(f"{data}: give the folder that holds {LAYOUTS[base].folder}")
    return OriginalSet(base, root, train=name != base)


def set_of(data: str) -> SetName | None:
    """Which of the six sets a name on the command line is of."""
    base = data.partition(":")[0].removesuffix("-train")
    return base if ":" in data and base in LAYOUTS else None  # type: ignore[return-value]


def _opened(layout: Layout, place: Path, split: str) -> Any:
    from torchvision import datasets

    folder = place / layout.folder
    if not folder.is_dir():
        raise UserError(f"{place}: no folder {layout.folder} here; nothing is downloaded")
    # Where a class takes a loader, it is given the paths instead of the pictures.
    loader = {} if layout.reader == "OxfordIIITPet" else {"loader": Path}
    try:
        return getattr(datasets, layout.reader)(place, split=split, download=False, **loader)
    except Exception as error:  # each of the files has its own way of failing
        said = one_line(str(error)).partition(" You can use")[0]
        raise UserError(
            f"{folder}: no whole copy of {layout.title} ({type(error).__name__}: {said[:160]}); "
            f"it holds {layout.holds}"
        ) from None


def _listed(found: Any) -> tuple[list[Path], list[int]]:
    """Paths and classes of a torchvision data set, without opening a picture."""
    if hasattr(found, "_images"):  # OxfordIIITPet, which takes no loader
        return list(map(Path, found._images)), list(map(int, found._labels))
    pairs = [found[index] for index in range(len(found))]
    return [path for path, _ in pairs], [int(target) for _, target in pairs]
