"""Pictures with captions, of objects and of digits: what the CLIP-style teacher is trained on.

Cues are independent of names here, in drawings as in photos; so are those of the real domain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clip_distill.study.captions import DIGITS, caption, captions
from clip_distill.study.digits import picture, write
from clip_distill.study.objects import CONTENT, CUES, KINDS, Scenes, World, angles, render
from clip_distill.study.worlds import Shown
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.datasets.wheels import NUM_DIGITS
from repro_shared.runtime.rng import derive_seed


@dataclass(frozen=True)
class Captioned:
    """The data source of the teacher's training.

    Attributes:
        world: how objects are drawn.
        objects, digits: how many pictures.
        named: share of the objects that are of a kind with a name.
        photos: share of the pictures in the style of the real domain.
        said: captions of each picture.
        seed: of all of it.
    """

    world: World = field(default_factory=World)
    objects: int = 20000
    digits: int = 4000
    named: float = 0.8
    photos: float = 0.6
    said: int = 4
    seed: int = 0
    name = "captioned-objects"

    @property
    def sentence(self) -> str:
        """What they are."""
        return (
            f"{self.objects} rendered objects and {self.digits} digits of fonts and people, with "
            f"{self.said} captions each by a grammar"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> OpenedCaptions:
        """Its generator."""
        return OpenedCaptions(self)

    def scenes(self) -> Scenes:
        """Objects, in the order of their pictures."""
        world, count = self.world, self.objects
        g = np.random.default_rng([derive_seed(self.seed, "captioned"), world.seed])
        named = g.random(count) < self.named
        label = np.where(named, g.integers(KINDS, size=count), -1)
        spread = g.normal(size=(count, CONTENT))
        content = np.where(named[:, None], world.prototypes[label] + world.within * spread, spread)
        return Scenes(
            content, label, g.integers(world.classes, size=(count, len(CUES))),
            g.uniform(-1, 1, (count, 5)), g.random(count) < self.photos,
            g.integers(2**31, size=count),
        )  # fmt: skip

    def pictures(self) -> tuple[Shown, list[list[str]]]:
        """All pictures, and `said` captions of each."""
        scenes, kinds = self.scenes(), self.world.classes
        photos = round(self.photos * self.digits)
        written = [
            write(count, real, 0.0, derive_seed(self.seed, "digits"))
            for real, count in ((True, photos), (False, self.digits - photos))
        ]
        pixels = np.concatenate([
            render(self.world, scenes),
            *(np.stack([picture(each, index, self.world.size) for index in range(len(each))])
              for each in written if len(each)),
        ])  # fmt: skip
        texts = []
        for number in range(self.said):
            own = derive_seed(self.seed, "said", number)
            g = np.random.default_rng(own)
            texts.append(captions(scenes, kinds, own) + [
                caption(f"digit {DIGITS[label]}", angles(cues, NUM_DIGITS), bool(real), g)
                for each in written
                for label, cues, real in zip(each.label, each.cues, each.real, strict=True)
            ])  # fmt: skip
        return Shown("captioned pictures", pixels), texts


class OpenedCaptions:
    """The fingerprint is that of a few pictures and captions, so that a changed generator shows."""

    def __init__(self, source: Captioned) -> None:
        self.source = source
        few, texts = Captioned(
            source.world, 12, 20, source.named, source.photos, 1, source.seed
        ).pictures()  # fmt: skip
        said = np.frombuffer("\n".join(texts[0]).encode(), np.uint8)
        counts = np.array([source.objects, source.digits, source.said])
        self.fingerprint = fingerprint_arrays(
            {"pixels": few.pixels, "captions": said, "counts": counts}
        )
