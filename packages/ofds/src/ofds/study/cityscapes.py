"""Cityscapes as its authors ship it, with a pool that `ofds propose` has made of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ofds.method.objects import Pool, make_pool
from ofds.use.features import Features, read_features
from ofds.use.pool_files import NAMES, PoolFiles
from ofds.use.repairs import Repairs
from repro_shared.datasets.label_maps import LabelMapFolder, Pair
from repro_shared.datasets.label_values import IGNORED, LabelValues
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
# https://github.com/mcordts/cityscapesScripts, helpers/labels.py: ids of the 19 classes.
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IMAGE, LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Frames:
    """Cityscapes below `--data`, with a pool and ImageNet weights.

    Attributes:
        weights: torchvision's ResNet-50 below `--data`; empty for random ones.
    """

    weights: str = "weights/resnet50.pth"

    name = "cityscapes"
    sentence = "real photographs: Cityscapes, the pool is its train split; scored on: val split"

    def missing(self, folder: Path | None) -> list[str]:
        """What is not there, and how to make it."""
        if folder is None:
            return ["cityscapes: give its folder with --data DIR"]
        wanted = [f"{kind}/{part}" for kind in ("leftImg8bit", "gtFine") for part in SPLITS]
        found = [f"cityscapes: {folder / part}" for part in wanted if not (folder / part).is_dir()]
        if any(not (folder / "pool" / name).is_file() for name in NAMES.values()):
            made = "ofds propose --folder leftImg8bit/train --masker SAM2 --detector GROUNDING-DINO"
            found.append(f"cityscapes: {folder / 'pool'}, made with `{made} ... --out pool`")
        if self.weights and not (folder / self.weights).is_file():
            found.append(f"cityscapes: {folder / self.weights}, torchvision's ResNet-50")
        return found

    def open(self, folder: Path | None) -> OpenedFrames:
        """Check all of it; frames are read when asked for.

        Raises:
            UserError: what is missing or does not fit together.
        """
        assert folder is not None
        train, val = (_files(folder, split) for split in SPLITS)
        surveys = [files.survey(f"{split}: frames checked", kept_bytes=0)
                   for files, split in ((train, "train"), (val, "val"))]  # fmt: skip
        for survey in surveys:
            survey.refuse()
        pool, features = _pool(folder / "pool", train)
        weights = folder / self.weights if self.weights else None
        prints = [survey.fingerprint for survey in surveys] + [features.sha256]
        prints += [sha256_file(weights)] if weights else []
        return OpenedFrames(train, val, pool, weights, "+".join(each[:32] for each in prints))


@dataclass(frozen=True)
class OpenedFrames:
    """Frames of both splits, what was proposed on those of train, and weights to begin with."""

    train: LabelMapFolder
    val: LabelMapFolder
    pool: Pool
    weights: Path | None
    fingerprint: str


def _files(folder: Path, split: str) -> LabelMapFolder:
    pairs = []
    for path in sorted((folder / "leftImg8bit" / split).rglob(f"*{IMAGE}")):
        city, stem = path.parent.name, path.name.removesuffix(IMAGE)
        label = folder / "gtFine" / split / city / f"{stem}{LABEL}"
        if not label.is_file():
            raise UserError(f"{path} has no label map {label}")
        pairs.append(Pair(f"{city}/{path.name}", path, label))
    if not pairs:
        raise UserError(f"{folder / 'leftImg8bit' / split}: no frames CITY/*{IMAGE}")
    mapped = dict.fromkeys(range(34), IGNORED) | {v: c for c, v in enumerate(IDS)}
    return LabelMapFolder(folder, pairs, LabelValues(len(CLASSES), mapped=tuple(mapped.items())))


def _pool(folder: Path, frames: LabelMapFolder) -> tuple[Pool, Features]:
    """The proposals on all frames; UserError for frames or classes that the pool has not."""
    files, repairs = PoolFiles(pool=str(folder)), Repairs()
    dataset = files.dataset(repairs)
    found, total = files.objects(dataset, repairs)
    features = read_features(files.found().features, total)
    names = [each.name for each in dataset.categories]
    if sorted(names) != sorted(CLASSES):
        lost = sorted(set(CLASSES) ^ set(names))
        raise UserError(f"{folder}: its classes are not the 19 of Cityscapes: {lost[0]!r}")
    if lost := sorted(set(frames.names) - {image.name for image in dataset.images}):
        raise UserError(f"{folder}: frame {lost[0]!r} is not in the pool")
    own = np.array([image.name in set(frames.names) for image in dataset.images])
    kept = np.flatnonzero(own[found.image] & ~np.isin(found.row, features.damaged) & ~found.crowd)
    label = np.array([CLASSES.index(name) for name in names])[found.label[kept]]
    images = [dataset.images[place].name for place in found.image[kept]]
    pool = make_pool(frames.names, CLASSES, images, label, found.score[kept], found.box[kept],
                     found.area[kept], features, found.row[kept])  # fmt: skip
    return pool, features
