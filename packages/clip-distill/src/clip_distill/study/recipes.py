"""The studies: every arm written out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clip_distill.study.parameters import parameters
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


def parameter_counts(scale: Scale) -> Study:
    """How many parameters students save, by both ways of counting.

    Cells: abstract (up to 92 % fewer). Cost: seconds. Deviations: none; it is arithmetic.
    """
    return Study("parameter_counts", scale, Arithmetic(), (), (0,), tables=(parameters,))
