"""A set of generated images as its files tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cg_augment.use.datasets.generated import METADATA
from cg_augment.use.generating.store import APART, IMAGES, REPORT
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import complete_lines

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """A complete set.

    Attributes:
        folder: of it.
        report: its account.
        accepted: lines of its images.
        apart: lines of those that were set apart.
    """

    folder: Path
    report: Mapping[str, Any]
    accepted: tuple[Line, ...]
    apart: tuple[Line, ...]

    def picture(self, line: Line) -> Path | None:
        """The file of an image; None where there is none."""
        side = IMAGES if line["accepted"] is True else APART
        return None if line["file_name"] is None else self.folder / side / line["file_name"]


def read(folder: str | Path) -> Given:
    """The set of a folder.

    Raises:
        UserError: no complete set, or a damaged file.
    """
    root = Path(folder)
    path = root / REPORT
    if not path.is_file() or not (root / IMAGES / METADATA).is_file():
        raise UserError(
            f"{root}: no complete set of images; give a folder that `cg-augment generate` wrote, "
            "and let it finish"
        )
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        for name in ("images", "accepted", "set_apart", "counts", "engine", "mean_per_image"):
            report[name]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    return Given(root, report, _lines(root / IMAGES), _lines(root / APART))


def _lines(folder: Path) -> tuple[Line, ...]:
    found = list[Line]()
    for number, text in complete_lines(folder / METADATA):
        try:
            line = json.loads(text)
            for name in ("file_name", "class", "number", "accepted", "seed", "evaluations"):
                line[name]
            if line["file_name"] is not None and ".." in Path(line["file_name"]).parts:
                raise ValueError("a path out of the folder")
        except (ValueError, KeyError, TypeError) as error:
            said = f"{type(error).__name__}: {error}"
            raise UserError(f"{folder / METADATA}, line {number}: damaged ({said})") from None
        found.append(line)
    return tuple(found)
