"""Seeds, random states and the order of the data: derived, resumable, or isolated for one call."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from repro_shared.runtime.errors import UserError

SEED_LIMIT = 2**32  # NumPy's global generator takes no larger seed


def derive_seed(*parts: int | str) -> int:
    """A seed, 0 <= seed < 2**32, from what identifies a purpose: `derive_seed(seed, "epoch", 3)`.

    The same on every platform and in every process (unlike `hash`). TypeError for no parts and for
    types other than int and str.
    """
    if not parts:
        raise TypeError("derive_seed needs at least one part")
    digest = hashlib.sha256()
    for part in parts:
        if type(part) not in (int, str):
            raise TypeError(f"derive_seed takes int and str, not {type(part).__name__}")
        text = str(part).encode("utf-8")
        digest.update(f"{type(part).__name__}:{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (CUDA's too); 0 <= seed < 2**32."""
    _seed_host(seed)
    torch.manual_seed(seed)


def capture_rng() -> dict[str, Any]:
    """The state of the global generators (of CUDA if used), as plain values and tensors."""
    version, words, gauss_next = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (augmentations draw from it)
    uses_cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss_next],
        "numpy": {
            "bit_generator": str(legacy["bit_generator"]),
            "key": torch.tensor(legacy["state"]["key"].astype(np.int64)),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if uses_cuda else None,
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Set the global generators to a state from `capture_rng`; CUDA's only where there is one."""
    version, words, gauss_next = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
    legacy = state["numpy"]
    key = legacy["key"].numpy().astype(np.uint32)
    np.random.set_state({**legacy, "state": {"key": key, "pos": legacy["pos"]}})  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Inside, Python's, NumPy's and torch's CPU generators start from `seed`; outside, no trace."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        _seed_host(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA as well
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


class ResumableSampler(Sampler[tuple[int, int]]):
    """Infinite stream of (position, index); the order depends on `length` and `seed` only.

    Position p lies in epoch p // length, a permutation of its own; `start` is what training has
    consumed (steps x batch size); process `rank` of `world` sees every `world`-th place from there.
    """

    def __init__(
        self, length: int, seed: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if length < 1:
            raise UserError("the training set is empty; check the data folder and the split")
        if start < 0:
            raise ValueError(f"start {start} is negative")
        self.length, self.seed, self.start = length, seed, start
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        """Of one pass (the stream is endless; mmengine asks for a length)."""
        return -(-self.length // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        current, order = -1, np.empty(0, np.int64)
        for place in count(self.start + self.rank, self.world):
            epoch, offset = divmod(place, self.length)
            if epoch != current:
                current, order = epoch, self.epoch_order(epoch)
            yield place, int(order[offset])

    def epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """The indices of one epoch in reading order, int64 (length,)."""
        # RandomState's streams are frozen for good (NEP 19); default_rng's and torch's may change
        # between versions, and with them the data order of a run that is resumed.
        generator = np.random.RandomState(derive_seed(self.seed, "epoch", epoch))
        return generator.permutation(self.length)


def endless_loader(
    views: Dataset[Any],
    seed: int,
    batch_size: int,
    start: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    **options: Any,
) -> DataLoader[Any]:
    """Endless batches, as `collate_fn` makes them, after `start` items of the stream were consumed.

    `views[position, index]` is a pure function of both; `seed` is of the order; a batch divides
    over `world` processes (else UserError); `options` are others of `DataLoader`.
    """
    if batch_size % world:
        raise UserError(f"a batch of {batch_size} does not divide over {world} processes")
    length: int = len(views)  # type: ignore[arg-type]
    return DataLoader(
        views,
        batch_size=batch_size // world,
        sampler=ResumableSampler(length, derive_seed(seed, "order"), start, rank, world),
        num_workers=workers,
        worker_init_fn=one_thread,
        # A generator of its own: making an iterator must not shift the model's random stream.
        generator=torch.Generator(),
        persistent_workers=workers > 0,
        **options,
    )


def one_thread(_: int) -> None:
    """For `worker_init_fn`: one torch thread in each loading process."""
    torch.set_num_threads(1)


def _seed_host(seed: int) -> None:
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"seed {seed} is outside 0..{SEED_LIMIT - 1}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (augmentations draw from it)
