"""Where pictures and given weights come from: frozen sources, and what they open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from amod.use.classes import read_class_map
from amod.use.data import canvases
from repro_shared.datasets.class_folders import ClassFolder, check_same_classes
from repro_shared.datasets.scenes import SceneConfig
from repro_shared.datasets.views import Arrays
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.rng import derive_seed

Split = Literal["train", "val", "test"]
SUFFIXES = (".safetensors", ".pth")  # of weights, in the order in which they are looked for


@dataclass
class Pictures:
    """What training and scoring read; without training pictures only scoring is done.

    `mapped`: a class map gives the numbers of the classes.
    """

    train: Any
    test: Any
    mapped: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.test.classes)

    @cached_property
    def fingerprint(self) -> str:
        """Of both parts."""
        parts = [self.test] if self.train is None else [self.train, self.test]
        return "+".join(part.fingerprint()[:32] for part in parts)


@dataclass(frozen=True)
class DigitCanvases:
    """Digits on cluttered canvases, composed of what comes along.

    Attributes:
        name: in records.
        scenes: how they are composed, one digit in each.
        train_length, test_length: how many.
        seed: of the canvases.
        test_split: whose digits are scored (tuning: `val`).
    """

    name: str
    scenes: SceneConfig
    train_length: int
    test_length: int
    seed: int = 0
    test_split: Split = "test"

    @property
    def sentence(self) -> str:
        """What the pictures are."""
        size = f"{self.scenes.size} x {self.scenes.size}"
        held_out = "" if self.test_split == "test" else f", scored on `{self.test_split}` digits"
        return (
            f"composed: real MNIST digits among pieces of others on photographs, {size}{held_out}"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing: all comes along."""
        return []

    def open(self, folder: Path | None) -> Pictures:
        """Compose them."""
        return Pictures(
            canvases(self.scenes, "train", self.train_length, self.seed),
            canvases(self.scenes, self.test_split, self.test_length, self.seed),
        )


@dataclass(frozen=True)
class SmallPhotographs:
    """Class folders `train/` and `test/` of small photographs, read into memory.

    Attributes:
        name: what they are, in records.
        size: side in pixels to which they are scaled.
        classes: how many there must be.
        held_out: score on a fifth of the training pictures, which training then leaves out, so that
            tuning does not look at the test pictures.
        known: see `NamedSet`.
    """

    name: str
    size: int = 32
    classes: int = 10
    held_out: bool = False
    known: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """In prose."""
        return self.name

    @property
    def scoring(self) -> str:
        """Which pictures are scored, where it is not the test set."""
        return ", scored on a fifth of the training pictures" if self.held_out else ""

    @property
    def sentence(self) -> str:
        """What the pictures are, and which are scored."""
        side = f"{self.size} x {self.size}"
        return f"real photographs: {self.name} in class folders, {side}{self.scoring}"

    def missing(self, folder: Path | None) -> list[str]:
        """The folders that are not there."""
        parts = ("train",) if self.held_out else ("train", "test")
        return _missing(folder, parts, self.name)

    def open(self, folder: Path | None) -> Pictures:
        """Read them; UserError for unreadable ones, or other classes."""
        assert folder is not None
        train, test = self._read(folder, "train"), self._read(folder, "test")
        if train.classes != test.classes or len(train.classes) != self.classes:
            raise UserError(
                f"{self.name} must have the same {self.classes} classes in train and test; found "
                f"{len(train.classes)} and {len(test.classes)}"
            )
        return Pictures(train, test)

    def _read(self, folder: Path, part: str) -> Arrays:
        where = "train" if self.held_out else part
        files = ClassFolder(folder, where)
        # Mixed, so that the first pictures, which importance looks at, are of all classes.
        order = np.random.RandomState(derive_seed("order", where)).permutation(len(files))
        if self.held_out:
            order = order[np.arange(len(order)) % 5 != 0] if part == "train" else order[::5]
        pictures = [files.read(int(i)).resize((self.size, self.size)) for i in order]
        return Arrays(
            np.stack([np.asarray(picture) for picture in pictures]),
            np.array(files.targets)[order],
            tuple(files.classes),
            files.fingerprint(),
        )


