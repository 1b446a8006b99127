"""Training and test views of a segmentation set: per-position random seeds, no framework imports.

The transforms are mmseg's own; they draw from numpy's global generator, so each view seeds it from
(run seed, position in the stream) and puts it back afterwards. A view is then a pure function of
its position, whatever the number of workers and however often the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from repro_shared.datasets.label_maps import LabelMapFolder
from repro_shared.datasets.scenes import DigitScenes
from repro_shared.datasets.wheels import SPLITS, Split
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import ResumableSampler, derive_seed, isolated_rng
from seg_kd.recipes.base import Data

Sample = tuple[np.ndarray, np.ndarray]
Transform = Callable[[dict[str, Any]], dict[str, Any]]


class InMemory(Sequence[Sample]):
    """Images (H, W, 3) uint8 RGB and label maps (H, W) uint8 (255 = ignore), read once."""

    def __init__(self, samples: list[Sample], fingerprint: str) -> None:
        self.samples = samples
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[index]


def open_split(data: Data, folder: str | None, split: str) -> InMemory:
    """Read one split of the recipe's data (`train` or `test`).

    Raises:
        UserError: a folder set without a folder, or a folder that the reader refuses.
    """
    if data.scenes is not None:
        training = split == "train"
        length = data.train_length if training else data.test_length
        name = data.train_split if training else data.test_split
        scenes = DigitScenes(data.scenes, scene_split(name), length, data.seed)
        samples = [(s.image, s.label_map) for s in (scenes[i] for i in range(length))]
        return InMemory(samples, scenes.fingerprint())
    if folder is None:
        raise UserError(f"{data.name} is not shipped: give its folder with --data DIR")
    held_out = bool(data.hold_out)
    source_split = data.test_split if split == "test" and not held_out else data.train_split
    files = LabelMapFolder(folder, source_split, len(data.classes), data.ignore_values)
    if held_out:
        keep_held_out = split == "test"
        files = files.subset(lambda name: name.startswith(data.hold_out) == keep_held_out)
    files.check()
    return InMemory([files[i] for i in range(len(files))], files.fingerprint())


def scene_split(name: str) -> Split:
    """The split of digits and photographs called `name`.

    Raises:
        UserError: there is no such split.
    """
    for split in SPLITS:
        if split == name:
            return split
    raise UserError(f"digit scenes have no split {name!r}: choose {', '.join(SPLITS)}")


class Views(Dataset[dict[str, Any]]):
    """Views for training: item (position, index) is image `index` seen at `position`."""

    def __init__(self, source: Sequence[Sample], transform: Transform, seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        position, index = key
        with isolated_rng(derive_seed(self.seed, "view", position)):
            return self.transform(as_results(*self.source[index]))


def as_results(image: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """The dictionary mmseg's transforms start from (they expect BGR)."""
    return {
        "img": np.ascontiguousarray(image[..., ::-1]),
        "img_shape": image.shape[:2],
        "ori_shape": image.shape[:2],
        "gt_seg_map": label.copy(),
        "seg_fields": ["gt_seg_map"],
        "reduce_zero_label": False,
    }


class EveryNth(Sampler[tuple[int, int]]):
    """This process's share of the stream: positions rank, rank + world, ..."""

    def __init__(self, sampler: ResumableSampler, rank: int, world: int) -> None:
        self.sampler, self.rank, self.world = sampler, rank, world

    def __len__(self) -> int:
        """Of one pass (the stream is endless; mmengine asks for a length)."""
        return -(-self.sampler.length // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return islice(iter(self.sampler), self.rank, None, self.world)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def training_loader(
    views: Views,
    batch_size: int,
    start: int,
    workers: int,
    collate: Callable[[list[dict[str, Any]]], Any],
    rank: int = 0,
    world: int = 1,
) -> DataLoader[dict[str, Any]]:
    """An endless loader that begins after `start` images of the stream have been consumed.

    Args:
        views: the training views; their seed also orders the stream.
        batch_size: over all processes; each of `world` processes gets an equal part.
        start: images consumed before (iterations done x batch_size).
        workers: loading processes; the stream does not depend on it.
        collate: mmengine's pseudo_collate.
        rank, world: this process and their number.

    Raises:
        UserError: the batch does not divide over the processes.
    """
    if batch_size % world:
        raise UserError(f"a batch of {batch_size} does not divide over {world} processes")
    stream = ResumableSampler(len(views), derive_seed(views.seed, "order"), start=start)
    return DataLoader(
        views,
        batch_size=batch_size // world,
        sampler=EveryNth(stream, rank, world),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread,
        # A generator of its own: making an iterator must not shift the model's random stream.
        generator=torch.Generator(),
        persistent_workers=workers > 0,
    )
