"""Generated images from a class folder with `metadata.jsonl`, as `cg-augment generate` writes it.

Each line of `metadata.jsonl` is an object whose `file_name` is a path below the folder, its first
part the class; this is also what `datasets.load_dataset("imagefolder")` reads. An image is used if
its `accepted` is true or not there; another value says why not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cg_augment.use.pictures import Files
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import complete_lines
from repro_shared.runtime.images import SUFFIXES
from repro_shared.runtime.progress import say

METADATA = "metadata.jsonl"


def generated(root: str | Path, classes: Sequence[str]) -> Files:
    """The accepted images.

    A line that a kill tore off is passed over; of two lines for a file the later one counts. Image
    files that no line names are counted on stderr and left out.

    Args:
        root: the folder, or one that has it as `images`, as the whole of a set does.
        classes: of the student, in its order.

    Raises:
        UserError: no such file, a damaged line, an image that is not there, a path that leads out
            of the folder, or a class that is none of the student's.
    """
    folder = Path(root)
    if not (folder / METADATA).is_file() and (folder / "images" / METADATA).is_file():
        folder /= "images"
    path = folder / METADATA
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a folder that `cg-augment generate` wrote")
    records = dict[str, bool]()
    for number, line in complete_lines(path):
        try:
            form = json.loads(line)
            name = PurePosixPath(form["file_name"])
            accepted = form.get("accepted", True) is True
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            said = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}, line {number}: damaged ({said})") from None
        if name.is_absolute() or ".." in name.parts or len(name.parts) < 2:
            raise UserError(f"{path}, line {number}: {name} is no CLASS/FILE below the folder")
        records[str(name)] = accepted
    kept = sorted(name for name, accepted in records.items() if accepted)
    if not kept:
        raise UserError(f"{folder}: no image was accepted, of {len(records)} in {METADATA}")
    if lost := [name for name in kept if not (folder / name).is_file()]:
        raise UserError(f"{folder} lacks {len(lost)} images of {METADATA}, such as {lost[0]}")
    own = [PurePosixPath(name).parts[0] for name in kept]
    if other := sorted({name for name in own if name not in classes}):
        raise UserError(
            f"classes differ: {folder} has {', '.join(other[:3])}, which the student does not know"
        )
    files = Files(folder, [folder / name for name in kept], [list(classes).index(c) for c in own],
                  classes, empty=True)  # fmt: skip
    there = sum(
        1 for each in classes for file in (folder / each).rglob("*")
        if file.suffix.lower() in SUFFIXES
    )  # fmt: skip
    if more := there - sum((folder / name).is_file() for name in records):
        say(f"{folder}: {more} image files that {METADATA} does not name are left out")
    return files
