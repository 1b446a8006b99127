"""Lists of images and of costs that people write: names as in the COCO file, or near enough."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofds.use.coco import read_dataset, read_json
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError

NAME_COLUMNS = ("image", "file_name", "name")


class Names:
    """The images of a pool, found by name: as it is written, else with slashes and accents alike.

    Args:
        names: of the pool, in its order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.exact = {name: place for place, name in enumerate(names)}

    @cached_property
    def loose(self) -> dict[str, list[str]]:
        """All names by how they read with slashes and accents alike."""
        found = dict[str, list[str]]()
        for name in self.exact:
            found.setdefault(_loose(name), []).append(name)
        return found

    def find(self, name: str, source: str | Path) -> int:
        """Place of an image, -1 for none; UserError if two could be meant."""
        if name in self.exact:
            return self.exact[name]
        near = self.loose.get(_loose(name), [])
        if len(near) > 1:
            raise UserError(f"{source}: {name!r} may be {near[0]!r} or {near[1]!r}")
        return self.exact[near[0]] if near else -1


def _loose(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def read_names(path: str | Path, annotated: bool = False) -> list[str]:
    """Names of images in a file: one a line; or JSON, a list of them or a COCO file.

    Args:
        path: of the file.
        annotated: of a COCO file, take the images alone that somebody annotated, those without
            objects too.

    Raises:
        UserError: it cannot be read, or a COCO file of which no image is annotated.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        lines = (line.removesuffix("\r") for line in read_text(path).split("\n"))
        return [line for line in lines if line.strip()]
    content = read_json(path)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    found = read_dataset(path, Repairs())
    if annotated and not found.labelled:
        raise UserError(f'{path}: no image is annotated; `"labelled": true` marks empty ones')
    names = [image.name for image in found.images]
    return [name for name in names if name in found.labelled or not annotated]


def places(
    listed: Sequence[str],
    source: str,
    names: Names,
    repairs: Repairs,
    strict: bool = False,
) -> list[int]:
    """Places of the images that are listed, each once, in their order.

    Args:
        listed: names of images.
        source: option and file that they come from.
        names: of the pool.
        repairs: books names that the pool has not.
        strict: such a name is refused.

    Raises:
        UserError: a name that is refused, or not one name of the pool.
    """
    found = [names.find(name, source) for name in listed]
    for name, place in zip(listed, found, strict=True):
        if place < 0 and strict:
            raise UserError(f"{source}: no image of the pool is called {name!r}")
        if place < 0:
            repairs.add(f"name in {source.split()[0]} that no image has", repr(name))
    if listed and max(found) < 0:
        raise UserError(f"{source}: none of its names, such as {listed[0]!r}, is in the pool")
    return list(dict.fromkeys(place for place in found if place >= 0))


def read_costs(
    path: str | Path, column: str, names: Names, repairs: Repairs
) -> NDArray[np.float64]:
    """Cost of each image of the pool, from a CSV file with a header.

    Args:
        path: has a column of names, called one of `NAME_COLUMNS`, and one of costs.
        column: the one of costs.
        names: of the pool.
        repairs: books rows on other images.

    Raises:
        UserError: a column or an image is missing, an image has two costs, a cost is no number.
    """
    costs = np.full(len(names.exact), np.nan)
    for place, (line, text) in read_column(path, column, names, repairs).items():
        try:
            costs[place] = float(text)
        except ValueError:
            costs[place] = np.inf
        if not 0 <= costs[place] < np.inf:
            raise UserError(f"{path}, line {line}: {text!r} is no cost of 0 or more")
    missing = [name for name, place in names.exact.items() if np.isnan(costs[place])]
    if missing:
        raise UserError(f"{path}: no cost for {len(missing)} images, such as {missing[0]!r}")
    return costs


def read_column(
    path: str | Path, column: str, names: Names, repairs: Repairs
) -> dict[int, tuple[int, str]]:
    """Line and text of a column of a CSV file with a header, by the image's place in the pool.

    Args:
        path, column, names, repairs: see `read_costs`.

    Raises:
        UserError: the column is missing, or an image comes twice.
    """
    path = Path(path)
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    have = list(rows.fieldnames or ())
    own = next((name for name in NAME_COLUMNS if name in have), None)
    if column not in have or own is None:
        wanted = f"{column!r}" if own else f"of names ({' or '.join(NAME_COLUMNS)})"
        raise UserError(f"{path}: no column {wanted}; it has {', '.join(have) or 'none'}")
    found = dict[int, tuple[int, str]]()
    for line, row in enumerate(rows, start=2):
        name = row[own] or ""
        place = names.find(name, path)
        if place < 0:
            repairs.add("row of a CSV file on an image that is not in the pool", repr(name))
        elif place in found:
            raise UserError(f"{path}, line {line}: {name!r} has a value already")
        else:
            found[place] = (line, row[column] or "")
    return found


def read_text(path: Path) -> str:
    """The text of a file, line ends as they are; UserError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")  # line ends as they are
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: the text is not UTF-8") from None
