"""A selection on disk: `selection.json` with all reasons, `selection.txt` with the names alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofds.use.coco import read_json
from ofds.use.dataset import Dataset
from ofds.use.folders import check_empty, new_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_text

FORMAT = 1
FILE, NAMES = "selection.json", "selection.txt"


@dataclass(frozen=True)
class Selection:
    """What `ofds select` wrote.

    Attributes:
        header: settings, budget, classes, contract, repairs, fingerprints; see `select_command`.
        images: one entry a chosen image, in the order in which they should be annotated.
    """

    header: Mapping[str, Any]
    images: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> list[str]:
        """Names of the chosen images, in order."""
        return [image["name"] for image in self.images]

    def targets(self, classes: Sequence[str]) -> list[int]:
        """Places of the classes that were selected for, among all of them by name."""
        wanted = self.header["settings"].get("classes", classes)
        return [place for place, name in enumerate(classes) if name in wanted]

    @property
    def annotated(self) -> list[str]:
        """Images that are annotated when all of this is: those from before, then the chosen."""
        return [*self.header["annotated"], *self.names]


def check_new(folder: str | Path) -> None:
    """UserError if a selection cannot be written as this folder: it exists, and is not empty."""
    if (Path(folder) / FILE).exists():
        raise UserError(f"{folder} holds a selection, which is never overwritten: name another")
    check_empty(folder)


def write_selection(folder: str | Path, selection: Selection) -> None:
    """Write a selection as a new folder, which is there complete or not at all.

    Raises:
        UserError: the folder exists and is not empty, though it had been made meanwhile.
    """
    with new_folder(folder, check_new) as beside:
        atomic_write_text(beside / FILE, text_of(selection))
        atomic_write_text(beside / NAMES, "".join(f"{name}\n" for name in selection.names))


def text_of(selection: Selection) -> str:
    """The JSON: indented, but one line for each image."""
    head = json.dumps({"format": FORMAT, **selection.header}, indent=2, ensure_ascii=False)
    lines = [json.dumps(image, ensure_ascii=False, allow_nan=False) for image in selection.images]
    images = ",\n    ".join(lines)
    listed = f"[\n    {images}\n  ]" if lines else "[]"
    return f'{head.removesuffix("}").rstrip()},\n  "images": {listed}\n}}\n'


def read_selection(path: str | Path) -> Selection:
    """Read a selection, from its folder or its JSON file; UserError if it is none."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: no selection of this version of ofds")
    images = content.pop("images", None)
    keys = ("annotated", "classes", "fingerprints")
    if not isinstance(images, list) or any(key not in content for key in keys):
        raise UserError(f"{path}: a damaged selection")
    return Selection(content, images)


def read_whole(path: str | Path) -> Selection:
    """`read_selection`, with all that is needed to account for it; UserError if that is missing."""
    found = read_selection(path)
    needed = ("settings", "budget", "predicted", "contract", "repairs")
    if missing := [key for key in needed if key not in found.header]:
        raise UserError(f"{path}: a selection without {missing[0]!r}")
    return found


def same_classes(selection: Selection, path: str, dataset: Dataset) -> None:
    """UserError that names a class which a selection and a data set do not both have."""
    before = [each["name"] for each in selection.header["classes"]]
    now = [each.name for each in dataset.categories]
    if differ := sorted(set(before) ^ set(now)):
        owner = path if differ[0] in before else dataset.path
        raise UserError(
            f"{path} and {dataset.path} list different classes: {differ[0]!r} is in {owner} alone"
        )
    if before != now:
        raise UserError(f"{path} and {dataset.path} number the same classes in different orders")


def continued(
    path: str | Path, features: str, proposals: str, classes: Sequence[Mapping[str, Any]]
) -> Selection:
    """An earlier selection, to go on from.

    Args:
        path: of its folder or file.
        features, proposals: their fingerprints now.
        classes: now, each with `id` and `name`.

    Raises:
        UserError: it was made from other features, proposals or classes.
    """
    earlier = read_selection(path)
    before = [(each["id"], each["name"]) for each in earlier.header["classes"]]
    now = [(each["id"], each["name"]) for each in classes]
    for old, new in zip([*before, None], [*now, None], strict=False):
        if old != new:
            raise UserError(
                f"{path} was made with other classes ({old and old[1]!r} there, "
                f"{new and new[1]!r} here); to go on anyway, give its {NAMES} with --annotated"
            )
    for what, mine in (("features", features), ("proposals", proposals)):
        if earlier.header["fingerprints"].get(what) != mine:
            hint = f"to go on anyway, give its {NAMES} with --annotated"
            raise UserError(f"{path} was made from other {what}; {hint}")
    return earlier
