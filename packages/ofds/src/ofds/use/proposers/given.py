"""Proposals that somebody has already, of whatever detector: outlines and features are added."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ofds.use.masks import pixels, run_lengths
from ofds.use.pool_files import PoolFiles
from ofds.use.proposers.interface import Detections, Picture
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import say

SUFFIXES = (".json", ".npz")


class Given:
    """COCO results, or a table of proposals, on the images of a COCO file.

    Args:
        path: of the results.
        images: of the COCO file with images and classes.
        classes: that are wanted, by name.
    """

    threshold = 0.0

    def __init__(self, path: str, images: str | None, classes: Sequence[str]) -> None:
        if not images:
            raise UserError(
                f"--detector {path}: results need --images, the COCO file with their ids"
            )
        repairs, files = Repairs(), PoolFiles(images=images, proposals=path)
        dataset = files.dataset(repairs)
        found, _ = files.objects(dataset, repairs)
        for line in repairs.lines():
            say(f"put right: {line}")
        names = [each.name for each in dataset.categories]
        if missing := [name for name in classes if name not in names]:
            raise UserError(f"{images} has no class {missing[0]!r}")
        column = np.array([classes.index(name) if name in classes else -1 for name in names])
        self.found, self.label, self.classes = found, column[found.label], len(classes)
        usable = np.flatnonzero((self.label >= 0) & ~found.crowd)
        usable = usable[np.argsort(found.image[usable], kind="stable")]
        cuts = np.searchsorted(found.image[usable], np.arange(len(dataset.images) + 1))
        self.rows = {
            image.name: usable[cuts[place] : cuts[place + 1]]
            for place, image in enumerate(dataset.images)
        }
        self.sizes = {image.name: (image.width, image.height) for image in dataset.images}
        self.about = {"model": "given", "sha256": sha256_file(Path(path))}

    def of(self, names: Sequence[str], images: Sequence[Picture]) -> list[Detections]:
        """What was proposed on images of these names; ValueError for one of another size."""
        return [self._on(name, image) for name, image in zip(names, images, strict=True)]

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """Nothing: on an image without a name nothing was proposed."""
        return [self._on("", image) for image in images]

    def _on(self, name: str, image: Picture) -> Detections:
        rows = self.rows.get(name, np.zeros(0, np.int64))
        width, height = self.sizes.get(name, (0, 0))
        if len(rows) and width and image.shape[:2] != (height, width):
            raise ValueError(
                f"results for {width} x {height} pixels, upright it has "
                f"{image.shape[1]} x {image.shape[0]}"
            )
        box = self.found.box[rows].astype(np.float32)
        scores = np.zeros((len(rows), self.classes), np.float32)
        least = np.finfo(np.float32).tiny  # so that a score of 0 has a class, too
        scores[np.arange(len(rows)), self.label[rows]] = np.maximum(self.found.score[rows], least)
        drawn = [self.found.entries[row].get("segmentation") for row in rows]
        masks = tuple(_counts(each, image) for each in drawn) if any(drawn) else None
        edges = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
        return Detections(edges, scores, None, masks)


def _counts(segmentation: Any, image: Picture) -> bytes:
    """Compressed run lengths; none where the mask is damaged or of another size."""
    size = (image.shape[0], image.shape[1])
    if not segmentation:
        return b""
    try:
        drawn = pixels(segmentation, size)
    except (ValueError, TypeError, KeyError):
        return b""
    return run_lengths(drawn)["counts"].encode() if drawn.shape == size else b""
