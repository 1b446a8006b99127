"""Pascal VOC as a pool: photographs, lists, true objects, and proposals on them.

What is read of `--data`: `VOC2012` as it is published, `pool` as `ofds propose` writes it for
`VOC2012/JPEGImages`, and `resnet50.pth`, the backbone's ImageNet weights as torchvision publishes
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofds.study.scenes import Scenes
from ofds.use.dataset import Dataset, Objects
from ofds.use.features import read_features
from ofds.use.formats.reading import read_results
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb
from repro_shared.runtime.progress import say

BACKBONE = "resnet50.pth"
COLUMNS = ("image", "label", "box", "area")


class Scored(NamedTuple):
    """Objects that are scored; VOC counts difficult ones neither for nor against, as COCO a crowd.

    A crowd takes what lies in it by half of a detection's own area, where VOC asks for the overlap.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float32]
    area: NDArray[np.float32]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class Voc:
    """VOC 2012 with its pool: `train` is chosen from, `val` is scored."""

    name: str = "voc2012"
    title: str = "Pascal VOC 2012"
    known: tuple[str, ...] | None = None
    scoring = "; chosen from `train`, scored on `val`"

    @property
    def sentence(self) -> str:
        """What the images are."""
        return f"real photographs: {self.title}{self.scoring}"

    def missing(self, folder: Path | None) -> list[str]:
        """What is not there."""
        needed = ["VOC2012/JPEGImages", "VOC2012/Annotations", "VOC2012/ImageSets/Main/train.txt",
                  "VOC2012/ImageSets/Main/val.txt", "pool/images.json", "pool/proposals.npz",
                  "pool/features.npy", BACKBONE]  # fmt: skip
        if folder is None:
            return [f"--data DIR with VOC2012, pool (of `ofds propose`) and {BACKBONE}"]
        return [str(folder / name) for name in needed if not (folder / name).exists()]

    def open(self, folder: Path | None) -> OpenedVoc:
        """Read lists, annotations and proposals; images are read when they are needed."""
        assert folder is not None
        return OpenedVoc(folder)


class OpenedVoc:
    """What was read of it.

    Attributes:
        folder: of everything.
        train, test: images by name, with their true objects as columns; `images` is empty there.
            Without those that VOC calls difficult (or crowds), which nobody pays for.
        hard: the same images of `train` with those alone.
        scored: all objects of `test`.
        found: proposals on `train`, with features' rows.
        features: (m, d), mapped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, repairs = folder, Repairs()
        truth = read_results(folder / "VOC2012", "voc", repairs)
        self.train, self.test = (self._part(truth, split) for split in ("train", "val"))
        self.hard, hard = (self._part(truth, split, hard=True) for split in ("train", "val"))
        both = {name: (getattr(self.test, name), getattr(hard, name)) for name in COLUMNS}
        crowd = np.repeat([False, True], [len(self.test.label), len(hard.label)])
        all_ = {name: np.concatenate(pair) for name, pair in both.items()}
        self.scored = Scored(**all_, crowd=crowd)
        files = PoolFiles(pool=str(folder / "pool"))
        pool = files.dataset(repairs)
        self.found, rows = files.objects(pool, repairs)
        self.features = read_features(files.found().features, rows)
        self.pool = pool
        for line in repairs.lines():
            say(f"{folder}: put right: {line}")
        self._placed()

    @cached_property
    def fingerprint(self) -> str:
        """Of annotations and proposals; the images are known by their names."""
        arrays: dict[str, NDArray[Any]] = {
            "hard": self.hard.box, "scored": self.scored.box, "crowd": self.scored.crowd,
            "box": self.train.box, "label": self.train.label, "test": self.test.box,
            "proposals": self.found.box, "score": self.found.score,
        }  # fmt: skip
        return fingerprint_arrays(arrays)

    def read(self, part: Scenes, place: int) -> NDArray[np.uint8]:
        """An image."""
        return read_rgb(self.folder / "VOC2012" / "JPEGImages" / part.names[place])

    def _part(self, truth: Dataset, split: str, hard: bool = False) -> Scenes:
        listed = (self.folder / "VOC2012" / "ImageSets" / "Main" / f"{split}.txt").read_text()
        stems = {line.split()[0] for line in listed.splitlines() if line.strip()}
        own = [i for i, image in enumerate(truth.images) if Path(image.name).stem in stems]
        if len(own) < len(stems):
            raise UserError(f"{self.folder}: {len(stems) - len(own)} images of {split} are missing")
        objects, none = truth.objects, np.zeros((0, 1, 1), np.uint8)
        flagged = np.array([bool(each.get("difficult")) for each in objects.entries], bool)
        have = np.flatnonzero(np.isin(objects.image, own) & ((flagged | objects.crowd) == hard))
        have = have[np.argsort(objects.image[have], kind="stable")]
        return Scenes(
            names=tuple(truth.images[i].name for i in own),
            classes=tuple(each.name for each in truth.categories),
            images=none, label_maps=none, instances=none,
            image=np.searchsorted(own, objects.image[have]), label=objects.label[have],
            box=objects.box[have].astype(np.float32), area=objects.area[have].astype(np.float32),
        )  # fmt: skip

    def _placed(self) -> None:
        """Proposals by the places of `train`; UserError for classes that are not VOC's."""
        names = [each.name for each in self.pool.categories]
        other = sorted(set(names) - set(self.train.classes))
        if other:
            raise UserError(f"{self.folder}/pool: class {other[0]!r} is none of VOC's")
        label = np.array([self.train.classes.index(name) for name in names], np.int64)
        place = {Path(name).name: i for i, name in enumerate(self.train.names)}
        own = np.array([place.get(Path(each.name).name, -1) for each in self.pool.images], np.int64)
        self.owner, self.label = own[self.found.image], label[self.found.label]

    def proposed(self) -> Any:
        """Columns of the proposals on `train`, by ascending image."""
        have = np.flatnonzero(self.owner >= 0)
        have = have[np.argsort(self.owner[have], kind="stable")]
        found = self.found
        return Objects(
            self.owner[have], self.label[have], found.score[have], found.box[have],
            found.area[have], found.crowd[have], found.row[have], (), (),
        )  # fmt: skip
