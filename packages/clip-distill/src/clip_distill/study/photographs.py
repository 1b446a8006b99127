"""Real photographs: stylised ones with a frame and a hue of their class, and plain ones (ours).

A user's copy of CIFAR-10 in class folders. The training photographs, with a tint and a frame of
another tint, stand for synthetic images; both go with the class with the study's confounding. The
test photographs, as they are, stand for real images. The teacher is EfficientNet-Lite0; the style
is one in which it names nearly as many photographs as of plain ones (results/protocol.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_distill.study.lite0 import SHA256, class_rows, lite0
from clip_distill.study.objects import colour
from clip_distill.study.worlds import Part, Shown
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.teachers import Teacher
from repro_shared.datasets.class_folders import ClassFolder, check_same_classes
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed

CLASSES = 10
FRAME = 4  # pixels of 32 on each side
FRAME_TINT, TINT = 0.2, 0.1  # by which a channel is stronger or weaker, at most
KNOWN = (
    "94a92cadb02e248c6405f5924cd922a724a82b09fecccffe27ea52d647a796e6",  # confounding 1
    "71572bab811913ae3c0c3548185aec149e041eac953f6b159c8a431b4102d48d",  # confounding 0
    "41a7c9f89a2a18d9b579aedea488c1c1f294a10edabf85d1c661199ac8e5ad57",  # tuning, confounding 1
    "f1e6b7aff7fe8ad3ff39bd263de2150ac6425d55acbb803b1fc044234326c4b9",  # tuning, confounding 0
)


@dataclass(frozen=True)
class Photographs:
    """CIFAR-10 in class folders `train` and `test`, below `--data`.

    Attributes:
        confounding: probability that frame and hue are the class's own.
        synthetic, held_out, labelled: training photographs of each part, as many of every class.
        name: in records.
        tuning: score on further training photographs, not on the test ones.
        teacher: sha256 of its weights.
    """

    confounding: float
    name: str = "cifar10"
    synthetic: int = 8000
    held_out: int = 500
    labelled: int = 1000
    tuning: bool = False
    teacher: str = SHA256

    title = "CIFAR-10"
    covers = "first weights, order and views; pictures and the teacher are the same for every seed"

    @property
    def known(self) -> tuple[str, ...] | None:
        """Fingerprints of the part of CIFAR-10 that the committed records are of."""
        return KNOWN

    @property
    def scoring(self) -> str:
        """Which pictures are scored."""
        return f", scored on plain {'further training' if self.tuning else 'test'} photographs"

    @property
    def sentence(self) -> str:
        """What the data are."""
        return (
            "real photographs of CIFAR-10 (a fixed part of it), stylised ones standing for "
            f"synthetic images; teacher: EfficientNet-Lite0{self.scoring}"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """The folders that are not there."""
        if folder is None:
            return ["cifar10: a folder with train/ and test/ (--data DIR)"]
        return [part for part in ("train", "test") if not (folder / part).is_dir()]

    def open(self, folder: Path | None) -> OpenedPhotographs:
        """Read them; UserError for unreadable ones, other classes or too few."""
        assert folder is not None
        train, test = ClassFolder(folder, "train"), ClassFolder(folder, "test")
        check_same_classes(train, test)
        wanted = self.synthetic + self.held_out + self.labelled + self.tuning * self.held_out
        if len(train.classes) != CLASSES or len(train) < wanted:
            raise UserError(
                f"{folder}: {len(train.classes)} classes and {len(train)} training pictures; "
                f"{CLASSES} and {wanted} are needed"
            )
        return OpenedPhotographs(self, train, test)


@dataclass
class OpenedPhotographs:
    """All pictures in memory; the parts are the same for every seed."""

    source: Photographs
    train: ClassFolder
    test: ClassFolder
    _kept: dict[Part, Shown] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.train.classes

    @property
    def seen(self) -> int:
        """All of them."""
        return len(self.classes)

    @cached_property
    def teacher(self) -> Teacher:
        """EfficientNet-Lite0."""
        return lite0()

    def teach_with(self, weights: Path) -> None:
        """No other teacher is trained here."""
        raise UserError("the photographs' teacher is EfficientNet-Lite0")

    @cached_property
    def texts(self) -> ClassTexts:
        """Rows of its classifier."""
        return class_rows(self.teacher, self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """Of all photographs, and of how they are cut into parts and stylised."""
        few = np.stack([stylised(np.asarray(self.train.read(0)), 3, 5)])
        said = f"{self.train.fingerprint()} {self.test.fingerprint()} {self.source}"
        return fingerprint_arrays({"few": few, "said": np.frombuffer(said.encode(), np.uint8)})

    def pictures(self, part: Part, seed: int) -> Shown:
        """A part; the seed of a run decides nothing of it."""
        if part not in self._kept:
            self._kept[part] = self._drawn(part)
        return self._kept[part]

    def _drawn(self, part: Part) -> Shown:
        if part == "generic":
            raise UserError("there are no generic photographs")
        files = self.test if part == "real" and not self.source.tuning else self.train
        places, targets = self._places(part), np.array(files.targets)
        pixels = [np.asarray(files.read(int(place))) for place in places]
        label = targets[places]
        if part in ("synthetic", "held-out", "swapped"):
            which = "synthetic" if part == "synthetic" else "test"
            g = np.random.RandomState(derive_seed("cues", which))
            own = g.uniform(size=(len(label), 2)) < self.source.confounding
            cues = np.where(own, label[:, None], g.randint(0, CLASSES, (len(label), 2)))
            if part == "swapped":
                cues = np.repeat((label[:, None] + 1) % CLASSES, 2, axis=1)
            pixels = [stylised(each, *own) for each, own in zip(pixels, cues.tolist(), strict=True)]
        return Shown(f"{part} photographs", np.stack(pixels), label, self.classes)

    def _places(self, part: Part) -> NDArray[np.int64]:
        """Numbers of files: all of the test set, or each part's own share of the training set."""
        source = self.source
        if part == "real" and not source.tuning:
            return np.arange(len(self.test))
        order = balanced(np.array(self.train.targets), derive_seed("photographs"))
        counts = {"synthetic": source.synthetic, "held-out": source.held_out,
                  "labelled": source.labelled, "real": source.held_out}  # fmt: skip
        name = "held-out" if part == "swapped" else part
        before = list(counts)[: list(counts).index(name)]
        start = sum(counts[each] for each in before)
        return np.sort(order[start : start + counts[name]])


def balanced(targets: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """An order of samples in which every part has as many of each class, as far as it goes."""
    order = np.random.RandomState(seed).permutation(len(targets))
    turn = np.empty(len(targets), np.int64)
    for label in np.unique(targets):
        own = order[targets[order] == label]
        turn[own] = np.arange(len(own))
    return order[np.argsort(turn[order], kind="stable")]


def stylised(photograph: NDArray[np.uint8], frame: int, hue: int) -> NDArray[np.uint8]:
    """With a tint, and a frame of another tint; kinds of both from 0 to 9.

    The frame is tinted, not painted over: what it shows of the photograph stays to be seen.
    """
    tints = np.broadcast_to(1 + _tint(7 * frame + 3, FRAME_TINT), photograph.shape).copy()
    tints[FRAME:-FRAME, FRAME:-FRAME] = 1
    made = photograph / 255 * tints * (1 + _tint(hue, TINT))
    return (255 * made.clip(0, 1)).round().astype(np.uint8)


def _tint(kind: int, strength: float) -> NDArray[np.float64]:
    return colour(2 * np.pi * kind / CLASSES, 0.0, strength)
