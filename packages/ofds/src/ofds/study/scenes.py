"""Pools of composed scenes: digits on photographs, with exact boxes and masks.

The pool is painted with the digits and photographs of the `train` split, the test set with those of
`test`, in which every class is equally frequent. A seed of a study sees a part of the pool of its
own. Everything is composed when asked for and kept in memory, one byte a value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Pool, make_pool
from repro_shared.datasets.scenes import DigitScenes, Scene, SceneConfig
from repro_shared.datasets.wheels import Split
from repro_shared.runtime.rng import derive_seed

Bytes = NDArray[np.uint8]
Complexity = Literal["simple", "complex"]

TAIL = 1.3  # Zipf exponent of the long-tailed pools
EASY = SceneConfig(
    min_digits=1, max_digits=5, min_scale=20, max_scale=36, brighter=True, backdrop=0.6,
    colour=0.5, min_contrast=0.4,
)  # fmt: skip
STYLES: dict[Complexity, SceneConfig] = {
    "simple": EASY,
    "complex": replace(
        EASY, max_digits=10, min_scale=14, min_contrast=0.3, occlusion=0.5, clutter=5, texture=0.08
    ),
}


@dataclass(frozen=True)
class Scenes:
    """Images with all their objects, as columns.

    Attributes:
        names: of the images, sorted.
        classes: the target classes, without the background.
        images: (n, size, size, 3) RGB.
        label_maps: (n, size, size) 0 background, 1 + place in `classes`, 255 ignored.
        instances: (n, size, size) 0 background, k for the k-th object of that image.
        image: (m,) place in `names` of each object, ascending.
        label: (m,) place in `classes`.
        box: (m, 4) x, y, width, height in pixels.
        area: (m,) visible pixels.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    images: Bytes
    label_maps: Bytes
    instances: Bytes
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float32]
    area: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.names)

    def part(self, places: NDArray[np.int64]) -> Scenes:
        """Some of the images, in ascending order."""
        kept = np.unique(places)
        have = np.isin(self.image, kept)
        return replace(
            self,
            names=tuple(self.names[place] for place in kept),
            images=self.images[kept],
            label_maps=self.label_maps[kept],
            instances=self.instances[kept],
            image=np.searchsorted(kept, self.image[have]),
            label=self.label[have],
            box=self.box[have],
            area=self.area[have],
        )

    def truth(self, features: NDArray[np.float32] | None = None) -> Pool:
        """The objects as a pool; `features` (m, d) are those of the true objects, in order."""
        owners = [self.names[place] for place in self.image]
        ones = np.ones(len(owners))
        return make_pool(
            self.names, self.classes, owners, self.label, ones, self.box, self.area, features
        )


def collect(scenes: list[Scene], classes: tuple[str, ...]) -> Scenes:
    """Single scenes as columns."""
    label_maps = np.stack([scene.label_map for scene in scenes])
    instances = np.zeros_like(label_maps)
    for into, scene in zip(instances, scenes, strict=True):
        for number, mask in enumerate(scene.instance_masks, start=1):
            into[mask] = number
    edges = np.concatenate([scene.boxes for scene in scenes])
    return Scenes(
        names=tuple(f"{place:05d}" for place in range(len(scenes))),
        classes=classes,
        images=np.stack([scene.image for scene in scenes]),
        label_maps=label_maps,
        instances=instances,
        image=np.repeat(np.arange(len(scenes)), [len(scene.classes) for scene in scenes]),
        label=np.concatenate([scene.classes for scene in scenes]).astype(np.int64) - 1,
        box=np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], axis=1),
        area=np.concatenate(
            [scene.instance_masks.sum(axis=(1, 2)) for scene in scenes]
        ).astype(np.float32),
    )  # fmt: skip


