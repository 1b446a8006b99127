"""Image files of a folder: which there are, and their pixels, read ahead of the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from ofds.use.proposers import tars
from ofds.use.proposers.interface import Picture
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.images import FORMATS, SUFFIXES, read_rgb

LEAST = 4  # pixels of a side: no model sees anything in less


@dataclass(frozen=True)
class Loaded:
    """An image that was read, or why it was not.

    Attributes:
        name: of the image.
        pixels: RGB and upright; None where it could not be read.
        orientation: what EXIF says: 1 for upright, 2 to 8 for turned ones, which were put upright.
        problem: why it could not be read.
    """

    name: str
    pixels: Picture | None
    orientation: int = 1
    problem: str = ""


def listed(folder: str | Path) -> tuple[list[str], list[str]]:
    """Names of the images below a folder, with slashes, sorted; and those of other files.

    Tar files count as folders. Hidden files and folders are passed over.

    Raises:
        UserError: no such folder, or no image in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"--folder {folder}: no such folder")
    images, others = list[str](), list[str]()
    for place, below, files in os.walk(root, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            path = (Path(place) / name).relative_to(root).as_posix()
            try:
                path.encode()
            except UnicodeEncodeError:
                raise UserError(f"--folder {folder}: rename {path!a}: it is no UTF-8") from None
            if Path(name).suffix.lower() == tars.SUFFIX:
                inside = [f"{path}/{each}" for each in tars.members(Path(place) / name)]
                images += [each for each in inside if _is_image(each)]
            else:
                (images if _is_image(name) else others).append(path)
    if not images:
        raise UserError(f"--folder {folder}: no images in it ({', '.join(SUFFIXES)})")
    return sorted(images), sorted(others)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def load(folder: str | Path, name: str) -> Loaded:
    """Read an image: gray, 16-bit, transparent and CMYK ones become RGB, turned ones upright."""
    try:
        with tars.file_of(folder, name) as path:
            try:
                pixels = read_rgb(path)
            except UserError as error:
                reason = str(error).removeprefix(one_line(f"{path}:")).lstrip()
                return Loaded(name, None, problem=reason)
            if min(pixels.shape[:2]) < LEAST:
                return Loaded(name, None, problem=f"a side of less than {LEAST} pixels")
            return Loaded(name, pixels, orientation(path))
    except (OSError, ValueError, MemoryError) as error:  # colours that Pillow cannot turn into RGB
        return Loaded(name, None, problem=f"not to be read as RGB ({error})")


def orientation(path: Path) -> int:
    """EXIF's number, 1 where there is none that is sound."""
    with suppress(Exception), Image.open(path, formats=FORMATS) as image:
        found = image.getexif().get(ExifTags.Base.Orientation)
        return found if isinstance(found, int) and 1 <= found <= 8 else 1
    return 1


def read_ahead(
    folder: str | Path, names: Sequence[str], batch: int, threads: int
) -> Iterator[list[Loaded]]:
    """Batches of images in their order; the next two are read while one is worked on."""
    groups = [names[start : start + batch] for start in range(0, len(names), batch)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = deque[list[Future[Loaded]]]()
        for group in groups:
            waiting.append([pool.submit(load, folder, name) for name in group])
            if len(waiting) > 2:
                yield [each.result() for each in waiting.popleft()]
        while waiting:
            yield [each.result() for each in waiting.popleft()]
