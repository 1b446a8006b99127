"""Proposals as columns in a .npz file: what `ofds propose` writes, for pools of any size.

The same checks, repairs and refusals as for a COCO list of results (`coco.read_proposals`), on
whole columns.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Ints
from ofds.use.dataset import Dataset, Entry, Objects
from ofds.use.mask_column import Masks
from ofds.use.masks import extent
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import publish, temporary_file

KINDS = {"image": "iu", "label": "iu", "score": "f", "box": "f", "area": "f"}
MASKS = {"mask": "u", "mask_end": "iu"}
LARGE = 1e15  # what is not below it is no number
Flags = NDArray[np.bool_]
Book = Callable[[str, Flags], None]


@dataclass(frozen=True)
class Entries(Sequence[Entry]):
    """COCO results of a table's rows, each made when it is asked for.

    Attributes:
        dataset: that the rows belong to.
        columns: of the rows that were kept, see `read_table`.
        row: (n,) their places in the file.
        masks: of all rows of the file.
        masked: (n,) which have a mask that can be used.
    """

    dataset: Dataset
    columns: dict[str, NDArray[Any]]
    row: Ints
    masks: Masks | None
    masked: Flags

    def __len__(self) -> int:
        return len(self.row)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        own, row = {name: column[place] for name, column in self.columns.items()}, self.row[place]
        image = self.dataset.images[own["image"]]
        entry: Entry = {
            "image_id": image.id,
            "category_id": self.dataset.categories[own["label"]].id,
            "bbox": own["box"].tolist(),
            "score": float(own["score"]),
            "area": float(own["area"]),
        }
        if self.masks and self.masked[place]:
            counts = self.masks[int(row)]
            entry["segmentation"] = {"size": [image.height, image.width], "counts": counts}
        return entry


def write_table(
    path: str | Path, objects: Objects, masks: Sequence[str | bytes | None] | None = None
) -> None:
    """Write proposals as a table; a file that is there gives way once the new one is complete.

    Args:
        path: ends in .npz.
        objects: proposals, all of them kept.
        masks: (n,) compressed run lengths (`counts` of pycocotools) of each; None or empty for one
            without a mask.

    Raises:
        ValueError: another number of masks than of objects.
    """
    columns: dict[str, NDArray[Any]] = {
        "image": objects.image.astype(np.int64),
        "label": objects.label.astype(np.int64),
        "score": objects.score.astype(np.float32),
        "box": objects.box.astype(np.float32),
        "area": objects.area.astype(np.float32),
    }
    if masks is not None:
        if len(masks) != len(objects):
            raise ValueError(f"{len(masks)} masks for {len(objects)} objects")
        joined = Masks.of(masks)
        columns |= {"mask": joined.text, "mask_end": joined.end}
    target = Path(path)
    with temporary_file(target.parent, target.name) as (temporary, handle):
        np.savez(handle, allow_pickle=False, **columns)
        publish(handle, temporary, target)


def read_table(path: str | Path, dataset: Dataset, repairs: Repairs) -> tuple[Objects, int]:
    """Read proposals on the images of a data set, and how many rows the table has.

    Args:
        path: .npz with the columns `image` and `label` (n,) places in the data set's lists, `score`
            (n,) 0 to 1, `box` (n, 4) x, y, width, height in pixels, `area` (n,); optional: `mask`,
            all compressed run lengths in one, and `mask_end` (n,) where each ends.
        dataset: its images and classes.
        repairs: books what is put right or left out.

    Raises:
        UserError: no such table, a class that the data set has not, scores that are not 0 to 1.
    """
    path = Path(path)
    columns, masks = _columns(path)
    image, label, score = columns["image"], columns["label"], columns["score"].astype(np.float64)
    total, classes = len(image), len(dataset.categories)

    def book(reason: str, rows: Flags) -> None:
        if rows.any():
            names = (repr(dataset.images[place].name) for place in np.unique(image[rows]))
            repairs.add(reason, min(names), int(rows.sum()))

    def refuse(what: str, column: NDArray[Any], rows: Flags, why: str) -> None:
        if rows.any():
            row = int(rows.argmax())
            raise UserError(f"{path}: result {row} (from 0) has {what} {column[row]:g}; {why}")

    refuse("label", label, (label < 0) | (label >= classes), f"the classes are 0 to {classes - 1}")
    listed = (image >= 0) & (image < len(dataset.images))
    if not listed.all():
        lost = image[~listed]
        repairs.add("dropped: on an image that is not listed", f"place {lost.min()}", len(lost))
    odd = listed & ~(np.abs(score) < LARGE)
    refuse("score", score, listed & ~odd & ~((score >= 0) & (score <= 1)), "scores must be 0 to 1")
    book("dropped: score that is not a number", odd)
    sizes = np.array([(each.width, each.height) for each in dataset.images], np.float64)
    size = sizes[np.where(listed, image, 0)]
    box, area = columns["box"].astype(np.float64), columns["area"].astype(np.float64)
    masked = _masked(masks, size, listed, book)
    kept = _placed(box, area, masked, masks, size, listed, book)
    kept &= ~odd
    kept &= ~_again(kept, (image, label, score, box), book)
    if total and not listed.any():
        raise UserError(f"{path}: no image, such as place {image[0]}, is one listed")
    row = np.flatnonzero(kept)
    used = {"image": image[row], "label": label[row], "score": score[row],
            "box": box[row], "area": area[row]}  # fmt: skip
    shown = masks if masks and (masked[row] > 0).any() else None
    entries = Entries(dataset, used, row, shown, masked[row] > 0)
    return Objects(**used, crowd=np.zeros(len(row), bool), row=row, id=(), entries=entries), total


def _columns(path: Path) -> tuple[dict[str, NDArray[Any]], Masks | None]:
    """The columns of a table, of the kinds and the lengths that they must have."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            found = {name: file[name] for name in (*KINDS, *MASKS) if name in file.files}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path}: no .npz file of columns, or a damaged one") from None
    if missing := [name for name in KINDS if name not in found]:
        raise UserError(f"{path}: no column {missing[0]!r}; a table has {', '.join(KINDS)}")
    n = found["image"].size
    for name, column in found.items():
        kinds = (KINDS | MASKS)[name]
        if column.dtype.kind not in kinds:
            raise UserError(f"{path}: column {name!r} holds {column.dtype}")
        shape = column.shape if name == "mask" else (n, 4) if name == "box" else (n,)
        if column.shape != shape or column.ndim != len(shape):
            raise UserError(f"{path}: column {name!r} has shape {column.shape}, not {shape}")
        if column.dtype.kind in "iu" and name != "mask":
            found[name] = column.astype(np.int64)
    if not {*MASKS} <= found.keys():
        return found, None
    masks = Masks(found["mask"].reshape(-1).astype(np.uint8), found["mask_end"])
    ends = np.append(0, masks.end)
    if (np.diff(ends) < 0).any() or ends[-1] != len(masks.text):
        raise UserError(f"{path}: column 'mask_end' does not fit the length of 'mask'")
    return found, masks