@dataclass(frozen=True)
class ScenePools:
    """The data source of the studies on composed scenes.

    Attributes:
        name: in records.
        complexity: which style, see `STYLES`.
        zipf: exponent of the pool's class frequencies; 0 for a balanced pool.
        images: in the whole pool.
        drawn: of these, the part that a seed of a study sees.
        test: scored images, all classes alike.
        seed: of the scenes.
        test_split: whose digits and photographs are scored (tuning: `val`).
    """

    name: str
    complexity: Complexity = "simple"
    zipf: float = 0.0
    images: int = 2000
    drawn: int = 1200
    test: int = 400
    seed: int = 0
    test_split: Split = "test"

    @property
    def style(self) -> SceneConfig:
        """How scenes of the pool are painted."""
        return replace(STYLES[self.complexity], class_imbalance=self.zipf)

    @property
    def sentence(self) -> str:
        """What the pictures are, and which are scored."""
        kind = f"Zipf exponent {self.zipf:g}" if self.zipf else "balanced classes"
        held_out = "" if self.test_split == "test" else f" (`{self.test_split}` digits)"
        return (
            f"composed: real MNIST digits on photographs, {self.complexity} scenes of "
            f"{self.style.size} x {self.style.size}, a pool of {self.drawn} images with {kind}; "
            f"scored on {self.test} images with all classes alike{held_out}"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing: all comes along."""
        return []

    def open(self, folder: Path | None) -> OpenedScenes:
        """Composes when asked for."""
        return OpenedScenes(self)


class OpenedScenes:
    """The whole pool, the part of a seed, and the test set."""

    def __init__(self, source: ScenePools) -> None:
        self.source = source

    @cached_property
    def fingerprint(self) -> str:
        """Of what the scenes depend on, and of some of them."""
        sets = (self._scenes("train"), self._scenes(self.source.test_split))
        return "+".join(each.fingerprint()[:32] for each in sets)

    @cached_property
    def pool(self) -> Scenes:
        """All images of the pool."""
        return collect(list(self._scenes("train")), self.source.style.classes[1:])

    @cached_property
    def test(self) -> Scenes:
        """The scored images."""
        return collect(list(self._scenes(self.source.test_split)), self.source.style.classes[1:])

    def places(self, seed: int) -> NDArray[np.int64]:
        """Which images of the pool a seed sees, ascending."""
        generator = np.random.default_rng(derive_seed(self.source.seed, "part", seed))
        drawn = generator.choice(self.source.images, self.source.drawn, replace=False)
        return np.sort(drawn).astype(np.int64)

    def rare(self, part: Scenes) -> list[int]:
        """Places of the classes that are the rarest third of a part of a long-tailed pool."""
        counts = np.bincount(part.label, minlength=len(part.classes))
        order: list[int] = np.argsort(counts, kind="stable").tolist()
        return order[: len(counts) // 3] if self.source.zipf else []

    def _scenes(self, split: Split) -> DigitScenes:
        source = self.source
        if split == "train":
            return DigitScenes(source.style, split, source.images, source.seed)
        balanced = replace(source.style, class_imbalance=0.0)
        return DigitScenes(balanced, split, source.test, source.seed)


@dataclass(frozen=True)
class OtherStyle:
    """What the proposer is trained on: scenes of the `val` split in another style.

    Other digits, other photographs, other colours, contrasts and sizes, all classes alike.
    """

    config: SceneConfig
    length: int
    name: str = "scenes-of-another-style"
    split: Split = "val"
    seed: int = 77

    @property
    def sentence(self) -> str:
        """What the pictures are."""
        size = self.config.size
        return (
            f"composed: other MNIST digits on other photographs, {self.length} scenes of {size} x "
            f"{size} in another style; nothing is scored on them"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing: all comes along."""
        return []

    def open(self, folder: Path | None) -> OpenedStyle:
        """Composes when asked for."""
        return OpenedStyle(DigitScenes(self.config, self.split, self.length, self.seed))


class OpenedStyle:
    """The proposer's scenes."""

    def __init__(self, scenes: DigitScenes) -> None:
        self.scenes = scenes

    @cached_property
    def fingerprint(self) -> str:
        """Of what the scenes depend on, and of some of them."""
        return self.scenes.fingerprint()

    @cached_property
    def pool(self) -> Scenes:
        """All of them."""
        return collect(list(self.scenes), self.scenes.config.classes[1:])
