"""The data order is a function of (length, seed), and resumes at any position."""

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import ResumableSampler, derive_seed, endless_loader


@settings(max_examples=40, derandomize=True, deadline=None)
@given(length=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), start=st.integers(0, 40))
def test_any_start_continues_the_stream(length: int, seed: int, start: int) -> None:
    whole = list(islice(ResumableSampler(length, seed), 60))
    assert list(islice(ResumableSampler(length, seed, start), 60 - start)) == whole[start:]
    assert [position for position, _ in whole] == list(range(60))
    for epoch in range(60 // length):
        indices = [index for _, index in whole[epoch * length : (epoch + 1) * length]]
        assert sorted(indices) == list(range(length))


def test_order_is_golden() -> None:
    """A change here changes every run: raise the method versions of the packages."""
    stream = [index for _, index in islice(ResumableSampler(6, seed=0), 12)]
    assert stream == [2, 5, 0, 4, 1, 3, 2, 3, 5, 0, 4, 1]


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(ResumableSampler(20, seed).epoch_order(e)) for seed in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def test_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = list(islice(ResumableSampler(9, 3), 20))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert list(islice(ResumableSampler(9, 3), 20)) == first


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match="training set is empty"):
        ResumableSampler(0, seed=0)
    with pytest.raises(ValueError, match="negative"):
        ResumableSampler(3, seed=0, start=-1)


class Echo(Dataset[torch.Tensor]):
    """Gives back what it was asked for, with a random number that must not matter."""

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:  # type: ignore[override]
        return torch.tensor(key)

    def __len__(self) -> int:
        return 7


@pytest.mark.parametrize("workers", [0, 2])
# Python 3.12 on warns of the fork by which a loader starts its workers.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_resume_through_a_loader(workers: int) -> None:
    def batches(start: int, count: int) -> list[list[list[int]]]:
        loader = DataLoader(
            Echo(),
            batch_size=3,
            sampler=ResumableSampler(7, seed=11, start=start),
            num_workers=workers,
            generator=torch.Generator(),
        )
        return [batch.tolist() for batch in islice(loader, count)]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    whole = batches(0, 10)
    assert batches(4 * 3, 6) == whole[4:]
    assert torch.equal(torch.get_rng_state(), before)
    flat = [tuple(pair) for batch in whole for pair in batch]
    assert flat == list(islice(ResumableSampler(7, seed=11), 30))


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(1, 9), st.integers(0, 40), st.integers(1, 4))
def test_processes_share_the_stream(length: int, start: int, world: int) -> None:
    whole = list(islice(ResumableSampler(length, 5, start), 4 * world))
    parts = [islice(ResumableSampler(length, 5, start, r, world), 4) for r in range(world)]
    assert [place for step in zip(*parts, strict=True) for place in step] == whole


class Places(Dataset[tuple[int, int]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, int]:  # type: ignore[override]
        return place


def test_endless_loader_divides_a_batch_over_processes() -> None:
    loaders = [endless_loader(Places(), 3, 4, 8, rank=r, world=2) for r in (0, 1)]
    batches = [next(iter(loader)) for loader in loaders]
    found = [tuple(int(v) for v in pair) for b in batches for pair in zip(*b, strict=True)]
    stream = ResumableSampler(6, derive_seed(3, "order"), 8)
    assert sorted(found) == sorted(islice(stream, 4))
    assert [place for place, _ in found] == [8, 10, 9, 11]
    with pytest.raises(UserError, match="a batch of 4 does not divide over 3 processes"):
        endless_loader(Places(), 3, 4, 0, world=3)
