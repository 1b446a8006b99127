"""SpuCo Birds from a local folder: land and water birds before land and water.

Layout of the authors' archive: `spuco_birds/{train,val,test}/{landbirds,waterbirds}/{land,water}/`.
The authors resize to 256 x 256 and cut 224 x 224 from the centre, whatever the picture's shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Files
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES
from repro_shared.runtime.progress import say

Split = Literal["train", "val", "test"]
BIRDS, PLACES = ("landbirds", "waterbirds"), ("land", "water")
SIZES: dict[Split, tuple[int, ...]] = {
    "train": (10_000, 500, 500, 10_000),
    "val": (500, 25, 25, 500),
    "test": (500, 500, 500, 500),
}
"""Pictures of each group in the published set, as the authors' code checks them."""


def spuco_birds(root: str | Path, split: Split) -> Grouped:
    """A split with its groups `landbirds/land`, `landbirds/water`, ...; class, then place.

    Other numbers of pictures than the published ones are said on stderr.

    Raises:
        UserError: a folder that is not there, or a class without pictures.
    """
    folder = Path(root)
    if (folder / "spuco_birds").is_dir():
        folder = folder / "spuco_birds"
    paths, groups = list[Path](), list[int]()
    names = tuple(f"{bird}/{place}" for bird in BIRDS for place in PLACES)
    for number, name in enumerate(names):
        place = folder / split / name
        if not place.is_dir():
            raise UserError(
                f"{place}: no such folder; SpuCo Birds has "
                "{train,val,test}/{landbirds,waterbirds}/{land,water}/"
            )
        found = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
        paths += found
        groups += [number] * len(found)
    labels = np.asarray(groups, np.int64)
    made = Grouped(Files(folder / split, paths, labels // 2, BIRDS), labels, names)
    if made.sizes != SIZES[split]:
        say(f"{folder / split}: groups of {made.sizes}; the published set has {SIZES[split]}")
    return made
