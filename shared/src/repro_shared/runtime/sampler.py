"""The order in which training reads its data, resumable at any position."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed


class ResumableSampler(Sampler[tuple[int, int]]):
    """Infinite stream of (position, index); the order depends on `length` and `seed` only.

    Position p lies in epoch p // length, and each epoch is its own permutation, so `start` can be
    any number, the stream needs no state, and workers may prefetch as they like: `start` is what
    training consumed (steps x batch size), not what was drawn. The data set's `__getitem__` gets
    the pair, and seeds the augmentation of a sample by its position.

    Give the `DataLoader` a `generator` of its own: without one, each new iterator draws its base
    seed from torch's global generator, so that a resumed run has drawn once more than an
    uninterrupted one.

    Args:
        length: Number of samples in the data set, at least 1.
        seed: 0 <= seed < 2**32.
        start: Positions already consumed.
        shuffle: False gives 0, 1, ..., length - 1 in every epoch.

    Raises:
        UserError: The data set is empty.
        ValueError: A negative start.
    """

    def __init__(self, length: int, seed: int, start: int = 0, shuffle: bool = True) -> None:
        if length < 1:
            raise UserError("the training set is empty; check the data folder and the split")
        if start < 0:
            raise ValueError(f"start {start} is negative")
        self.length = length
        self.seed = seed
        self.start = start
        self.shuffle = shuffle

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, offset = divmod(self.start, self.length)
        while True:
            order = self.epoch_order(epoch)
            for place in range(offset, self.length):
                yield epoch * self.length + place, int(order[place])
            epoch, offset = epoch + 1, 0

    def epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The indices of one epoch in reading order, int64 (length,)."""
        if not self.shuffle:
            return np.arange(self.length)
        # RandomState's streams are frozen for good (NEP 19); default_rng's and torch's may change
        # between versions, and with them the data order of a run that is resumed.
        generator = np.random.RandomState(derive_seed(self.seed, "epoch", epoch))
        return generator.permutation(self.length)
