"""From the names of class folders to what is said in a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clip_distill.use.pictures import check_same_names
from clip_distill.use.prompts import read_names
from repro_shared.runtime.errors import UserError


def numbered(file: str | Path | None) -> tuple[str, ...]:
    """Classes of a file in the order of their numbers in shards; none without a file."""
    lines = () if file is None else read_names(file)
    return tuple(line.partition("\t")[0].strip() for line in lines)


FOLDERS = "the folders' names"


def names_of(
    folders: Sequence[str], file: str | Path | None, where: str, source: str = FOLDERS
) -> tuple[list[str], str]:
    """A name for each class folder, and where the names come from, in words.

    Args:
        folders: names of the class folders, in the order of their numbers.
        file: a name a line, the folder's own, or the folder's, a tab, and the name for prompts;
            None takes the folders' names, `_` as a space.
        where: the data, for messages.
        source: where the names of the folders come from.

    Raises:
        UserError: the file has other classes than the folder.
    """
    if file is None:
        return [folder.replace("_", " ") for folder in folders], source
    pairs = dict[str, str]()
    for line in read_names(file):
        folder, tab, name = line.partition("\t")
        if folder.strip() in pairs:
            raise UserError(f"{file}: {folder.strip()!r} twice")
        pairs[folder.strip()] = name.strip() if tab else folder.strip().replace("_", " ")
    known = {folder.replace("_", " "): folder for folder in folders}
    pairs = {known.get(folder, folder): name for folder, name in pairs.items()}
    check_same_names(list(folders), list(pairs), where, str(file))
    return [pairs[folder] for folder in folders], Path(file).name
