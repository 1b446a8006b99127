"""Training and test views: every view is a pure function of its position in the stream.

So neither the number of workers nor an interruption changes what a network sees.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed, isolated_rng, one_thread


class Samples(Protocol):
    """What views are made of."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """A sample: a picture and its class, an image and its label map, ..."""
        ...


class Source(Protocol):
    """Labelled pictures: what training and evaluation read."""

    classes: tuple[str, ...]

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A picture and the index of its class."""
        ...

    def fingerprint(self) -> str:
        """Of all that is read."""
        ...


View = Callable[[Any, int], Tensor]
"""From a picture and a seed to a float tensor (3, H, W)."""


@dataclass
class Arrays:
    """Small pictures in memory.

    Attributes:
        pixels: uint8 (n, H, W, 3).
        targets: int64 (n,).
        classes: their names.
        digest: fingerprint of the whole.
        masks: bool (n, H, W), the pixels that decide the class, where they are known.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    classes: tuple[str, ...]
    digest: str
    masks: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return self.pixels[index], int(self.targets[index])

    def fingerprint(self) -> str:
        """Of the pictures and labels."""
        return self.digest


@dataclass(frozen=True)
class Shift:
    """The view of small arrays: a random shift, and a random mirror image if wanted.

    Attributes:
        pixels: largest shift to each side; what comes in from outside is the border's colour.
        mirror: flip left and right with probability 1/2.
    """

    pixels: int = 0
    mirror: bool = False

    def __call__(self, picture: NDArray[np.uint8], seed: int) -> Tensor:
        """Values -1 to 1."""
        if self.pixels or self.mirror:
            rng = np.random.default_rng(seed)
            height, width = picture.shape[:2]
            top, left = rng.integers(0, 2 * self.pixels + 1, 2)
            border = ((self.pixels, self.pixels),) * 2 + ((0, 0),)
            wide = np.pad(picture, border, mode="edge")
            picture = wide[top : top + height, left : left + width]
            if self.mirror and rng.random() < 0.5:
                picture = picture[:, ::-1]
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 127.5 - 1


PLAIN = Shift()


@dataclass(frozen=True)
class Seeded:
    """The view of a transform that draws from global generators: they are seeded for each view."""

    transform: Callable[[Any], Any]

    def __call__(self, sample: Any, seed: int) -> Any:
        """What the transform makes of the sample."""
        with isolated_rng(seed):
            return self.transform(sample)


@dataclass(frozen=True)
class Labelled:
    """The view of a picture with its class: the class stays as it is."""

    view: View

    def __call__(self, sample: tuple[Any, int], seed: int) -> tuple[Tensor, int]:
        """The view of the picture, and the class."""
        picture, target = sample
        return self.view(picture, seed), target


class Views(Dataset[Any]):
    """Samples in the order of a stream: `views[position, index]` is sample `index` as seen there.

    Args:
        source: the samples.
        view: from a sample and a seed to what training reads.
        seed: of the stream; a view's own follows from it and from the position.
    """

    def __init__(self, source: Samples, view: Callable[[Any, int], Any], seed: int) -> None:
        self.source, self.view, self.seed = source, view, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Any:
        position, index = place
        return self.view(self.source[index], derive_seed(self.seed, "view", position))


def readable(loader: Iterable[Any]) -> Iterator[Any]:
    """The loader's batches; a UserError of a loading process comes as its own one line."""
    try:
        yield from loader
    except UserError as error:  # torch puts the process's traceback in front
        raise UserError(str(error).rpartition("UserError: ")[2]) from None


def batches(
    source: Source,
    view: View = PLAIN,
    batch_size: int = 250,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[Any]:
    """The whole set once, in order, or of `world` processes number `rank`'s part of it.

    Views are seeded by their index in the set.
    """
    return DataLoader(
        Views(source, Labelled(view), 0),
        batch_size=batch_size,
        sampler=[(i, i) for i in range(rank, len(source), world)],
        num_workers=workers,
        worker_init_fn=one_thread,
        persistent_workers=workers > 0,
        generator=torch.Generator(),
    )
