"""Training and test views of a segmentation set: per-position random seeds, no framework imports.

The transforms are mmseg's own; they draw from numpy's global generator, so each view seeds it from
(run seed, position in the stream) and puts it back afterwards. A view is then a pure function of
its position, whatever the number of workers and however often the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from repro_shared.datasets.label_maps import LabelMapFolder
from repro_shared.datasets.scenes import DigitScenes
from repro_shared.datasets.wheels import SPLITS, Split
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed, isolated_rng
from seg_kd.study.recipes.base import Data

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
