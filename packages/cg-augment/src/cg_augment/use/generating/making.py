"""Making the images of a set, batch by batch; goes on where it stopped, and with less memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from cg_augment.method.guided import Guided
from cg_augment.use.generating.items import Item
from cg_augment.use.generating.store import MADE, Record, add, missing, records_of, where, write_png
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.memory import lacks_memory
from repro_shared.runtime.progress import Progress, say

Make = Callable[[Sequence[Item]], Guided]


class Maker:
    """Makes what is missing of batches.

    Args:
        out: folder of the set.
        make: images of some items.
        seed: of the set.
        batch: images at a time at most; halved where memory is short.
    """

    def __init__(self, out: Path, make: Make, seed: int, batch: int) -> None:
        self.out, self.make, self.seed, self.batch = out, make, seed, batch

    def run(self, units: Sequence[list[Item]], known: dict[str, Record], log: Path) -> int:
        """Go on until every image of these batches is there; returns how many were made.

        A batch of which some images are there is made as a whole and the others are written: alone
        they would be rounded in another way.

        Raises:
            UserError: memory for one image lacks; or what making says of its inputs.
        """
        lacking = missing([item for unit in units for item in unit], known, where(self.out))
        total = sum(map(len, units))
        made, done = 0, total - len(lacking)
        with Progress(total, "images", done) as progress:
            for unit in units:
                wanted = {item.key for item in unit} & lacking
                if not wanted:
                    continue
                for part, found, seconds in self._parts(unit):
                    records, pictures = records_of(part, found, self.seed, seconds)
                    for key, pixels in pictures.items():
                        if key in wanted:
                            write_png(self.out / MADE / f"{key}.png", pixels)
                    add(log, [each for each in records if each.key in wanted])
                made, done = made + len(wanted), done + len(wanted)
                progress.update(done)
        return made

    def _parts(self, unit: list[Item]) -> list[tuple[list[Item], Guided, float]]:
        """A batch in as many parts as memory asks for."""
        parts, start = list[tuple[list[Item], Guided, float]](), 0
        while start < len(unit):
            part, began = unit[start : start + self.batch], time.monotonic()
            try:
                found = self.make(part)
                parts.append((part, found, (time.monotonic() - began) / len(part)))
                start += len(part)
                continue
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
            # Behind the handler: the exception would keep the tensors alive.
            if len(part) == 1:
                raise UserError(
                    f"not enough memory for one image ({part[0].key}): take a smaller --size, a "
                    "--preview decoder for gradients, or --engine select, which has none"
                )
            self.batch = len(part) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            say(f"out of memory: on with batches of {self.batch}; the seeds stay the same")
        return parts
