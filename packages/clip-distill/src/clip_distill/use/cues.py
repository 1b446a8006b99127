"""Exchanging a cue between pictures of other classes: border, colours, or background.

What a student has learned of synthetic images may be how the generator surrounds or paints a class.
A picture gets the cue of another class's picture, and whether its prediction goes along tells. As a
control it gets the cue of another picture of its own class: an exchange alone costs accuracy, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from clip_distill.use.original_sets import OriginalSet
from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Pixels, Preprocessing
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.images import SUFFIXES, open_image
from repro_shared.runtime.rng import derive_seed

Cue = Literal["border", "colours", "background"]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """Where the objects of pictures are.

    Args:
        pictures: of the objects.
        folder: of mask images, white on black, named as the pictures, in any ending; None for
            those that come with the set (Oxford Pets).
    """

    pictures: Pictures
    folder: str | None = None

    def mask(self, index: int) -> Mask:
        """Of a picture, (h, w); UserError where there is none, or one of another shape."""
        picture = self.pictures.ids[index]
        if self.folder is None:
            found = None
            if isinstance(self.pictures, OriginalSet):
                found = self.pictures.mask(index)
            if found is None:
                raise UserError(f"{picture} has no mask: the cue `background` needs --masks FOLDER")
            return found
        stem = Path(self.folder) / Path(picture).with_suffix("")
        for suffix in SUFFIXES:
            if (path := stem.with_name(stem.name + suffix)).is_file():
                return np.asarray(open_image(path).convert("L")) > 127
        raise UserError(f"{stem}: no mask of {picture} ({' '.join(SUFFIXES)})")


@dataclass(frozen=True)
class Exchange:
    """What `encode` does to each picture.

    Attributes:
        cue: which.
        donors: pictures that give it.
        chosen: the donor's number for each picture.
        prepared: how the model takes pictures.
        share: of the side that the border is wide.
        masks: of the pictures, and of the donors, for the background.
    """

    cue: Cue
    donors: Pictures
    chosen: tuple[int, ...]
    prepared: Preprocessing
    share: float = 0.15
    masks: tuple[Masks, Masks] | None = None

    def __call__(self, pixels: Pixels, index: int) -> Pixels:
        """The picture, uint8 (s, s, 3), with the donor's cue."""
        place = self.chosen[index]
        donor = self.prepared.centre(self.donors.read(place))
        if self.cue == "border":
            return with_border(pixels, donor, self.share)
        if self.cue == "colours":
            return with_colours(pixels, donor)
        assert self.masks is not None
        own, other = self.masks
        ground = without_object(donor, self._cut(other, place, self.donors))
        return np.where(self._cut(own, index, own.pictures)[..., None], pixels, ground)

    def _cut(self, masks: Masks, index: int, pictures: Pictures) -> Mask:
        """A mask as the model sees its picture."""
        mask = masks.mask(index)
        if mask.shape != (shape := pictures.read(index).shape[:2]):
            raise UserError(f"{pictures.ids[index]}: {shape} pixels, its mask {mask.shape}")
        grey = np.repeat(255 * mask.astype(np.uint8)[..., None], 3, axis=2)
        return self.prepared.centre(grey)[..., 0] > 127


def with_border(picture: Pixels, donor: Pixels, share: float) -> Pixels:
    """The picture's middle inside the donor's border, a share of the side wide on each side."""
    width = round(share * len(picture))
    made = donor.copy()
    inner = slice(width, len(picture) - width)
    made[inner, inner] = picture[inner, inner]
    return made


def with_colours(picture: Pixels, donor: Pixels) -> Pixels:
    """The picture with mean and deviation of the donor's channels in YCbCr, brightness kept.

    As Reinhard et al. (2001) carry colours over, in another space.
    """
    one, two = (np.asarray(Image.fromarray(p).convert("YCbCr"), np.float32) for p in
                (picture, donor))  # fmt: skip
    for channel in (1, 2):
        own, other = one[..., channel], two[..., channel]
        spread = float(other.std()) / max(float(own.std()), 1.0)
        one[..., channel] = (own - own.mean()) * spread + other.mean()
    made = Image.fromarray(one.clip(0, 255).round().astype(np.uint8), "YCbCr")
    return np.asarray(made.convert("RGB"))


def without_object(picture: Pixels, mask: Mask) -> Pixels:
    """The picture with each pixel of its object replaced by the nearest one of its background."""
    if mask.all():
        return np.full_like(picture, 127)  # nothing of the background is to be seen
    rows, columns = distance_transform_edt(mask, return_distances=False, return_indices=True)
    return picture[rows, columns]


def choose_donors(
    pictures: Pictures, donors: Pictures, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A donor of another class, and one of its own class, for each picture.

    The other class is drawn first, each with the same chance, then one of its pictures. Where
    pictures give cues to each other, none is its own donor.

    Raises:
        UserError: a class without another donor.
    """
    position = {name: place for place, name in enumerate(donors.classes)}
    by_class = [
        np.flatnonzero(np.asarray(donors.targets) == position[name]) for name in pictures.classes
    ]
    alone = donors is pictures
    others, own = list[int](), list[int]()
    for index, (name, target) in enumerate(zip(pictures.ids, pictures.targets, strict=True)):
        rng = np.random.RandomState(derive_seed("cue", seed, name))
        classes = [c for c, places in enumerate(by_class) if c != target and len(places)]
        mine = by_class[target]
        mine = mine[mine != index] if alone else mine
        if not classes or not len(mine):
            raise UserError(
                f"{donors.where}: no other picture gives {pictures.classes[target]!r} its cue"
            )
        others.append(int(rng.choice(by_class[classes[rng.randint(len(classes))]])))
        own.append(int(rng.choice(mine)))
    return tuple(others), tuple(own)