@dataclass(frozen=True)
class ImageFolders:
    """Class folders of photographs, read while training.

    Attributes:
        name: what they are, in records.
        folder: below `--data`; empty where that is the folder itself.
        scored: the folder that is scored.
        train: the folder that is trained on; empty where nothing is trained.
        class_map: file that numbers the classes, see `amod.use.classes`.
        known: see `NamedSet`.
    """

    name: str
    folder: str = ""
    scored: str = "test"
    train: str = "train"
    class_map: str = ""
    known: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """In prose."""
        return self.name

    @property
    def scoring(self) -> str:
        """Which pictures are scored."""
        return f", scored on {self.scored}"

    @property
    def sentence(self) -> str:
        """What the pictures are, and which are scored."""
        return f"real photographs: {self.name}{self.scoring}"

    def missing(self, folder: Path | None) -> list[str]:
        """The folders that are not there."""
        parts = tuple(filter(None, (self.train, self.scored)))
        return _missing(folder, tuple(str(Path(self.folder, part)) for part in parts), self.name)

    def open(self, folder: Path | None) -> Pictures:
        """List them; UserError for folders that hold other classes."""
        root = (folder or Path()) / self.folder
        class_map = read_class_map(self.class_map) if self.class_map else None
        test = ClassFolder(root, self.scored, class_map)
        if not self.train:
            return Pictures(None, test)
        train = ClassFolder(root, self.train, class_map)
        check_same_classes(train, test)
        return Pictures(train, test)


@dataclass
class Weights:
    """A file of weights, or None for random ones; of a file perhaps the averaged ones (EMA)."""

    path: Path | None
    averaged: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """Of the file's bytes."""
        return "random" if self.path is None else sha256_file(self.path)


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint `weights/<model>.safetensors` (or .pth) below `--data`, or a file of the user's.

    Attributes:
        model: timm's name.
        path: the file; empty for the one below `--data`.
    """

    model: str
    path: str = ""

    @property
    def name(self) -> str:
        """In records."""
        return f"weights of {self.model}"

    @property
    def sentence(self) -> str:
        """What they are."""
        return f"a checkpoint of {self.model}"

    def missing(self, folder: Path | None) -> list[str]:
        """The file, if it is not there."""
        if self._file(folder) is not None:
            return []
        return [self.path or f"weights/{self.model}.safetensors or .pth"]

    def open(self, folder: Path | None) -> Weights:
        """Where it lies."""
        return Weights(self._file(folder))

    def _file(self, folder: Path | None) -> Path | None:
        if self.path:
            return Path(self.path) if Path(self.path).is_file() else None
        places = [(folder or Path()) / "weights" / f"{self.model}{suffix}" for suffix in SUFFIXES]
        return next((path for path in places if path.is_file()), None)


@dataclass(frozen=True)
class RandomWeights:
    """No file: the run's seed decides."""

    name = "random weights"
    sentence = "random weights"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> Weights:
        """No file."""
        return Weights(None)


def _missing(folder: Path | None, parts: tuple[str, ...], name: str) -> list[str]:
    if folder is None:
        wanted = " and ".join(f"{part}/" for part in parts)
        return [f"{name}: a folder with {wanted} (--data DIR)"]
    return [part for part in parts if not (folder / part).is_dir()]


def canvas(digits: tuple[int, ...]) -> SceneConfig:
    """One digit of 14 to 20 of 32 pixels, three pieces of others and noise on a photograph.

    Gray ink, upright and clearly lighter: a small ViT learns from scratch only slowly.
    """
    return SceneConfig(
        size=32,
        digits=digits,
        min_digits=1,
        max_digits=1,
        min_scale=14,
        max_scale=20,
        rotation=5,
        shear=0.0,
        occlusion=0.0,
        min_contrast=0.5,
        colour=0.0,
        brighter=True,
        backdrop=0.3,
        clutter=3,
    )
