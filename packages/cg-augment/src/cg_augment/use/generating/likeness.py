"""How alike two pictures are: the measure by which duplicates and copies of training images go.

Both are cut to their largest centred square and brought to 32 x 32 pixels by averaging areas; the
distance is the root mean square difference of all 3,072 values, in grey levels of 255, of the
picture or of its mirror image, whichever is closer (ours). It finds copies, also enlarged, blurred
or slightly recoloured ones; it does not find parts, or a copy moved by several of the 32 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cg_augment.use.pictures import Pixels
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES, read_rgb, scan_images
from repro_shared.runtime.progress import Progress

SIDE = 32
_ROWS = 4096  # compared at once
Small = NDArray[np.uint8]


def small(picture: Pixels) -> Small:
    """A picture (h, w, 3) as the measure sees it, (3072,)."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1)


def mirrored(given: Small) -> Small:
    """Pictures (..., 3072), each mirrored."""
    shaped = given.reshape(*given.shape[:-1], SIDE, SIDE, 3)
    return shaped[..., ::-1, :].reshape(given.shape)


def distance(one: Small, other: Small) -> float:
    """Of two pictures, in grey levels."""
    apart = [(each.astype(np.int64) - other) ** 2 for each in (one, mirrored(one))]
    return float(min(each.mean() for each in apart) ** 0.5)


def nearest(given: Small, among: Small) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of each picture (n, 3072) the nearest of others (m, 3072), m > 0: its place and distance."""
    best, found = np.full(len(given), np.inf), np.zeros(len(given), np.int64)
    for start in range(0, len(among), _ROWS):
        theirs = among[start : start + _ROWS].astype(np.float32)
        lengths = np.einsum("md,md->m", theirs, theirs, dtype=np.float64)
        for way in (given, mirrored(given)):
            mine = way.astype(np.float32)
            squared = lengths - 2.0 * (mine @ theirs.T)  # but for the picture's own length
            places = squared.argmin(axis=1)
            values = squared[np.arange(len(given)), places]
            better = values < best
            best[better], found[better] = values[better], start + places[better]
    exact = [distance(one, among[place]) for one, place in zip(given, found, strict=True)]
    return found, np.array(exact)


def images_below(folder: str | Path) -> list[Path]:
    """All image files of a folder, in order; UserError for none."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"--train-folder {folder}: no such folder")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"--train-folder {folder}: no images below it")
    return found


def check_readable(paths: list[Path]) -> None:
    """UserError that names images which cannot be decoded."""
    if bad := scan_images(paths):
        named = "; ".join(f"{path}: {reason}" for path, reason in bad[:3])
        more = f" and {len(bad) - 3} more" if bad[3:] else ""
        raise UserError(f"{len(bad)} of {len(paths)} images cannot be read: {named}{more}")


def all_small(paths: Iterable[Path], label: str) -> Small:
    """Pictures (n, 3072) of files; UserError for one that cannot be read."""
    files = list(paths)
    rows = np.empty((len(files), SIDE * SIDE * 3), np.uint8)
    with Progress(len(files), label) as progress:
        for place, path in enumerate(files):
            rows[place] = small(read_rgb(path))
            progress.update(place + 1)
    return rows
