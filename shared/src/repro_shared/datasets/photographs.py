"""Photographs that come inside the wheels of scikit-image and scikit-learn: no downloads."""

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

# Each split has objects, texture and scientific pictures; the stereo pair stays together. Files of
# scikit-image's data folder, except `_SCIKIT_LEARN`.
FILES: dict[Split, tuple[str, ...]] = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "china.jpg",
        "coffee.png",
        "grass.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
    ),
    "val": ("coins.png", "flower.jpg", "moon.png", "rocket.jpg"),
    "test": ("cell.png", "chelsea.png", "gravel.png", "ihc.png"),
}
# Needed beside any published picture that shows these two; all the others are free of conditions.
CREDIT = (
    "china.jpg by danielbuechele, flower.jpg by vultilion (both flickr.com, CC BY 2.0), "
    "from scikit-learn"
)
_SCIKIT_LEARN = ("china.jpg", "flower.jpg")


@lru_cache(maxsize=len(SPLITS))
def _read_split(split: Split) -> tuple[tuple[str, NDArray[np.uint8]], ...]:
    pictures = []
    for file in FILES[split]:
        module, folder = (
            ("sklearn", "datasets/images") if file in _SCIKIT_LEARN else ("skimage", "data")
        )
        package = importlib.util.find_spec(module)
        if package is None or package.origin is None:
            raise UserError(f"{module} is not installed: pip install 'repro-shared[data]'")
        # Read from the wheel: skimage.data's own functions go to the network for a missing file.
        picture = read_rgb(Path(package.origin).parent / folder / file)
        picture.setflags(write=False)
        pictures.append((file.rsplit(".", 1)[0], picture))
    return tuple(pictures)


def photographs(split: Split) -> dict[str, NDArray[np.uint8]]:
    """Photographs of one split; no picture is in two splits.

    Args:
        split: "train" (10 pictures), "val" (4) or "test" (4).

    Returns:
        Name to RGB, uint8 (H, W, 3), 303 to 1,411 pixels high; gray pictures have three equal
        channels. Arrays are read-only, since the process shares them.

    Raises:
        UserError: An unknown split, or a wheel that is missing or incomplete.
    """
    if split not in FILES:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    return dict(_read_split(split))
