"""Road scenes with label maps, such as CamVid's, as pools of connected components."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from ofds.study.photographs import Photographs, lacking, scaled
from ofds.study.scenes import Scenes
from ofds.use.stuff import SMALLEST, components
from repro_shared.datasets.label_maps import LabelMapFolder, Pair
from repro_shared.datasets.label_values import IGNORED, LabelValues
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip


@dataclass(frozen=True)
class RoadScenes:
    """Frames with label maps in `images/{train,val}` and `labels/{train,val}`, such as CamVid's.

    An object is a connected component of the label map, see `ofds.use.stuff`.

    Attributes:
        classes: the label value of each is its place; other values are ignored.
        minority: classes that are scored apart.
        size: height and width to which frames are scaled.
        first: frames that a proposer learns from.
        hold_out: sequence, the beginning of file names, that is scored instead of `val` and then
            in no pool: for tuning.
        name, title, known: see `NamedSet`.
    """

    classes: tuple[str, ...] = CAMVID
    minority: tuple[str, ...] = ("pole", "sign", "fence", "pedestrian", "bicyclist")
    size: tuple[int, int] = (180, 240)
    first: int = 20
    hold_out: str = ""
    name: str = "camvid"
    title: str = "CamVid"
    known: tuple[str, ...] | None = None

    @property
    def scoring(self) -> str:
        """Which frames are scored."""
        held = f"sequence {self.hold_out}, held out"
        return f"; scored on: {held if self.hold_out else 'val split'}"

    @property
    def sentence(self) -> str:
        """What the frames are."""
        height, width = self.size
        return (
            f"real photographs: {self.title} road scenes, {width} x {height}; the proposer of a "
            f"seed has learned from {self.first} frames that are not in its pool; intervals cover "
            f"seeds, not scenes{self.scoring}"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """What is not there."""
        parts = ("train",) if self.hold_out else ("train", "val")
        wanted = [f"{kind}/{part}" for part in parts for kind in ("images", "labels")]
        return lacking(folder, self.name, *wanted)

    def open(self, folder: Path | None) -> Photographs:
        """Read frames and label maps, and find the objects.

        Raises:
            UserError: files that are missing, damaged, or of wrong sizes or values.
        """
        assert folder is not None
        train = self._files(folder, "train")
        if self.hold_out:
            test = train.subset(lambda name: name.startswith(self.hold_out))
            train = train.subset(lambda name: not name.startswith(self.hold_out))
        else:
            test = self._files(folder, "val")
        surveys = [part.survey() for part in (train, test)]
        for survey in surveys:
            survey.refuse()
        return Photographs(
            self._scenes(train),
            self._scenes(test),
            self.first,
            tuple(self.classes.index(name) for name in self.minority),
            "+".join(survey.fingerprint[:32] for survey in surveys),
        )

    def _files(self, folder: Path, split: str) -> LabelMapFolder:
        labels = {path.stem: path for path in (folder / "labels" / split).iterdir()}
        images = {
            path.stem: path
            for path in sorted((folder / "images" / split).iterdir())
            if path.suffix.lower() in SUFFIXES
        }
        if not images or (lost := sorted(images.keys() - labels.keys())):
            what = f"no label map for {lost[0]!r}" if images else "no images"
            raise UserError(f"{folder}: split {split} has {what}")
        values = [v for v in range(256) if v >= len(self.classes)]
        pairs = [Pair(stem, path, labels[stem]) for stem, path in images.items()]
        return LabelMapFolder(folder, pairs, LabelValues(len(self.classes), tuple(values)))

    def _scenes(self, files: LabelMapFolder) -> Scenes:
        height, width = self.size
        images = np.empty((len(files), height, width, 3), np.uint8)
        maps = np.empty((len(files), height, width), np.uint8)
        owner, parts = list[int](), list[Any]()
        for place, (image, labels) in enumerate(files):
            images[place] = scaled(image, self.size)
            small = scaled(labels, self.size, Picture.Resampling.NEAREST)
            maps[place] = np.where(small < IGNORED, small + 1, IGNORED)
            found, _ = components(small, len(self.classes), SMALLEST)
            owner += [place] * len(found)
            parts += found
        return Scenes(
            names=files.names,
            classes=self.classes,
            images=images,
            label_maps=maps,
            instances=np.zeros((len(files), 1, 1), np.uint8),
            image=np.array(owner, np.int64),
            label=np.array([part.label for part in parts], np.int64),
            box=np.array([part.box for part in parts], np.float32).reshape(-1, 4),
            area=np.array([part.area for part in parts], np.float32),
        )
