"""Worlds with a spurious ground: the sets of pictures that a study reads, drawn from seeds.

In the student's set every picture has its class's own ground: the other groups are removed. The
teacher's, the judge's and the test set have all grounds alike. The generator's pool has the class's
own ground with the probability `share`, and hands out classes alone. No picture is in two sets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cg_augment.study.shapes import Labels, Pixels
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Arrays
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.runtime.rng import derive_seed

Part = Literal["student", "teacher", "judge", "pool", "test"]
PARTS: tuple[Part, ...] = ("student", "teacher", "judge", "pool", "test")


class Scene(Protocol):
    """How pictures of classes on grounds are drawn; a class's own ground has its number."""

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names."""
        ...

    @property
    def grounds(self) -> tuple[str, ...]:
        """Names, as many."""
        ...

    def render(
        self, labels: Labels, grounds: Labels, part: str, seed: int, empty: bool = False
    ) -> Pixels:
        """Pictures uint8 (n, size, size, 3)."""
        ...


@dataclass(frozen=True)
class World:
    """A data source.

    Attributes:
        name: in records.
        sentence: what the data are.
        scene: how pictures are drawn.
        student, teacher, judge: pictures of each set.
        test: pictures of each group.
    """

    name: str
    sentence: str
    scene: Scene
    student: int = 1000
    teacher: int = 6000
    judge: int = 6000
    test: int = 250

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> Opened:
        """Its sets."""
        return Opened(self)


@dataclass(frozen=True)
class Pool:
    """The data source of a generator: pictures with their classes.

    Attributes:
        world: of which.
        share: of pictures that have the class's own ground.
        count: pictures.
    """

    world: World
    share: float
    count: int = 16_000

    @property
    def name(self) -> str:
        """In records."""
        return f"{self.world.name}-pool-{100 * self.share:g}"

    @property
    def sentence(self) -> str:
        """What the data are."""
        return f"{self.world.sentence}; {100 * self.share:g} % on their class's own ground"

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> OpenedPool:
        """The pictures."""
        return OpenedPool(self)


class Opened:
    """A world's sets; the fingerprint is that of a few pictures of each and of the settings."""

    def __init__(self, source: World) -> None:
        self.source, self.scene = source, source.scene
        self._kept = dict[tuple[Part, int], Grouped]()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the groups: class, then ground."""
        return tuple(f"{one}/{other}" for one in self.scene.classes for other in self.scene.grounds)

    @cached_property
    def fingerprint(self) -> str:
        """As said above."""
        labels, kinds = np.arange(6) % len(self.scene.classes), np.arange(6) // 2
        arrays: dict[str, NDArray[Any]] = {
            part: self.scene.render(labels, kinds % len(self.scene.grounds), part, 100)
            for part in PARTS
        }
        said = np.frombuffer(repr(replace(self.source, sentence="")).encode(), np.uint8)
        return fingerprint_arrays({**arrays, "settings": said})

    def part(self, part: Part, seed: int) -> Grouped:
        """A set of a run's seed, but the pool; the last ones are kept in memory."""
        if (part, seed) not in self._kept:
            while len(self._kept) >= len(PARTS):
                self._kept.pop(next(iter(self._kept)))
            self._kept[part, seed] = self._drawn(part, seed)
        return self._kept[part, seed]

    def whole(self, seed: int) -> Grouped:
        """As many pictures as the student has, of all groups alike: what the oracle trains on."""
        classes, kinds = len(self.scene.classes), len(self.scene.grounds)
        every = np.arange(self.source.student) % (classes * kinds)
        own = derive_seed(seed, "whole")
        return drawn(self.source, "student", every // kinds, every % kinds, own)

    def empty(self, seed: int) -> Grouped:
        """Grounds without anything on them: 75 of each to 50 test pictures of a group, the numbers
        of Spurious ImageNet, since average precision depends on their ratio."""
        count = self.source.test * 75 // 50
        kinds = np.arange(count * len(self.scene.grounds)) % len(self.scene.grounds)
        own = derive_seed(self.source.name, "empty", seed)
        pixels = self.scene.render(kinds, kinds, "test", own, empty=True)
        groups = kinds * len(self.scene.grounds) + kinds
        return Grouped(Arrays(pixels, kinds, self.scene.classes), groups, self.names)

    def _drawn(self, part: Part, seed: int) -> Grouped:
        classes, kinds = len(self.scene.classes), len(self.scene.grounds)
        if part == "student":
            labels = np.arange(self.source.student) % classes
            return drawn(self.source, part, labels, labels, seed)
        groups = classes * kinds
        counts = {"teacher": self.source.teacher, "judge": self.source.judge}
        every = np.arange(counts.get(part, self.source.test * groups)) % groups
        return drawn(self.source, part, every // kinds, every % kinds, seed)


class OpenedPool:
    """A generator's pictures: their grounds are known to nobody from here on."""

    def __init__(self, source: Pool) -> None:
        self.source = source

    @cached_property
    def pictures(self) -> Arrays:
        """With their classes."""
        own, classes = self.source, len(self.source.world.scene.classes)
        g = np.random.default_rng(derive_seed(own.world.name, "pool", str(own.share)))
        labels = np.arange(own.count) % classes
        # Another ground than the class's own: each of the others alike.
        other = (labels + g.integers(1, classes, own.count)) % classes
        kinds = np.where(g.random(own.count) < own.share, labels, other)
        made = drawn(own.world, "pool", labels, kinds, 0).pictures
        assert isinstance(made, Arrays)
        return made

    @cached_property
    def fingerprint(self) -> str:
        """Of all pictures and classes."""
        return self.pictures.fingerprint()


def drawn(world: World, part: Part, labels: Labels, grounds: Labels, seed: int) -> Grouped:
    """Pictures of classes on grounds; no two parts or seeds have the same stream."""
    scene = world.scene
    names = tuple(f"{one}/{other}" for one in scene.classes for other in scene.grounds)
    pixels = scene.render(labels, grounds, part, derive_seed(world.name, part, seed))
    groups = labels * len(scene.grounds) + grounds
    return Grouped(Arrays(pixels, labels, scene.classes), groups.astype(np.int64), names)
