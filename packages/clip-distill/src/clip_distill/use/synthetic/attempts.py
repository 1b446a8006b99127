"""The images of a set, and what became of every attempt at one: a log that survives a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
from torch import Tensor

from clip_distill.use.synthetic.prompt_list import Prompt
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import complete_lines
from repro_shared.runtime.rng import derive_seed

Verdict = Literal["accepted", "rejected", "not finite", "constant"]
DAMAGED = ("not finite", "constant")
LEAST_DEVIATION = 1.0  # grey levels, over an image; a black or blank one has less


@dataclass(frozen=True)
class Item:
    """One image that is wanted: a prompt, and which copy of it."""

    prompt: Prompt
    copy: int

    @property
    def key(self) -> str:
        """Class folder and name of the file, without ending."""
        more = f"-{self.copy}" if self.copy else ""
        return f"{self.prompt.folder}/{self.prompt.row:04d}{more}"

    def seed(self, seed: int, attempt: int) -> int:
        """Of the noise: the same whatever else is made, and by how many processes."""
        return derive_seed(seed, "image", self.prompt.folder, self.prompt.row, self.copy, attempt)


@dataclass(frozen=True)
class Attempt:
    """What became of an image.

    Attributes:
        key: of the item.
        number: of the attempt, from 0.
        verdict: accepted, or why not.
        taken_for: the folder of the class that the teacher saw in it; "" without a teacher.
    """

    key: str
    number: int
    verdict: Verdict
    taken_for: str = ""


Attempts = dict[str, list[Attempt]]


def items_of(prompts: Sequence[Prompt], copies: int) -> list[Item]:
    """All images that are wanted, every class from the beginning: row by row over the classes."""
    order = sorted(range(len(prompts)), key=lambda place: prompts[place].row)
    return [Item(prompts[place], copy) for copy in range(copies) for place in order]


def damage(image: Tensor) -> Verdict | None:
    """What is wrong with an image (3, h, w) from 0 to 1, looked at before rounding; or nothing."""
    if not bool(image.isfinite().all()):
        return "not finite"
    deviation = float((255 * image).flatten(1).std(dim=1, correction=0).max())
    return "constant" if deviation < LEAST_DEVIATION else None


def pixels_of(images: Tensor) -> np.ndarray:
    """Images (n, 3, h, w) from 0 to 1 as uint8 (n, h, w, 3), as diffusers rounds them."""
    pixels: np.ndarray = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels


class Log:
    """Attempts of one process, appended and synced batch by batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def append(self, attempts: Iterable[Attempt]) -> None:
        """Add lines, durably."""
        if self._file is None:
            self._file = self.path.open("ab+")
            self._file.seek(0)
            whole = self._file.read().rfind(b"\n") + 1  # behind it, what a kill tore off
            self._file.truncate(whole)
        lines = [[a.key, a.number, a.verdict, a.taken_for] for a in attempts]
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """The file."""
        if self._file is not None:
            self._file.close()


def read_logs(folder: Path) -> Attempts:
    """The attempts at every image by all processes, in their order, each once.

    Raises:
        UserError: a line of another form.
    """
    found = dict[tuple[str, int], Attempt]()
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in complete_lines(path):
            try:
                key, attempt, verdict, taken_for = json.loads(line)
                made = Attempt(str(key), int(attempt), verdict, str(taken_for))
                if verdict not in get_args(Verdict) or made.number < 0:
                    raise ValueError(verdict)
            except (ValueError, TypeError):
                raise UserError(f"{path}: line {number} is damaged; remove it") from None
            found[made.key, made.number] = made
    by_key: Attempts = {}
    for key, attempt in sorted(found):
        by_key.setdefault(key, []).append(found[key, attempt])
    return by_key


def accepted(attempts: Sequence[Attempt]) -> Attempt | None:
    """The one that was taken."""
    return next((each for each in attempts if each.verdict == "accepted"), None)
