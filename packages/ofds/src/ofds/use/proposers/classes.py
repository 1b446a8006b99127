"""The classes to look for: their ids and names, and what stands for them in a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ofds.use.coco import read_dataset
from ofds.use.dataset import Category
from ofds.use.lists import read_names
from ofds.use.proposers.interface import Picture
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb


@dataclass(frozen=True)
class Classes:
    """What to look for.

    Attributes:
        categories: by ascending id.
        said: prompts of each class by its name, in the same order.
        shown: pictures of some, by name.
    """

    categories: tuple[Category, ...]
    said: Mapping[str, tuple[str, ...]]
    shown: Mapping[str, tuple[Picture, ...]]

    @property
    def names(self) -> list[str]:
        """Of all classes, in order."""
        return [each.name for each in self.categories]


def read_classes(path: str | Path, queries: Sequence[str] = ()) -> Classes:
    """Classes of a list or of a COCO file.

    Args:
        path: a text with a class a line, and after tabs what to call it instead (several count as
            one class); ids go from 1. Or a COCO file (.json), whose ids stay.
        queries: CLASS=FILE, a picture of the class.

    Raises:
        UserError: no classes, one twice, or a query that cannot be read.
    """
    said: dict[str, tuple[str, ...]]
    if Path(path).suffix.lower() == ".json":
        categories = read_dataset(path, Repairs(), annotations=False).categories
        said = {each.name: (each.name,) for each in categories}
    else:
        rows = [[part.strip() for part in line.split("\t")] for line in read_names(path)]
        said = {name: tuple(filter(None, others)) or (name,) for name, *others in rows}
        names = [name for name, *_ in rows]
        if twice := [name for name in said if names.count(name) > 1]:
            raise UserError(f"{path}: class {twice[0]!r} is listed twice")
        if not all(said):
            raise UserError(f"{path}: a line begins with a tab; the class comes first")
        categories = tuple(
            Category(place, name, {"id": place, "name": name})
            for place, name in enumerate(said, start=1)
        )
    if not categories:
        raise UserError(f"{path}: it lists no classes")
    shown = dict[str, tuple[Picture, ...]]()
    for query in queries:
        name, equals, file = query.rpartition("=")
        if not equals or name not in said:
            raise UserError(f"--query {query!r}: give CLASS=FILE, with a class of {path}")
        shown[name] = (*shown.get(name, ()), read_rgb(file))
    return Classes(categories, said, shown)
