"""The detector that comes along: digits, found by what was trained here.

It has seen composed scenes of another style than the pools of the studies, so it misses objects and
mistakes some, as detectors do. `digits.json` beside its weights is the record of its training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofds.use.nets.centre_point import CentrePoint
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

FILE = Path(__file__).parents[2] / "weights" / "digits.safetensors"
DIGITS = "5cf3b5a54bb774a64a14aad5500740f849aedc440dd29ffcd48602a72e368f0c"
"""Its sha256."""


@dataclass(frozen=True)
class Committed:
    """A detector with its classes.

    Attributes:
        model: in evaluation mode.
        classes: names, in the order of its labels.
        size: side in pixels of the images that it was trained on; objects are 14 to 40 pixels
            long in them.
    """

    model: CentrePoint
    classes: tuple[str, ...]
    size: int = 96


def digits() -> Committed:
    """The detector of digits; UserError if its file is not what it was."""
    if not FILE.is_file() or sha256_file(FILE) != DIGITS:
        raise UserError(f"{FILE} is missing or damaged: restore it, or use --retrain")
    classes = tuple(f"digit {digit}" for digit in range(10))
    model = CentrePoint(len(classes))
    load_strictly(model, read_weights(FILE), str(FILE))
    return Committed(model.eval(), classes)