def _masked(masks: Masks | None, size: NDArray[Any], listed: Flags, book: Book) -> NDArray[Any]:
    """(n,) pixels of each mask that can be used, else 0."""
    if masks is None:
        return np.zeros(len(listed))
    area = masks.areas(size)
    given = masks.given & listed
    known = size[:, 0] > 0
    book("mask left out: the size of its image is not known", given & ~known)
    book("mask left out: run lengths that do not add up to the mask's size",
         given & known & (area < 0))  # fmt: skip
    return np.where(given & known, np.maximum(area, 0), 0)


def _placed(
    box: NDArray[np.float64], area: NDArray[np.float64], masked: NDArray[Any],
    masks: Masks | None, size: NDArray[Any], listed: Flags, book: Book,
) -> Flags:  # fmt: skip
    """Put boxes and areas inside their images, in place; (n,) which rows have one."""
    four = (np.abs(box) < LARGE).all(axis=1)
    book("box left out: not four finite numbers", listed & ~four)
    box[~four] = 0
    flat = (box[:, 2:] <= 0).any(axis=1)
    book("box missing: taken from the mask", listed & flat & (masked > 0))
    for row in np.flatnonzero(listed & flat & (masked > 0)):
        assert masks is not None
        width, height = (int(side) for side in size[row])
        found = extent({"size": [height, width], "counts": masks[int(row)]})
        assert found is not None
        box[row] = found.box
    none = listed & flat & (masked == 0)
    book("dropped: box of zero size and no mask", none & four)
    book("dropped: no box and no mask", none & ~four)
    kept = listed & ~none
    given = (area > 0) & (area < LARGE)
    area[~given] = np.where(masked > 0, masked, box[:, 2] * box[:, 3])[~given]
    known = kept & (size[:, 0] > 0)
    low = np.clip(box[:, :2], 0, size)
    high = np.minimum(box[:, :2] + box[:, 2:], size)
    outside = known & (high <= low).any(axis=1)
    book("dropped: box outside its image", outside)
    cut = (low != box[:, :2]) | (high < box[:, :2] + box[:, 2:])
    cut = known & ~outside & cut.any(axis=1)
    book("box that reaches outside its image: clipped", cut)
    box[cut] = np.concatenate([low, high - low], axis=1)[cut]
    area[cut] = np.minimum(area, box[:, 2] * box[:, 3])[cut]
    return kept & ~outside


def _again(kept: Flags, columns: tuple[NDArray[Any], ...], book: Book) -> Flags:
    """(n,) which rows repeat an earlier one that is kept, to the last digit."""
    rows = np.flatnonzero(kept)
    image, label, score, box = (column[rows] for column in columns)
    order = np.lexsort((score, label, image))
    ties = np.ones(max(len(rows) - 1, 0), bool)
    for column in (image, label, score):
        ties &= column[order][1:] == column[order][:-1]
    close = np.sort(order[np.append(ties, False) | np.append(False, ties)[: len(order)]])
    again = np.zeros(len(kept), bool)
    if len(close):
        whole = np.column_stack([each[close] for each in (image, label, score, box)])
        first = np.unique(whole, axis=0, return_index=True)[1]
        again[rows[np.delete(close, first)]] = True
        book("dropped: the same box, class and score on an image again", again)
    return again
