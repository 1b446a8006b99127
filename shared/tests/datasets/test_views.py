"""Views: a function of the position in the stream, for any start, workers and processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from repro_shared.datasets.views import Arrays, Labelled, Seeded, Shift, Views, batches
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed, endless_loader


def pictures(n: int = 24, seed: int = 0) -> Arrays:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    pixels = rng.integers(0, 100, (n, 16, 16, 3)) + 120 * targets[:, None, None, None]
    return Arrays(pixels.astype(np.uint8), targets, ("dark", "bright"), f"made {n} {seed}")


def stream(start: int = 0, workers: int = 0, rank: int = 0, world: int = 1) -> Iterator[Any]:
    views = Views(pictures(), Labelled(Shift(2, mirror=True)), 5)
    return iter(endless_loader(views, 5, 8, start, workers, rank, world))


def test_stream_depends_on_position_alone() -> None:
    whole = stream()
    first = [next(whole) for _ in range(5)]
    late = stream(start=24)
    assert torch.equal(next(late)[0], first[3][0])
    assert torch.equal(next(stream(workers=2))[0], first[0][0])
    halves = [next(stream(rank=r, world=2)) for r in (0, 1)]
    assert torch.equal(torch.stack([h[0] for h in halves], dim=1).flatten(0, 1), first[0][0])
    labels = torch.cat([batch[1] for batch in first[:3]])
    assert labels.bincount().tolist() == [12, 12]  # three batches are one epoch
    with pytest.raises(UserError, match="does not divide"):
        stream(world=3)


def test_views() -> None:
    picture = pictures().pixels[0]
    plain = Shift()(picture, 0)
    assert torch.equal(plain, torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1)
    seen = {Shift(1, mirror=True)(picture, seed).numpy().tobytes() for seed in range(200)}
    assert len(seen) == 18  # 3 x 3 shifts, each as it is or mirrored
    assert plain.numpy().tobytes() in seen
    noisy = Seeded(lambda _: torch.rand(3))
    assert torch.equal(noisy(None, 1), noisy(None, 1))
    assert not torch.equal(noisy(None, 1), noisy(None, 2))
    rows = [image for images, _ in batches(pictures(), batch_size=7) for image in images]
    assert torch.equal(rows[9], Shift()(pictures().pixels[9], 0))
    parts = [torch.cat([i for i, _ in batches(pictures(7), rank=r, world=3)]) for r in range(3)]
    assert list(map(len, parts)) == [3, 2, 2]
    assert torch.equal(parts[1][1], Shift()(pictures(7).pixels[4], 0))


def test_a_view_is_seeded_by_its_position_and_gets_the_whole_sample() -> None:
    seen = Views(["a", "b"], lambda sample, seed: (sample, seed), 3)
    assert seen[7, 1] == ("b", derive_seed(3, "view", 7))
    drawn = Views(["a", "b"], Seeded(lambda sample: (sample, np.random.random())), 3)  # noqa: NPY002
    assert drawn[7, 0][1] == drawn[7, 1][1] != drawn[8, 0][1]
    assert len(seen) == 2
