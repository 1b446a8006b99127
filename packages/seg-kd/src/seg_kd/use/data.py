"""Segmentation sets and their views: per-position random seeds, no framework imports.

The transforms are mmseg's own; they draw from numpy's global generator, so each view seeds it from
(run seed, position in the stream) and puts it back afterwards. A view is then a pure function of
its position, whatever the number of workers and however often the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repro_shared.datasets import views
from repro_shared.datasets.label_maps import LabelMapFolder
from repro_shared.datasets.scenes import DigitScenes, SceneConfig
from repro_shared.datasets.views import Seeded
from repro_shared.datasets.wheels import Split
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes

Sample = tuple[np.ndarray, np.ndarray]
Transform = Callable[[dict[str, Any]], dict[str, Any]]


class InMemory(Sequence[Sample]):
    """Images (H, W, 3) uint8 RGB and label maps (H, W) uint8 (255 = ignore), read once."""

    def __init__(self, samples: list[Sample], fingerprint: str) -> None:
        self.samples = samples
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[index]


@dataclass(frozen=True)
class View:
    """How a training view of an image is drawn.

    Attributes:
        crop: training crop (height, width) in pixels, at least 16 x 16.
        resize_range: random scale factor.
        flip: probability of a horizontal flip (0 for digits: a mirrored 2 is no 2).
        photometric: mmseg's photometric distortion.
        largest_class: a crop in which one class fills more than this is drawn again, up to ten
            times (mmseg's cat_max_ratio); 1 where background fills nearly every crop anyway.
    """

    crop: tuple[int, int] = (512, 1024)
    resize_range: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    photometric: bool = True
    largest_class: float = 0.75

    def __post_init__(self) -> None:
        require(0 <= self.flip <= 1, "--flip", "0 to 1", self.flip)
        require(min(self.crop) >= 16, "--crop", "at least 16 x 16 pixels", self.crop)


@dataclass
class Splits:
    """Training and test images of a data set, in memory, with the names of its classes."""

    train: InMemory
    test: InMemory
    classes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Of both together."""
        return f"{self.train.fingerprint[:32]}+{self.test.fingerprint[:32]}"


@dataclass(frozen=True)
class Scenes:
    """Composed digit scenes: real MNIST digits on photographs, which come along.

    Attributes:
        scenes: their composition.
        train_length, test_length: number of scenes.
        test_split: whose digits and photographs are scored (`val` for tuning).
        seed: final evidence uses 0, settings were chosen from 100 up.
    """

    scenes: SceneConfig
    train_length: int
    test_length: int
    test_split: Split = "test"
    seed: int = 0

    name = "digit-scenes"

    @property
    def classes(self) -> tuple[str, ...]:
        """Background, then the digits."""
        return self.scenes.classes

    @property
    def sentence(self) -> str:
        """What the images are, and which are scored."""
        made = "rendered: real MNIST digits composed on photographs"
        return f"{made}; scored on: {self.test_split} split"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing: they come along."""
        return []

    def open(self, folder: Path | None) -> Splits:
        """Compose them."""
        train = self._part("train", self.train_length)
        return Splits(train, self._part(self.test_split, self.test_length), self.classes)

    def _part(self, split: Split, length: int) -> InMemory:
        scenes = DigitScenes(self.scenes, split, length, self.seed)
        samples = [(s.image, s.label_map) for s in (scenes[i] for i in range(length))]
        return InMemory(samples, scenes.fingerprint())


@dataclass(frozen=True)
class LabelMaps:
    """A folder `images/<split>/*`, `labels/<split>/<same name>.png`, given with `--data`.

    Attributes:
        name: the set's name.
        classes: class names; the label value of a class is its place.
        pictures: what the images are, in words.
        ignore_values: label values that count as unlabelled besides 255.
        train_split, test_split: names of the splits.
        hold_out: file-name prefix; if set, training leaves these files out and they are scored
            (tuning without touching the test split).
        own: whether it is a user's, whose classes and ignored labels are part of the fingerprint.
    """

    name: str
    classes: tuple[str, ...]
    pictures: str = "the user's images"
    ignore_values: tuple[int, ...] = (255,)
    train_split: str = "train"
    test_split: str = "val"
    hold_out: str = ""
    own: bool = False

    @property
    def sentence(self) -> str:
        """What the images are, and which are scored."""
        held = f"sequence {self.hold_out}, held out"
        return (
            f"{self.pictures}; scored on: {held if self.hold_out else f'{self.test_split} split'}"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """The folder, if it was not given."""
        return [] if folder is not None else [f"{self.name}: give its folder with --data DIR"]

    def open(self, folder: Path | None) -> Splits:
        """Read it.

        Raises:
            UserError: no folder, or one that the reader refuses.
        """
        if folder is None:
            raise UserError(f"{self.name} is not shipped: give its folder with --data DIR")
        train = self._part(folder, training=True)
        return Splits(train, self._part(folder, training=False), self.classes)

    def _part(self, folder: Path, training: bool) -> InMemory:
        split = self.train_split if training or self.hold_out else self.test_split
        files = LabelMapFolder(str(folder), split, len(self.classes), self.ignore_values)
        if self.hold_out:
            files = files.subset(lambda name: name.startswith(self.hold_out) != training)
        files.check()
        digest = files.fingerprint()
        if self.own:
            read_as = f"{digest} {len(self.classes)} {sorted({*self.ignore_values})}"
            digest = sha256_bytes(read_as.encode())
        return InMemory([files[i] for i in range(len(files))], digest)


class Views(views.Views):
    """Views for training: item (position, index) is image `index` seen at `position`."""

    def __init__(self, source: Sequence[Sample], transform: Transform, seed: int) -> None:
        super().__init__(source, Seeded(_FromSample(transform)), seed)


@dataclass(frozen=True)
class _FromSample:
    transform: Transform

    def __call__(self, sample: Sample) -> dict[str, Any]:
        return self.transform(as_results(*sample))


def as_results(image: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """The dictionary mmseg's transforms start from (they expect BGR)."""
    return {
        "img": np.ascontiguousarray(image[..., ::-1]),
        "img_shape": image.shape[:2],
        "ori_shape": image.shape[:2],
        "gt_seg_map": label.copy(),
        "seg_fields": ["gt_seg_map"],
        "reduce_zero_label": False,
    }
