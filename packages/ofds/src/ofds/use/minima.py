"""How many objects of each class must be found, and what to do where they cannot be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ofds.method.coverage import Contract
from ofds.use.dataset import Dataset, Objects
from repro_shared.runtime.errors import UserError


def minima(given: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """The minimum of each class, from `N` for all and `CLASS=N` for one; 0 where none is given.

    Raises:
        UserError: a class that is none, or a number that is none.
    """
    found, own = np.zeros(len(classes), np.int64), dict[str, int]()
    for text in given:
        name, equals, number = text.rpartition("=")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise UserError(f"--minimum {text!r}: give N for all classes, or CLASS=N for one")
        if not equals:
            found[:] = int(number)
        elif name in classes:
            own[name] = int(number)
        else:
            near = difflib.get_close_matches(name, classes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"classes: {', '.join(classes)}"
            raise UserError(f"--minimum {text!r}: no class {name!r}; {hint}")
    for name, least in own.items():
        found[list(classes).index(name)] = least
    return found


def advice(dataset: Dataset, proposals: Objects, contract: Contract, threshold: float) -> list[str]:
    """A line for each class that falls short and whose proposals lie below the threshold."""
    lines = []
    for label in np.flatnonzero(contract.found < contract.minimum):
        scores = proposals.score[proposals.label == label]
        below, name = scores[scores < threshold], dataset.categories[label].name
        if not len(scores):
            lines.append(f"{name}: nothing is proposed; try synonyms, or an image as the query")
        elif len(below):
            many, best = len(below), below.max()
            lines.append(
                f"{name}: {many} more below --threshold {threshold:g}, the best {best:.3g}"
            )
    return lines
