"""Data sets by the name that a user types, with their groups."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cg_augment.use.datasets.celeba import celeba
from cg_augment.use.datasets.elpv import elpv
from cg_augment.use.datasets.spuco_birds import spuco_birds
from cg_augment.use.grouped import Grouped, grouped_folder
from cg_augment.use.pictures import of_folder
from repro_shared.datasets.class_folders import SCORED, TRAIN, find_split
from repro_shared.runtime.errors import UserError

Kind = Literal["folders", "groups", "celeba", "spuco-birds", "elpv"]
Split = Literal["train", "val", "test"]


def grouped_source(kind: Kind, data: str, split: Split, classes: tuple[str, ...] = ()) -> Grouped:
    """A split of a data set.

    Args:
        kind: `folders`, class folders, where each class is a group; `groups`, class folders that
            hold group folders; or a data set in its original layout.
        data: the folder; for class folders one that holds the splits (train/, val/, test/ or their
            usual other names), or the class folders themselves. For `elpv` it may be empty.
        split: which part.
        classes: wanted, in this order; of class folders.

    Raises:
        UserError: as the readers.
    """
    if kind == "celeba":
        return celeba(data, split)
    if kind == "spuco-birds":
        return spuco_birds(data, split)
    if kind == "elpv":
        return elpv(data or None, "train" if split == "train" else "test")
    if kind not in get_args(Kind):
        raise UserError(f"unknown data set {kind!r}: {', '.join(get_args(Kind))}")
    if not Path(data).is_dir():
        raise UserError(f"{data or '--data'}: no such folder")
    names = TRAIN if split == "train" else (split, *(name for name in SCORED if name != split))
    folder = Path(data) / find_split(data, names)
    if kind == "groups":
        return grouped_folder(folder, classes)
    pictures = of_folder(folder, None, classes)
    return Grouped(pictures, np.asarray(pictures.targets), pictures.classes)
