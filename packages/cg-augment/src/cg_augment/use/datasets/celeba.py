"""CelebA from a local folder: blond hair is the class, and gender goes with it.

Layouts, as they are handed out: `list_attr_celeba.csv` and `list_eval_partition.csv` (Kaggle's, and
WILDS's `celebA_v1.0`), or `list_attr_celeba.txt` and `list_eval_partition.txt` (the authors', with
`Anno/`, `Eval/` and `Img/` or without, as torchvision has them), beside `img_align_celeba/`.
Attributes are 1 and -1, splits 0, 1 and 2. The two lists are joined by the name of the file.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Files
from repro_shared.runtime.errors import UserError

Split = Literal["train", "val", "test"]
SPLITS: dict[Split, str] = {"train": "0", "val": "1", "test": "2"}
_NAMED = 3


def celeba(
    root: str | Path, split: Split, target: str = "Blond_Hair", spurious: str = "Male"
) -> Grouped:
    """A split with its groups `blond hair/male` and so on: class, then attribute.

    Args:
        root: the folder.
        split: of the official partition.
        target: attribute that is the class, 0 without and 1 with it.
        spurious: attribute that goes with it.

    Raises:
        UserError: a list or image that is not there, an attribute that the list lacks, other
            values, or a class without pictures.
    """
    folder = Path(root)
    attributes, parts = _lists(folder)
    table = dict(_rows(attributes))
    header = table.pop("")
    columns = []
    for wanted in (target, spurious):
        if wanted not in header:
            raise UserError(f"{attributes} has no attribute {wanted!r}, such as {header[-1]!r}")
        columns.append(header.index(wanted))
    chosen = [name for name, row in _rows(parts) if name and row[0] == SPLITS[split]]
    if lost := [name for name in chosen if name not in table]:
        raise UserError(f"{attributes} lacks {_some(lost)}, which {parts.name} has")
    images = _images(folder)
    there = {entry.name for entry in os.scandir(images)}
    if lost := [name for name in chosen if name not in there]:
        raise UserError(f"{images} lacks {len(lost)} images of {split}: {_some(lost)}")
    values = np.array([[table[name][column] for column in columns] for name in chosen])
    if other := sorted(set(values.flatten()) - {"1", "-1"}):
        raise UserError(f"{attributes}: attributes are 1 and -1, not {_some(other)}")
    classes, kinds = _pair(target), _pair(spurious)
    labels, kind = (values == "1").astype(np.int64).T if len(values) else np.zeros((2, 0), np.int64)
    names = tuple(f"{one}/{other}" for one in classes for other in kinds)
    files = Files(images, [images / name for name in chosen], labels, classes)
    return Grouped(files, 2 * labels + kind, names)


def _lists(folder: Path) -> tuple[Path, Path]:
    for suffix, places in (("csv", ("", "")), ("txt", ("", "")), ("txt", ("Anno", "Eval"))):
        stems = ("list_attr_celeba", "list_eval_partition")
        pair = [folder / p / f"{s}.{suffix}" for p, s in zip(places, stems, strict=True)]
        if pair[0].is_file() and pair[1].is_file():
            return pair[0], pair[1]
    raise UserError(
        f"{folder}: no CelebA here; it needs list_attr_celeba and list_eval_partition, both "
        ".csv or both .txt (.txt also in Anno/ and Eval/), and img_align_celeba/"
    )


def _images(folder: Path) -> Path:
    for place in ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba"):
        if (folder / place).is_dir():  # Kaggle's archive has the folder twice
            return folder / place
    raise UserError(f"{folder} has no img_align_celeba/ with the images")


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Name of the file and values; the row of the header, if there is one, has the name ""."""
    with path.open(encoding="utf-8", newline="") as handle:
        if path.suffix == ".csv":
            reader = csv.reader(handle)
            yield "", next(reader, [""])[1:]
            for row in reader:
                if len(row) > 1:
                    yield row[0], [value.strip() for value in row[1:]]
            return
        for number, line in enumerate(handle):
            cells = line.split()
            if number == 0 and len(cells) == 1:
                continue  # how many there are
            if cells and not cells[0].lower().endswith((".jpg", ".png")):
                yield "", cells
            elif len(cells) > 1:
                yield cells[0], cells[1:]


def _pair(attribute: str) -> tuple[str, str]:
    words = attribute.replace("_", " ").lower()
    return f"not {words}", words


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more
