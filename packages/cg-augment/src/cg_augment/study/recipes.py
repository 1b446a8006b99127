"""The studies: every arm written out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cg_augment.study import costs
from repro_shared.study.paper import Scale, Study


@dataclass(frozen=True)
class Arithmetic:
    """No data: of a study without arms."""

    name = "none"
    sentence = "none: arithmetic"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> None:
        """Nothing: without arms nobody asks."""


def passes_by_engine(scale: Scale) -> Study:
    """How many passes of the networks an image takes, by engine.

    Cells: none that could be read. Cost: seconds. Deviations: none; it is arithmetic.
    """
    return Study("passes_by_engine", scale, Arithmetic(), (), (0,), tables=(costs.passes,))
