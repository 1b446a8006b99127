"""Linear probes on frozen features: logistic regression with a penalty that is chosen honestly.

The full probe follows CLIP's (arXiv 2103.00020, appendix A.3): L-BFGS with at most 1,000 steps, L2
penalties from 1e-6 to 1e6 whose interval is halved around the best down to 8 steps a decade, chosen
on a part of the training images that is held out, then fitted to all of them. The few-shot probe
draws k images a class and chooses among the same seven first penalties by folds of these alone. The
test images are read once, at the end. Features have length 1, times the root of their width (ours).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_distill.use.teachers import Floats
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed

DECADES = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
FINEST = 1 / 8  # of a decade
STEPS = 1000
FOLDS = 4  # of the few-shot probe, or as many as there are images a class
ALONE = 0.0  # decade for one image a class, of which none can be left out

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        predicted: (tests,) classes of the test images.
        decade: log10 of the penalty.
        held_out: accuracy in percent where the penalty was chosen; NaN where it was not.
        converged: whether L-BFGS came to its end.
    """

    predicted: Ints
    decade: float
    held_out: float
    converged: bool


def prepared(features: Floats) -> Floats:
    """Rows (n, width) at length sqrt(width), so that a value is about 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if (bad := ~((lengths > 0) & np.isfinite(lengths))).any():
        raise UserError(f"the features of image {int(bad.argmax())} are no direction")
    scaled: Floats = (features / lengths * features.shape[1] ** 0.5).astype(np.float32)
    return scaled


def full_probe(
    train: Floats, targets: Ints, test: Floats, held_out: float = 0.2, seed: int = 0
) -> Probe:
    """Fitted to all training images, the penalty chosen on a share of them.

    Args:
        train, test: `prepared` features.
        targets: (n,) classes of the training images.
        held_out: share of the images for the choice, drawn by class, at least as many as there are
            classes; a class with few images may have none among them.
        seed: of which images these are.

    Raises:
        UserError: a class with one training image, or a share that leaves too few to fit to.
    """
    from sklearn.model_selection import train_test_split

    small = np.bincount(targets)
    if (small == 1).any():
        raise UserError(
            f"class {int((small == 1).argmax())} has one training image, and a part of each is "
            "held out: give two or more, or take --shots 1 --no-full"
        )
    classes = len(np.unique(targets))
    aside = max(classes, round(held_out * len(targets)))
    if len(targets) - aside < classes:
        raise UserError(
            f"--held-out {held_out:g} leaves {len(targets) - aside} of {len(targets)} training "
            f"images for {classes} classes: give less"
        )
    fit, choose = train_test_split(
        np.arange(len(targets)), test_size=aside, stratify=targets,
        random_state=derive_seed("held out", seed),
    )  # fmt: skip
    seen = dict[float, float]()

    def right(decade: float) -> float:
        if decade not in seen:
            found, _ = fitted(train[fit], targets[fit], train[choose], decade)
            seen[decade] = 100 * float((found == targets[choose]).mean())
        return seen[decade]

    for decade in DECADES:
        right(decade)
    step = 1.0
    while step >= FINEST:
        middle = _best(seen)
        for decade in (middle - step, middle + step):
            if DECADES[0] <= decade <= DECADES[-1]:
                right(decade)
        step /= 2
    best = _best(seen)
    predicted, converged = fitted(train, targets, test, best)
    return Probe(predicted, best, seen[best], converged)


def few_shot(train: Floats, targets: Ints, test: Floats, shots: int, seed: int = 0) -> Probe:
    """Fitted to `shots` images of each class, those of fewer shots among those of more.

    Raises:
        UserError: a class with fewer training images.
    """
    from sklearn.model_selection import StratifiedKFold

    chosen = drawn(targets, shots, seed)
    x, y = train[chosen], targets[chosen]
    best, value = ALONE, float("nan")
    if shots > 1:
        folds = StratifiedKFold(min(FOLDS, shots), shuffle=True,
                                random_state=derive_seed("folds", seed))  # fmt: skip
        parts = list(folds.split(x, y))
        seen = {
            decade: 100 * float(np.mean([
                (fitted(x[fit], y[fit], x[rest], decade)[0] == y[rest]).mean()
                for fit, rest in parts
            ]))
            for decade in DECADES
        }  # fmt: skip
        best = _best(seen)
        value = seen[best]
    predicted, converged = fitted(x, y, test, best)
    return Probe(predicted, best, value, converged)


def drawn(targets: Ints, shots: int, seed: int) -> Ints:
    """Places of so many images of each class, in order; with more shots others come to them."""
    places = list[Any]()
    for label in np.unique(targets):
        own = np.flatnonzero(targets == label)
        if len(own) < shots:
            raise UserError(f"--shots {shots}: class {label} has {len(own)} training images")
        order = np.random.RandomState(derive_seed("shots", seed, int(label))).permutation(len(own))
        places.append(own[order[:shots]])
    return np.sort(np.concatenate(places))


def fitted(x: Floats, y: Ints, test: Floats, decade: float) -> tuple[Ints, bool]:
    """Classes of the test features, and whether the fit came to its end.

    Args:
        x, y: features (n, width) and classes (n,) to fit to.
        test: (m, width).
        decade: log10 of the weight of half the squared weights against the sum of the losses.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) < 2:
        raise UserError("a probe needs two classes or more")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(C=10.0**-decade, max_iter=STEPS).fit(x, y)
    failed = any(issubclass(each.category, ConvergenceWarning) for each in caught)
    return np.asarray(model.predict(test), np.int64), not failed


def hidden(zero_shot: Sequence[float], probe: Sequence[float], least: float = 5.0) -> float | None:
    """Share of a student's zero-shot gap to its teacher that a probe does not show; None for none.

    Args:
        zero_shot: accuracy in percent of student and teacher.
        probe: the same by probe.
        least: points of the gap that are worth speaking of.
    """
    gap, left = (pair[1] - pair[0] for pair in (zero_shot, probe))
    if gap < least or left >= gap / 2:
        return None
    return 1 - left / gap


def _best(seen: dict[float, float]) -> float:
    """The decade of the highest value; of equal ones the strongest penalty."""
    return max(seen, key=lambda decade: (seen[decade], decade))
