"""Real photographs that users bring with `--data`, as pools: blood cells; see also `road_scenes`.

A proposer of a seed learns from a few annotated images that the seed draws; the others are its
pool. Everything is read once and kept in memory at the size that the studies use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from ofds.study.scenes import Scenes
from ofds.use.formats.reading import read_results
from ofds.use.repairs import Repairs
from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import read_rgb
from repro_shared.runtime.progress import Progress, say
from repro_shared.runtime.rng import derive_seed

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Photographs:
    """What was read.

    Attributes:
        pool: images that may be chosen, and those that proposers learn from.
        test: scored images.
        first: images that the proposer of a seed learns from.
        minority: places of the classes that are scored apart.
        fingerprint: of all files that were read.
    """

    pool: Scenes
    test: Scenes
    first: int
    minority: tuple[int, ...]
    fingerprint: str

    def first_places(self, seed: int) -> Ints:
        """Images that the proposer of a seed learns from, ascending."""
        return np.sort(self._order(seed)[: self.first])

    def places(self, seed: int) -> Ints:
        """The others: the pool of a seed, ascending."""
        return np.sort(self._order(seed)[self.first :])

    def rare(self, part: Scenes) -> list[int]:
        """Places of the classes that are scored apart."""
        return list(self.minority)

    def _order(self, seed: int) -> Ints:
        generator = np.random.default_rng(derive_seed(seed, "first"))
        return generator.permutation(len(self.pool)).astype(np.int64)


@dataclass(frozen=True)
class BloodCells:
    """BCCD, blood cells under a microscope, in the form of Pascal VOC.

    Attributes:
        size: height and width to which the photographs are scaled.
        first: images that a proposer learns from.
        held_out: score on a quarter of the training images, which are then in no pool, so that
            tuning does not look at those that are scored in the end.
        known: see `NamedSet`.
    """

    size: tuple[int, int] = (192, 256)
    first: int = 60
    held_out: bool = False
    known: tuple[str, ...] | None = None

    name = "bccd"
    title = "BCCD"

    @property
    def scoring(self) -> str:
        """Which images are scored."""
        held = "a quarter of the training images, held out"
        return f"; scored on: {held if self.held_out else 'val split'}"

    @property
    def sentence(self) -> str:
        """What the images are."""
        height, width = self.size
        return (
            f"real photographs: BCCD blood cells, {width} x {height}; the proposer of a seed has "
            f"learned from {self.first} images that are not in its pool{self.scoring}"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """What is not there."""
        return lacking(folder, self.name, "Annotations", "JPEGImages", "ImageSets/Main/train.txt")

    def open(self, folder: Path | None) -> Photographs:
        """Read annotations and photographs; what had to be put right is said.

        Raises:
            UserError: a file that is missing or cannot be read.
        """
        assert folder is not None
        repairs = Repairs()
        dataset = read_results(folder, "voc", repairs)
        for line in repairs.lines():
            say(f"{folder}: put right: {line}")
        names = {Path(image.name).stem: place for place, image in enumerate(dataset.images)}
        train = self._listed(folder, "train", names)
        test = train[::4] if self.held_out else self._listed(folder, "val", names)
        pool = [place for place in train if place not in set(test)]
        prints = list[str]()
        for part in (pool, test):
            own = [dataset.images[place].name for place in part]
            files = [f"JPEGImages/{name}" for name in own]
            files += [f"Annotations/{Path(name).stem}.xml" for name in own]
            prints.append(fingerprint_folder(folder, files)[:32])
        scenes, scored = (self._scenes(folder, dataset, part) for part in (pool, test))
        return Photographs(scenes, scored, self.first, (), "+".join(prints))

    def _listed(self, folder: Path, split: str, names: dict[str, int]) -> list[int]:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        try:
            stems = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        if lost := [stem for stem in stems if stem not in names]:
            raise UserError(f"{path}: {lost[0]!r} has no file in Annotations")
        return sorted({names[stem] for stem in stems})

    def _scenes(self, folder: Path, dataset: Any, places: Sequence[int]) -> Scenes:
        """Photographs of some places of a data set, with their boxes at the new size."""
        objects, images, scale = dataset.objects, list[Bytes](), list[tuple[float, float]]()
        with Progress(len(places), "photographs read") as progress:
            for place in places:
                whole = read_rgb(folder / "JPEGImages" / dataset.images[place].name)
                images.append(scaled(whole, self.size))
                scale.append((self.size[1] / whole.shape[1], self.size[0] / whole.shape[0]))
                progress.update(len(images))
        have = np.flatnonzero(np.isin(objects.image, places) & ~objects.crowd)
        have = have[np.argsort(objects.image[have], kind="stable")]
        owner = np.searchsorted(places, objects.image[have])
        box = objects.box[have] * np.tile(np.array(scale), 2)[owner]
        return Scenes(
            names=tuple(dataset.images[place].name for place in places),
            classes=tuple(each.name for each in dataset.categories),
            images=np.stack(images),
            label_maps=np.zeros((len(images), 1, 1), np.uint8),
            instances=np.zeros((len(images), 1, 1), np.uint8),
            image=owner,
            label=objects.label[have],
            box=box.astype(np.float32),
            area=(box[:, 2] * box[:, 3]).astype(np.float32),
        )


def scaled(
    pixels: Bytes, size: tuple[int, int], how: Picture.Resampling = Picture.Resampling.BOX
) -> Bytes:
    """An image or a label map at another height and width."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Picture.fromarray(pixels).resize(size[::-1], how))


def lacking(folder: Path | None, name: str, *parts: str) -> list[str]:
    """What is not there below a folder, in words."""
    if folder is None:
        return [f"{name}: give its folder with --data DIR"]
    return [f"{name}: {folder / part}" for part in parts if not (folder / part).exists()]
