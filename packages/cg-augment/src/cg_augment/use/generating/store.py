"""What a set of images holds on disk while it grows: pictures, and a log that survives a kill.

OUT/made/CLASS/000000.png     made, not yet looked at together with the others
OUT/images/CLASS/000000.png   accepted, with metadata.jsonl
OUT/set-apart/REASON/CLASS/000000.png   not accepted, with metadata.jsonl
OUT/log/0-of-1.jsonl          a line for each image, by the process that made it
OUT/run.json, report.json     what the set is, and its account
"""

from __future__ import annotations

import fcntl
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from cg_augment.method.guided import Guided
from cg_augment.method.scoring import Scored
from cg_augment.use.generating.items import Item
from cg_augment.use.pictures import Pixels
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import append_line, atomic_write_bytes, complete_lines

MADE, IMAGES, APART, LOGS, REPORT = "made", "images", "set-apart", "log", "report.json"
LEAST_DEVIATION = 1.0  # grey levels, over an image; a black or blank one has less
Damage = Literal["", "not finite", "constant"]


@dataclass(frozen=True)
class Record:
    """What became of an image; confidences are of its label, None where nobody was asked.

    Attributes:
        key: of the item.
        prompt: of the image.
        seed: of its noise.
        teacher, student: confidences in the image that is kept.
        teacher_before, student_before: in the same seed's image without guidance.
        objective, objective_before: of the confidences.
        forward, backward: evaluations of the diffusion network for it.
        decodes: of a decoder with both classifiers.
        guided: steps or rounds that were really guided, or candidates that were made.
        seconds: its share of its batch's time.
        note: why guidance stopped.
        damage: "" for none.
        file: whether there is a picture.
    """

    key: str
    prompt: str
    seed: int
    teacher: float | None
    student: float | None
    teacher_before: float | None
    student_before: float | None
    objective: float | None
    objective_before: float | None
    forward: int
    backward: int
    decodes: int
    guided: int
    seconds: float
    note: str
    damage: Damage
    file: bool

    @property
    def name(self) -> str:
        """Of the class."""
        return self.key.split("/")[0]


def records_of(
    items: list[Item], found: Guided, seed: int, seconds: float
) -> tuple[list[Record], dict[str, Pixels]]:
    """Records of a batch, and the pictures (h, w, 3) by key; one that is not finite has none."""
    records, pictures = list[Record](), dict[str, Pixels]()
    for row, item in enumerate(items):
        image = found.images[row] if found.images.numel() else None
        harm: Damage = "not finite" if image is None or bool(found.failed[row]) else ""
        if image is not None and not bool(image.isfinite().all()):
            harm, image = "not finite", None
        if image is not None:
            pictures[item.key] = pixels_of(image)
            harm = harm or ("constant" if is_constant(image) else "")
        after, before = (_row(each, row) for each in (found.after, found.before))
        records.append(Record(
            item.key, item.prompt, item.seed(seed), after[1], after[2], before[1], before[2],
            after[0], before[0], int(found.forward[row]), int(found.backward[row]),
            int(found.decodes[row]), int(found.made[row]), float(f"{seconds:.3g}"),
            found.notes[row], harm, image is not None,
        ))  # fmt: skip
    return records, pictures


def _row(scored: Scored, row: int) -> list[float | None]:
    values = [float(each[row]) for each in scored]
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def is_constant(image: Tensor) -> bool:
    """Whether an image (3, h, w), 0 to 1, is of one colour but for less than a grey level."""
    return float((255 * image).flatten(1).std(dim=1, correction=0).max()) < LEAST_DEVIATION


def pixels_of(image: Tensor) -> Pixels:
    """An image (3, h, w), 0 to 1 and finite, as uint8 (h, w, 3), rounded as diffusers does."""
    made: Pixels = (image.float() * 255).round().byte().permute(1, 2, 0).numpy()
    return made


def write_png(path: Path, pixels: Pixels) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    atomic_write_bytes(path, stored.getvalue())


def add(log: Path, records: Iterable[Record]) -> None:
    """Lines of a log, durably; their pictures lie on disk before."""
    lines = [json.dumps(asdict(each), ensure_ascii=False, allow_nan=False) for each in records]
    if lines:
        append_line(log, "\n".join(lines))


def read_records(out: Path) -> dict[str, Record]:
    """What all processes wrote, by key; of two lines for an image the later one counts.

    Raises:
        UserError: a line of another form.
    """
    found = dict[str, Record]()
    for path in sorted((out / LOGS).glob("*.jsonl")):
        for number, line in complete_lines(path):
            try:
                form = json.loads(line)
                record = Record(**form)
                if {each.name for each in fields(Record)} != set(form) or "/" not in record.key:
                    raise ValueError("other fields")
            except (ValueError, TypeError) as error:
                raise UserError(f"{path}, line {number}: damaged ({error}); remove it") from None
            found[record.key] = record
    return found


def where(out: Path) -> dict[str, Path]:
    """Every picture of a set, by key, wherever it was put."""
    folders = [out / MADE, out / IMAGES, *sorted((out / APART).glob("*"))]
    return {
        f"{path.parent.name}/{path.stem}": path
        for folder in folders
        for path in sorted(folder.glob("*/*.png"))
    }


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside, no other process that asks for this file's lock; a kill gives it back."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def missing(
    items: Iterable[Item], records: Mapping[str, Record], there: Mapping[str, Any]
) -> set[str]:
    """Keys of images that are still to be made, or whose picture was removed."""
    return {
        item.key
        for item in items
        if item.key not in records or (records[item.key].file and item.key not in there)
    }
