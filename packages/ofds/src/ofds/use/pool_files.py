"""Where a pool lies: a folder as `ofds propose` writes it, or its files one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ofds.use.coco import read_dataset, read_proposals
from ofds.use.dataset import Dataset, Objects
from ofds.use.repairs import Repairs
from ofds.use.table import read_table
from repro_shared.runtime.errors import UserError

NAMES = {"images": "images.json", "proposals": "proposals.npz", "features": "features.npy"}


@dataclass(frozen=True)
class PoolFiles:
    """Images, the objects proposed on them, and their features.

    Attributes:
        pool: folder with images.json, proposals.npz and features.npy, as `ofds propose` writes it;
            a file that is named beside it counts instead of the folder's.
        images: COCO file with the images and the classes; its annotations are not read.
        proposals: COCO results (image_id, category_id, bbox, score) or a COCO file with scores as
            .json, or a table of proposals as .npz.
        features: .npy, a row for each proposal in their order, float16 or float32.
    """

    pool: str = ""
    images: str = ""
    proposals: str = ""
    features: str = ""

    def found(self, *needed: str) -> PoolFiles:
        """The same with every file named; UserError if one that is needed is not given.

        Args:
            needed: of `images`, `proposals`, `features`; all three by default.
        """
        if self.pool and not Path(self.pool).is_dir():
            raise UserError(f"--pool {self.pool}: no such folder")
        named = {name: getattr(self, name) for name in NAMES}
        if self.pool:
            named = {n: given or str(Path(self.pool) / NAMES[n]) for n, given in named.items()}
        for name in needed or NAMES:
            if not named[name]:
                others = ", ".join(f"--{each}" for each in needed or NAMES)
                raise UserError(f"--{name} is missing; give --pool DIR, or {others}")
        return replace(self, **named)

    def dataset(self, repairs: Repairs) -> Dataset:
        """Images and classes."""
        return read_dataset(self.found("images").images, repairs, annotations=False)

    def objects(self, dataset: Dataset, repairs: Repairs) -> tuple[Objects, int]:
        """Proposals that can be used, and how many the file has."""
        path = self.found("proposals").proposals
        read = read_table if Path(path).suffix.lower() == ".npz" else read_proposals
        return read(path, dataset, repairs)
