"""ELPV solar cells: defects are the class, and the kind of the module goes with it.

2,624 electroluminescence images of 300 x 300 pixels, each with a probability of a defect and mono-
or polycrystalline (Deitsch et al., Solar Energy 185, 2019; CC BY-NC-SA 4.0). From the package
`elpv-dataset`, which brings the images (`pip install 'cg-augment[elpv]'`), or from a folder with
`labels.csv` and `images/`. No claim rests on it: too few cells are in the smaller groups. There is
no official split, and cells of one module may lie on both sides of ours.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Files
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed

Split = Literal["train", "test"]
CLASSES, KINDS = ("functional", "defective"), ("mono", "poly")
DEFECTIVE = 0.5  # probability from which a cell counts as defective; there are 0, 1/3, 2/3 and 1
TESTED = 4  # one cell of so many, in each group, is for testing


def elpv(root: str | Path | None, split: Split) -> Grouped:
    """A split with its groups `functional/mono`, ...; a quarter of each group is for testing.

    Args:
        root: folder with `labels.csv`; None for the installed package.
        split: which cells.

    Raises:
        UserError: neither folder nor package, or a line of another form.
    """
    folder = _package() if root is None else Path(root)
    labels = folder / "labels.csv"
    if not labels.is_file():
        raise UserError(f"{labels}: no such file; give a folder with labels.csv and images/")
    names = tuple(f"{one}/{other}" for one in CLASSES for other in KINDS)
    cells = list[tuple[str, int]]()
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            place, probability, kind = line.split()
            defective, group = float(probability) >= DEFECTIVE, KINDS.index(kind)
        except ValueError:
            raise UserError(
                f"{labels}, line {number}: needs file, probability and mono or poly"
            ) from None
        cells.append((place, 2 * int(defective) + group))
    if lost := [place for place, _ in cells if not (folder / place).is_file()]:
        raise UserError(f"{folder} lacks {len(lost)} images of labels.csv, such as {lost[0]}")
    kept = list[tuple[str, int]]()
    for group in range(len(names)):
        own = sorted(
            (place for place, other in cells if other == group),
            key=lambda place: derive_seed("elpv", Path(place).name),
        )
        tested = {*own[: len(own) // TESTED]}
        kept += [(place, group) for place in own if (place in tested) == (split == "test")]
    kept.sort()
    groups = np.array([group for _, group in kept], np.int64)
    files = Files(folder, [folder / place for place, _ in kept], groups // 2, CLASSES)
    return Grouped(files, groups, names)


def _package() -> Path:
    found = find_spec("elpv_dataset")
    if found is None or not found.origin:
        raise UserError(
            "ELPV needs: pip install 'cg-augment[elpv]' (90 MB, CC BY-NC-SA), or a folder with "
            "labels.csv and images/"
        )
    return Path(found.origin).parent / "data"
