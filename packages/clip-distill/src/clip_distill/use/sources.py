"""What `--data` and `--texts` name on the command line."""

from __future__ import annotations

from pathlib import Path

from clip_distill.use.cache import CLASSES
from clip_distill.use.original_sets import original_of
from clip_distill.use.pictures import Folder, Pictures
from clip_distill.use.prompts import ClassTexts, load_class_texts
from clip_distill.use.shards import Shards
from repro_shared.runtime.errors import UserError


def pictures_of(
    data: str, skip_bad: bool = False, classes: tuple[str, ...] = (), labelled: bool | None = None
) -> Pictures:
    """One of the paper's sets for `pets:ROOT`, shards for tar files (a pattern, a file, or a folder
    of them), else a folder of pictures.

    Args:
        data: as `--data` has it.
        skip_bad: leave out what truncated shards have lost.
        classes: of shards whose `.cls` number them.
        labelled: whether the sub-folders are classes; None finds out.

    Raises:
        UserError: as `Shards`, `Folder` and `OriginalSet`.
    """
    if (original := original_of(data)) is not None:
        return original
    path = Path(data)
    if not path.exists() or path.is_file() or any(path.glob("*.tar")) or any(path.glob("*.tar.*")):
        if not path.exists() and not any(sign in data for sign in "*{:") and path.suffix != ".tar":
            raise UserError(f"{data}: no such folder")
        return Shards(data, skip_bad, classes)
    if labelled is None:
        inner = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
        labelled = len(inner) > 1
    return Folder(path, labelled)


def texts_of(file: str) -> ClassTexts:
    """Class texts of a `.npz`, or of a cache or student's folder that holds one."""
    path = Path(file)
    if path.is_dir() and not (path / CLASSES).is_file():
        raise UserError(f"{file} keeps no text vectors of classes: give --teacher and --classes")
    return load_class_texts(path / CLASSES if path.is_dir() else path)
