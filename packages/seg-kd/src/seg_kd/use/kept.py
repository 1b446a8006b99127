"""What a network gave for fixed views, kept in memory maps: a teacher, or a frozen backbone.

One float16 file an output, and `kept.json`, which is written last and says of what they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json
from repro_shared.runtime.progress import Progress
from seg_kd.use import adapter
from seg_kd.use.fixed import FixedViews
from seg_kd.use.outputs import last_head, watched

LISTING = "kept.json"
TOGETHER = 16  # views that are looked at together
LOGITS, AUXILIARY, STAGE = "logits", "auxiliary", "stage-"


@dataclass(frozen=True)
class Rows:
    """The kept outputs of a batch; `Maps` for the terms of an objective."""

    found: dict[str, Tensor]

    def logits(self) -> Tensor:
        """Class scores (B, K, h, w)."""
        return self._of(LOGITS)

    def layer(self, name: str) -> Tensor:
        """The feature `pre-classifier` or `c4`, (B, C, h, w)."""
        return self._of(name)

    def auxiliary(self) -> Tensor:
        """Class scores of the auxiliary head."""
        return self._of(AUXILIARY)

    def _of(self, name: str) -> Tensor:
        if name not in self.found:
            raise UserError(f"the teacher's {name} was not kept: {', '.join(self.found)} were")
        return self.found[name]


@dataclass(frozen=True)
class Kept:
    """Outputs of a network for all fixed views of a set.

    Attributes:
        maps: by name, float16 (rows, C, h, w).
        views: of an image.
        shift: how many images further the outputs are taken from: 0, or a negative control.
    """

    maps: dict[str, NDArray[np.float16]] = field(repr=False)
    views: int
    shift: int = 0

    @classmethod
    def read(cls, folder: Path, fingerprint: str) -> Kept:
        """Open what `keep` wrote.

        Args:
            folder: where it lies.
            fingerprint: of the set of images that it must be of.

        Raises:
            UserError: it is not there, is damaged, or of other images.
        """
        path = folder / LISTING
        try:
            form = json.loads(path.read_text(encoding="utf-8"))
            maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in form["names"]}
            whole = all(len(each) == form["rows"] for each in maps.values())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: missing or damaged ({error}): remove {folder}") from error
        if not whole or form["fingerprint"] != fingerprint:
            raise UserError(f"{path}: kept of other images: remove {folder}")
        return cls(maps, form["views"])

    def shifted(self) -> Kept:
        """Each view with the outputs for the same view of an image half the set away."""
        images = len(next(iter(self.maps.values()))) // self.views
        if images < 2:
            raise UserError("another image's outputs need a set of at least two images")
        return replace(self, shift=images // 2)

    def beside(self, other: Kept) -> Kept:
        """With the outputs of another cache of the same views."""
        return replace(self, maps={**self.maps, **other.maps})

    def rows(self, rows: Sequence[int], device: torch.device) -> Rows:
        """The outputs for a batch, float32."""
        total = len(next(iter(self.maps.values())))
        places = [(row + self.shift * self.views) % total for row in rows]
        found = {}
        for name, values in self.maps.items():
            picked = np.stack([values[place] for place in places])
            found[name] = torch.from_numpy(picked).to(device).float()
        return Rows(found)

    def stages(self, rows: Sequence[int], device: torch.device) -> tuple[Tensor | None, ...]:
        """The backbone's maps by stage, None for those that the head does not read."""
        found = self.rows(rows, device).found
        by_number = {int(name.removeprefix(STAGE)): value for name, value in found.items()}
        return tuple(by_number.get(number) for number in range(max(by_number) + 1))


def keep(
    model: Any,
    views: FixedViews,
    names: Sequence[str],
    folder: Path,
    fingerprint: str,
    grid: tuple[int, int] | None = None,
) -> int:
    """Run a network once over all fixed views, and keep what it gives.

    Args:
        model: mmseg segmentor in evaluation mode.
        views: the fixed views.
        names: `logits`, `auxiliary`, `pre-classifier`, `c4`, or `stages`: the head's input.
        folder: where to.
        fingerprint: of the images.
        grid: height and width that larger maps are resized to, as every loss would do (bilinear);
            None: as they are.

    Returns:
        How many rows.

    Raises:
        UserError: values that float16 cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = len(views) * views.count
    maps: dict[str, Any] = {}
    device = next(model.parameters()).device
    with torch.inference_mode(), Progress(total, "views that the network looked at") as progress:
        for start in range(0, total, TOGETHER):
            stop = min(start + TOGETHER, total)
            batch = adapter.collate([views.at(row) for row in range(start, stop)])
            inputs = model.data_preprocessor(batch, True)["inputs"].to(device)
            for name, value in _outputs(model, inputs, names).items():
                if name not in maps:
                    maps[name] = _file(folder, name, total, value, grid)
                maps[name][start:stop] = _half(value, maps[name].shape[2:], name)
            progress.update(stop)
    for each in maps.values():
        each.flush()
    form = {"fingerprint": fingerprint, "views": views.count, "rows": total, "names": [*maps]}
    atomic_write_json(folder / LISTING, form)
    return total


def _outputs(model: Any, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """By name, what was asked for."""
    if "stages" in names:
        number = int(last_head(model).in_index)
        return {f"{STAGE}{number}": model.extract_feat(inputs)[number]}
    with watched(model) as seen:
        model(inputs, mode="tensor")
    special = {LOGITS: seen.logits, AUXILIARY: seen.auxiliary}
    return {name: special[name]() if name in special else seen.layer(name) for name in names}


def _file(
    folder: Path, name: str, rows: int, value: Tensor, grid: tuple[int, int] | None
) -> np.memmap[Any, Any]:
    size = tuple(value.shape[2:])
    size = grid if grid and (size[0] > grid[0] or size[1] > grid[1]) else size
    shape = (rows, value.shape[1], *size)
    return np.lib.format.open_memmap(
        folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=shape
    )


def _half(value: Tensor, size: tuple[int, ...], name: str) -> NDArray[np.float16]:
    if tuple(value.shape[2:]) != size:
        value = F.interpolate(value, size, mode="bilinear", align_corners=False)
    half = value.half()
    if not torch.isfinite(half).all():
        raise UserError(f"the network's {name} holds values that float16 cannot: keep none of it")
    return half.cpu().numpy()
