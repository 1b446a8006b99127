"""Making the images of a set: batch by batch, judged, tried again up to a cap, and resumable.

Every pass has the same shape (the last one is filled up with copies), so that on the CPU an image
has the same bytes whichever others come with it: in one process or many, at once or resumed.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import bdtrc
from torch import Tensor

from clip_distill.use.preprocessing import Pixels
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.synthetic.attempts import (
    Attempt,
    Attempts,
    Item,
    Log,
    Verdict,
    accepted,
    damage,
    pixels_of,
)
from clip_distill.use.teachers import Teacher, encode_pixels
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_text
from repro_shared.runtime.memory import lacks_memory
from repro_shared.runtime.progress import Progress, say

IMAGES, REJECTED, LOGS = "images", "rejected", "log"
JUDGED = 64  # images after which a filter that accepts no more than by chance is refused
CHANCE = 0.01  # probability that guessing does as well
Paint = Callable[[Sequence[str], Sequence[int]], Tensor]


@dataclass(frozen=True)
class Judge:
    """Accepts an image whose class is the teacher's first choice among all classes.

    Attributes:
        teacher: with a text encoder.
        texts: a vector for each class.
        folders: of the classes, in the order of the vectors.
        batch: images of each of its passes.
        check: refuse a filter that accepts no more than guessing would.
    """

    teacher: Teacher
    texts: ClassTexts
    folders: tuple[str, ...]
    batch: int
    check: bool = True

    def taken_for(self, pictures: Sequence[Pixels]) -> list[str]:
        """The folder of the class that each picture (h, w, 3) shows."""
        if not pictures:
            return []
        views = np.stack([self.teacher.preprocessing.centre(each) for each in pictures])
        rows = encode_pixels(self.teacher, views, self.batch)
        return [self.folders[place] for place in (rows @ self.texts.vectors.T).argmax(axis=1)]


class Maker:
    """Makes what is missing of some items.

    Args:
        out: folder of the set.
        paint: prompts and seeds to images, as `Painter.paint`.
        seed: of the set.
        cap: attempts at an image at most.
        batch: images of a pass.
        judge: None accepts every image that is not damaged.
        keep_rejected: also write what was not accepted, into a folder of its own.
    """

    def __init__(
        self, out: Path, paint: Paint, seed: int, cap: int, batch: int, judge: Judge | None,
        keep_rejected: bool = False,
    ) -> None:  # fmt: skip
        self.out, self.paint, self.seed, self.cap = out, paint, seed, cap
        self.batch, self.judge, self.keep_rejected = batch, judge, keep_rejected
        self._judged, self._right = 0, 0

    def make(self, items: Sequence[Item], known: Attempts, log: Log) -> int:
        """Go on until every item is accepted or given up; returns the images painted.

        Raises:
            UserError: memory for one image lacks, or the filter accepts no more than by chance.
        """
        queue = deque(missing(self.out, items, known, self.cap))
        done, painted = len(items) - len(queue), 0
        with Progress(len(items), "images", done) as progress:
            while queue:
                # What was painted before memory ran out halved the batch, and is tried again.
                now = [queue.popleft() for _ in range(min(self.batch, len(queue)))]
                images = self._paint(now)
                queue.extendleft(reversed(now[len(images) :]))
                painted += len(images)
                verdicts = self._verdicts(now[: len(images)], images)
                for (item, _), attempt in zip(now, verdicts, strict=False):
                    if attempt.verdict == "accepted" or attempt.number + 1 >= self.cap:
                        done += 1
                    else:
                        queue.append((item, attempt.number + 1))
                log.append(verdicts)
                progress.update(done)
        return painted

    def _paint(self, work: Sequence[tuple[Item, int]]) -> Tensor:
        """Images of as much of the work as memory is enough for."""
        while True:
            part = list(work[: self.batch])
            full = [*part, *part[-1:] * (self.batch - len(part))]
            prompts = [item.prompt.prompt for item, _ in full]
            seeds = [item.seed(self.seed, number) for item, number in full]
            try:
                return self.paint(prompts, seeds)[: len(part)]
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not lacks_memory(error):
                    raise
            # Behind the handler: the exception would keep the tensors alive.
            if self.batch == 1:
                raise UserError("not enough memory for one image: take a smaller --size")
            self.batch //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            say(f"out of memory: on with batches of {self.batch}; the seeds stay the same")

    def _verdicts(self, work: Sequence[tuple[Item, int]], images: Tensor) -> list[Attempt]:
        """What became of each image; the accepted ones lie on disk then."""
        bad = [damage(image) for image in images]
        sound = [place for place, wrong in enumerate(bad) if wrong is None]
        pixels = dict(zip(sound, pixels_of(images[sound]), strict=True))
        seen = dict[int, str]()
        if self.judge is not None:
            seen = dict(zip(sound, self.judge.taken_for(list(pixels.values())), strict=True))
        found = []
        for place, (item, number) in enumerate(work):
            verdict: Verdict = bad[place] or "accepted"
            if seen.get(place, item.prompt.folder) != item.prompt.folder:
                verdict = "rejected"
            if verdict == "accepted":
                _write(self.out / IMAGES, item.key, pixels[place], item.prompt.prompt)
            elif self.keep_rejected and place in pixels:
                name = f"{item.key}-attempt-{number}"
                _write(self.out / REJECTED, name, pixels[place], item.prompt.prompt)
            found.append(Attempt(item.key, number, verdict, seen.get(place, "")))
        self._check_filter(len(seen), sum(a.verdict == "accepted" for a in found))
        return found

    def _check_filter(self, judged: int, right: int) -> None:
        before, self._judged = self._judged, self._judged + judged
        self._right += right
        if self.judge is None or not self.judge.check or not before < JUDGED <= self._judged:
            return
        guess = 1 / len(self.judge.folders)
        by_luck = float(bdtrc(self._right - 1, self._judged, guess)) if self._right else 1.0
        if by_luck >= CHANCE:
            raise UserError(
                f"the filter accepts {self._right} of {self._judged} images, guessing {guess:.1%}: "
                "look at some images (--keep-rejected), the pipeline and the teacher, or take "
                "--no-teacher-check"
            )


def missing(out: Path, items: Sequence[Item], known: Attempts, cap: int) -> list[tuple[Item, int]]:
    """Items that are neither there nor given up, each with the number of its next attempt."""
    found = []
    for item in items:
        tried = known.get(item.key, [])
        if (taken := accepted(tried)) is not None:
            if not (out / IMAGES / f"{item.key}.png").is_file():
                found.append((item, taken.number))  # removed: it becomes the same again
        elif len(tried) < cap:
            found.append((item, len(tried)))
    return found


def _write(folder: Path, key: str, pixels: Pixels, prompt: str) -> None:
    """An image and, before it, its caption: an image on disk is whole."""
    path = folder / f"{key}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path.with_suffix(".txt"), f"{prompt}\n")
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG")
    atomic_write_bytes(path, made.getvalue())
