"""Size and extent of masks as COCO stores them: polygons, run lengths as list, text or bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

LARGE = 1e15  # what is not below it is no place in an image


class Extent(NamedTuple):
    """Pixels of a mask and the box around it: x, y, width, height."""

    area: float
    box: tuple[float, float, float, float]


def extent(segmentation: Any, size: tuple[int, int] | None = None) -> Extent | None:
    """Area and box of a COCO segmentation; None where it holds nothing.

    Args:
        segmentation: a list of polygons, flat x, y, x, y, ...; or `{"size": [height, width],
            "counts": ...}` with run lengths as a list, or compressed as text or bytes.
        size: height and width of the image, which run lengths must have; None if not known.

    Raises:
        ValueError: damaged, or of another size.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _of_runs(*runs(segmentation, size))
    if not isinstance(segmentation, list):
        raise ValueError("neither polygons nor run lengths")
    if not isinstance(segmentation[0], list):
        segmentation = [segmentation]  # one polygon without the list around it
    return _of_polygons(segmentation)


def runs(
    mask: dict[str, Any], size: tuple[int, int] | None = None
) -> tuple[NDArray[np.int64], int]:
    """Run lengths, background first, down the columns; and the height of the mask. ValueError."""
    try:
        height, width = (int(side) for side in mask["size"])
        counts = mask["counts"]
        if isinstance(counts, str | bytes):
            counts = uncompressed(counts)
        lengths = np.array(counts, np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        raise ValueError("damaged run lengths") from None
    if height < 1 or width < 1 or (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError("run lengths that do not add up to the mask's size")
    if size and size != (height, width):
        raise ValueError("a mask of another size than its image")
    return lengths, height


def uncompressed(text: str | bytes) -> list[int]:
    """Run lengths from COCO's text: 5 bits a character, from the third on as differences.

    Raises:
        IndexError: the text ends within a number.
    """
    data = text.encode() if isinstance(text, str) else text
    found, place = list[int](), 0
    while place < len(data):
        value = shift = 0
        while True:
            bits = data[place] - 48
            place += 1
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                break
        if bits & 16:
            value -= 1 << shift
        found.append(value + found[-2] if len(found) > 2 else value)
    return found


def _of_runs(lengths: NDArray[np.int64], height: int) -> Extent | None:
    ends = np.cumsum(lengths)[1::2]
    first, last = ends - lengths[1::2], ends - 1
    kept = last >= first
    first, last = first[kept], last[kept]
    if not len(first):
        return None
    x0, x1 = first // height, last // height
    # A run that goes on in the next column touches the bottom of one and the top of the other.
    y0 = int(np.where(x1 > x0, 0, first % height).min())
    y1 = int(np.where(x1 > x0, height - 1, last % height).max())
    left, right = int(x0.min()), int(x1.max())
    area = float((last - first + 1).sum())
    return Extent(area, (float(left), float(y0), float(right - left + 1), float(y1 - y0 + 1)))


def _of_polygons(polygons: list[Any]) -> Extent | None:
    try:
        corners = [np.array(each, float).reshape(-1, 2) for each in polygons if len(each) >= 6]
    except (TypeError, ValueError, OverflowError):
        raise ValueError("damaged polygons") from None
    if not corners:
        return None
    if not all((np.abs(each) < LARGE).all() for each in corners):
        raise ValueError("damaged polygons")
    area = 0.0
    for x, y in (each.T for each in corners):
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    low = np.concatenate(corners).min(axis=0)
    high = np.concatenate(corners).max(axis=0)
    return Extent(area, (*map(float, low), *map(float, high - low)))  # type: ignore[arg-type]


def plain(segmentation: Any) -> Any:
    """A sound segmentation as JSON and other readers take it, else as it came.

    Run lengths in bytes become text; polygons of fewer than three corners, which are none, are
    left out.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), bytes):
        return {**segmentation, "counts": segmentation["counts"].decode("ascii")}
    if isinstance(segmentation, list) and all(isinstance(each, list) for each in segmentation):
        return [each for each in segmentation if len(each) >= 6]
    return segmentation


def outlines(segmentation: Any) -> list[list[float]]:
    """The polygons of a segmentation, flat x, y, ...; [] for run lengths, nothing, and damage."""
    if not isinstance(segmentation, list) or not segmentation:
        return []
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    try:
        found = [[float(value) for value in each] for each in polygons if len(each) >= 6]
    except (TypeError, ValueError, OverflowError):
        return []
    sound = all(len(each) % 2 == 0 and (np.abs(each) < LARGE).all() for each in found)
    return found if sound else []


def pixels(segmentation: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A sound segmentation as pycocotools draws it, 1 inside and 0 outside, (height, width)."""
    if polygons := outlines(segmentation):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    lengths, height = runs(segmentation, size)
    values = (np.arange(len(lengths)) % 2).astype(np.uint8)
    return np.repeat(values, lengths).reshape(-1, height).T


def run_lengths(drawn: NDArray[Any]) -> dict[str, Any]:
    """Compressed COCO run lengths, as text, of what is not 0, (height, width)."""
    found = coco_mask.encode(np.asfortranarray(drawn != 0, np.uint8))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}
