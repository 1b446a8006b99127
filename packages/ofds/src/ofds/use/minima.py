"""How many objects of each class must be found, and what to do where they cannot be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ofds.method.coverage import Contract
from ofds.use.dataset import Dataset, Objects
from repro_shared.runtime.errors import UserError


def targets(given: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
    """(classes,) which are selected for: those named, each alone or several with commas between;
    all if none is. UserError for a name that is no class."""
    if not given:
        return np.ones(len(classes), bool)
    found = np.zeros(len(classes), bool)
    for text in given:
        for name in [text] if text in classes else text.split(","):
            if name.strip() not in classes:
                raise UserError(f"--classes {text!r}: {_unknown(name.strip(), classes)}")
            found[list(classes).index(name.strip())] = True
    return found


def _unknown(name: str, classes: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, classes, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"classes: {', '.join(classes)}"
    return f"no class {name!r}; {hint}"


def minima(
    given: Sequence[str], classes: Sequence[str], targets: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The minimum of each class, from `N` for all and `CLASS=N` for one; 1 where none is given,
    and 0 for classes that are not selected for.

    Raises:
        UserError: a class that is none or is not selected for, or a number that is none.
    """
    found, own = targets.astype(np.int64), dict[str, int]()
    for text in given:
        name, equals, number = text.rpartition("=")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise UserError(f"--minimum {text!r}: give N for all classes, or CLASS=N for one")
        if not equals:
            found[targets] = int(number)
        elif name not in classes:
            raise UserError(f"--minimum {text!r}: {_unknown(name, classes)}")
        elif not targets[list(classes).index(name)]:
            raise UserError(f"--minimum {text!r}: {name!r} is not among --classes")
        else:
            own[name] = int(number)
    for name, least in own.items():
        found[list(classes).index(name)] = least
    return found


def advice(dataset: Dataset, proposals: Objects, contract: Contract, threshold: float) -> list[str]:
    """What to do for each class of which too little is proposed, a line for each step.

    First what a lower threshold would bring, and where that is not enough, how `ofds propose` can
    be made to see more. A class of which enough is proposed falls short for another reason, which
    the contract names.
    """
    lines = []
    for label in np.flatnonzero(contract.found < contract.minimum):
        name, least = dataset.categories[label].name, int(contract.minimum[label])
        own = proposals.label == label
        if (proposals.score[own] >= threshold).sum() >= least:
            continue
        below = own & (proposals.score < threshold)
        lines += _lower(name, proposals, own, below, least)
        if own.sum() < least:
            lines += _more(name, int(own.sum()))
    return lines


def _lower(
    name: str, proposals: Objects, own: NDArray[np.bool_], below: NDArray[np.bool_], least: int
) -> list[str]:
    """The highest threshold that gives enough, or what the lowest one gives."""
    if not below.any():
        return []
    ranked = np.sort(proposals.score[own])[::-1]
    wanted = float(ranked[min(least, len(ranked)) - 1])
    step = np.floor(wanted * 1000) / 1000
    gained = below & (proposals.score >= step)
    images = len(np.unique(proposals.image[gained]))
    where = f"{images} image" + "s" * (images != 1)
    reach = f"{least} in all" if own.sum() >= least else f"{int(own.sum())} in all, still too few"
    return [
        f"{name}: --threshold {step:g} would bring {gained.sum()} more on {where}, {reach}; look "
        "at them before you trust them"
    ]


def _more(name: str, have: int) -> list[str]:
    """How the proposer can be asked again."""
    known = f"only {have} proposals at any score" if have else "nothing is proposed at any score"
    return [
        f"{name}: {known}; in turn: a lower --threshold of `ofds propose`; other words for it, "
        f"after tabs in the file of classes ({name}<tab>synonym<tab>synonym); a picture of one, "
        f"for OWLv2 (--query {name}=FILE); or images that somebody finds by hand (--must)"
    ]
