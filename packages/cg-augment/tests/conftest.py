"""A small world for tests: a class that a shape tells, and a colour that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cg_augment.use.classifiers import Classifier
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Arrays

CLASSES = ("bar", "cross")
GROUPS = ("bar/red", "bar/blue", "cross/red", "cross/blue")


class Net(nn.Module):
    """Two convolutions and the mean over places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.layers(images).mean(dim=(2, 3))
        return made


def make_classifier(
    seed: int = 0, width: int = 8, classes: tuple[str, ...] = CLASSES
) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(Net(width), nn.Linear(width, len(classes)), classes, 16, name="small")


def make_grouped(each: tuple[int, ...] = (8, 8, 8, 8), seed: int = 0) -> Grouped:
    """Pictures of 16 pixels: a bar or a cross in red or blue, anywhere."""
    g = np.random.default_rng(seed)
    groups = np.repeat(np.arange(4), each)
    pixels = g.integers(0, 60, (len(groups), 16, 16, 3)).astype(np.uint8)
    for picture, group in zip(pixels, groups, strict=True):
        y, x = g.integers(3, 13, 2)
        colour = (0, 2)[group % 2]
        picture[y, max(0, x - 3) : x + 4, colour] = 250
        if group >= 2:
            picture[max(0, y - 3) : y + 4, x, colour] = 250
    return Grouped(Arrays(pixels, groups // 2, CLASSES), groups, GROUPS)


def write_folders(root: Path, grouped: Grouped, with_groups: bool = False) -> Path:
    """The pictures as class folders, and below them group folders if wanted."""
    for index in range(len(grouped.pictures)):
        label, group = grouped.names[grouped.groups[index]].split("/")
        place = root / label / group if with_groups else root / label
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(grouped.pictures.read(index))
        image.save(place / f"{group}-{index}.png")
    return root


@pytest.fixture(scope="session")
def classifier_of() -> Callable[..., Classifier]:
    """Makes small classifiers."""
    return make_classifier


@pytest.fixture(scope="session")
def grouped_of() -> Callable[..., Grouped]:
    """Makes pictures with groups."""
    return make_grouped


@pytest.fixture(scope="session")
def folders_of() -> Callable[..., Path]:
    """Writes class folders."""
    return write_folders
