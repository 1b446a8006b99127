"""How pictures become batches: random views in training, the centre in evaluation, values 0 to 1.

Every view is a function of the seed and of its place in the stream alone, so that neither workers
nor an interruption change what a student sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cg_augment.use.pictures import Pictures, Pixels
from repro_shared.datasets.views import Shift, readable
from repro_shared.runtime.checks import require
from repro_shared.runtime.rng import derive_seed, isolated_rng, one_thread

CROP = 0.875  # share of the shorter side that evaluation sees, as usual: 224 of 256 pixels

Batch = tuple[Tensor, Tensor, NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class View:
    """What training sees of a picture.

    Attributes:
        kind: `crop`, a random part with a random ratio, or `shift`, the whole moved a little, for
            pictures that have the right size already.
        smallest: share of the area that a crop has at least; 0.7 as in group DRO's code.
        pixels: of the largest shift.
        mirror: flip left and right with probability 1/2.
        augment: `randaugment` is torchvision's with 2 operations of magnitude 9, the values of its
            authors for a ResNet-50 on ImageNet (arXiv 1909.13719). `corrupted` cuts a square out
            (arXiv 1708.04552), blurs and adds noise, each in half of the views (`corrupted`).
    """

    kind: Literal["crop", "shift"] = "crop"
    smallest: float = 0.7
    pixels: int = 2
    mirror: bool = True
    augment: Literal["none", "randaugment", "corrupted"] = "none"

    def __post_init__(self) -> None:
        require(0 < self.smallest <= 1, "--smallest", "above 0 and at most 1", self.smallest)
        require(self.pixels >= 0, "--pixels", "0 or more", self.pixels)

    def __call__(self, picture: Pixels, size: int, seed: int) -> Tensor:
        """A view (3, size, size), values 0 to 1."""
        from torchvision.transforms import v2

        if self.augment == "randaugment":
            with isolated_rng(derive_seed(seed, "randaugment")):
                image = v2.RandAugment(num_ops=2, magnitude=9)(Image.fromarray(picture))
            picture = np.asarray(image)
        if self.kind == "shift":
            moved = Shift(self.pixels, self.mirror)(sized(picture, size), seed)
            return self._corrupted((moved + 1) / 2, seed)
        with isolated_rng(seed):
            crop = v2.RandomResizedCrop(size, scale=(self.smallest, 1.0), antialias=True)
            seen = crop(Image.fromarray(picture))
            if self.mirror:
                seen = v2.RandomHorizontalFlip()(seen)
        return self._corrupted(tensor(np.asarray(seen)), seed)

    def _corrupted(self, image: Tensor, seed: int) -> Tensor:
        return corrupted(image, seed) if self.augment == "corrupted" else image


def corrupted(image: Tensor, seed: int) -> Tensor:
    """An image (3, h, w), 0 to 1, with a gray square, blurred and noisy, each with probability 1/2.

    What is trained on them has less sensitive gradients than on clean pictures, and takes a small
    change of all pixels for no evidence. Sizes are ours: a square of at most half the side, blur of
    a deviation of 0.3 to 1 pixel, noise of at most 0.1.
    """
    from torchvision.transforms.v2 import functional

    g = torch.Generator().manual_seed(derive_seed(seed, "corrupted"))
    cut, blurred, noisy, *sizes = torch.rand(8, generator=g).tolist()
    high, wide = image.shape[1:]
    if cut < 0.5:
        tall, broad = (round((0.2 + 0.3 * sizes[0]) * side) for side in (high, wide))
        top, left = round(sizes[1] * (high - tall)), round(sizes[2] * (wide - broad))
        image = image.clone()
        image[:, top : top + tall, left : left + broad] = 0.5
    if blurred < 0.5:
        image = functional.gaussian_blur(image, [5, 5], [0.3 + 0.7 * sizes[3]])
    if noisy < 0.5:
        image = image + 0.1 * sizes[4] * torch.randn(image.shape, generator=g)
    return image.clamp(0, 1)


def sized(picture: Pixels, size: int) -> Pixels:
    """What evaluation sees of a picture, (size, size, 3): itself, if it has that size."""
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    image, shorter = Image.fromarray(picture), round(size / CROP)
    if height == width and height < shorter:  # small squares are seen whole
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    scale = shorter / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = round((wide - size) / 2), round((high - size) / 2)
    image = image.resize((wide, high), Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def tensor(picture: Pixels) -> Tensor:
    """uint8 (h, w, 3) to float32 (3, h, w), 0 to 1."""
    return torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255


class Lessons(Dataset[tuple[Tensor, int, int, int]]):
    """Views of pictures in the order of a stream: `lessons[position, index]`.

    Args:
        pictures: to learn from.
        view: how they are seen.
        size: of the views, in pixels.
        seed: of the views.
    """

    def __init__(self, pictures: Pictures, view: View, size: int, seed: int) -> None:
        self.pictures, self.view, self.size, self.seed = pictures, view, size, seed

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, int, int, int]:
        position, index = place
        seed = derive_seed(self.seed, "view", position)
        seen = self.view(self.pictures.read(index), self.size, seed)
        return seen, int(self.pictures.targets[index]), position, index


def collate(items: list[tuple[Tensor, int, int, int]]) -> Batch:
    """Images (n, 3, s, s), classes (n,), positions in the stream and indices of pictures."""
    images, targets, positions, indices = zip(*items, strict=True)
    return (
        torch.stack(images), torch.tensor(targets),
        np.array(positions, np.int64), np.array(indices, np.int64),
    )  # fmt: skip


class _Centres(Dataset[Tensor]):
    def __init__(self, pictures: Pictures, size: int) -> None:
        self.pictures, self.size = pictures, size

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return tensor(sized(self.pictures.read(index), self.size))


def centres(
    pictures: Pictures, size: int, batch_size: int = 64, workers: int = 0
) -> Iterator[Tensor]:
    """All pictures once, in order, as evaluation sees them: batches (n, 3, size, size)."""
    loader = DataLoader(
        _Centres(pictures, size), batch_size, num_workers=workers, worker_init_fn=one_thread,
        generator=torch.Generator(),
    )  # fmt: skip
    yield from readable(loader)
