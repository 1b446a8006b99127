"""Composed digit scenes: MNIST digits painted on photographs, with exact labels (ours).

A scene is a pure function of (config, split, seed, index): order, worker count and restarts do not
matter. Digits and photographs are split into train, val and test before anything is composed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import overload

import numpy as np
from numpy.typing import NDArray

from repro_shared.datasets.composing import Painter, grow
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.datasets.ink import OPAQUE, cut_fragment, digit_images
from repro_shared.datasets.scene_config import SceneConfig
from repro_shared.datasets.wheels import SPLITS, Split, photographs
from repro_shared.runtime.errors import UserError

__all__ = ["IGNORE", "DigitScenes", "Scene", "SceneConfig", "compose"]

IGNORE = 255

# Raised when a change alters the scenes of an unchanged configuration.
SCENES_VERSION = 1

_PLACEMENT_TRIES = 12


@dataclass(frozen=True)
class Scene:
    """One composed scene of K instances, in the order in which they were painted."""

    image: NDArray[np.uint8]  # RGB, (H, W, 3)
    label_map: NDArray[np.uint8]  # (H, W), an index into `SceneConfig.classes`, 255 ignored
    instance_masks: NDArray[np.bool_]  # visible pixels and band of `margin`, (K, H, W), disjoint
    boxes: NDArray[np.float32]  # in pixel edges, (K, 4): x1, y1, x2, y2 with x2, y2 exclusive
    classes: NDArray[np.uint8]  # label of each instance, (K,)


class DigitScenes(Sequence[Scene]):
    """A data set of `length` composed scenes of one split's digits and photographs.

    Each is made (in a millisecond or more) when asked for; scene i of a longer set is the same.
    """

    def __init__(self, config: SceneConfig, split: Split, length: int, seed: int = 0) -> None:
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
        if length < 0:
            raise UserError(f"number of scenes must be at least 0, got {length}")
        self.config, self.split, self.length, self.seed = config, split, length, seed
        self._entropy = list(hashlib.sha256(self._key().encode()).digest())

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...
    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        """Compose scene `index`; a slice gives a list of scenes."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.length))]
        if not -self.length <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        rng = np.random.default_rng([*self._entropy, int(index) % self.length])
        return compose(self.config, self.split, rng)

    def fingerprint(self) -> str:
        """Sha256 of what the scenes depend on, and of four scenes: numpy and Pillow may change."""
        arrays: dict[str, NDArray[np.uint8]] = photographs(self.split)
        for digit, images in enumerate(digit_images(self.split)):
            arrays[f"digit {digit}"] = images
        for i, scene in enumerate(self[:4]):
            arrays |= {f"image {i}": scene.image, f"label map {i}": scene.label_map}
        key = f"{self._key()} length {self.length} {fingerprint_arrays(arrays)}"
        return hashlib.sha256(key.encode()).hexdigest()

    def _key(self) -> str:
        # Fields at their default are left out, so that a field added later changes no old scene.
        values = ((field, getattr(self.config, field.name)) for field in fields(self.config))
        changed = {
            field.name: list(value) if isinstance(value, tuple) else float(value)
            for field, value in values
            if value != field.default
        }
        return json.dumps([SCENES_VERSION, changed, self.split, self.seed], sort_keys=True)


def compose(config: SceneConfig, split: Split, rng: np.random.Generator) -> Scene:
    """Compose one scene out of the digits and photographs of a split."""
    painter = Painter(config, split, rng)
    for stroke in painter.draw_strokes(config.clutter):
        alpha = cut_fragment(stroke.alpha, 0.6 * config.min_scale - 1, stroke.where)
        painter.ink(alpha, stroke, *painter.random_place(alpha))

    owner = np.zeros((config.size, config.size), np.int16)  # 0 background, k the k-th digit
    areas = visible = np.zeros(1, np.int64)
    labels: list[int] = []
    count = int(rng.integers(config.min_digits, config.max_digits + 1))
    for stroke in painter.draw_strokes(count):
        inked = stroke.alpha > OPAQUE
        for _ in range(_PLACEMENT_TRIES):
            top, left = painter.random_place(stroke.alpha)
            region = owner[top : top + inked.shape[0], left : left + inked.shape[1]]
            covered = np.bincount(region[inked], minlength=len(areas))
            covered[0] = 0
            remaining = visible - covered
            # Digits that lose nothing now keep what rounding of the bound has left them.
            if np.all((covered == 0) | (remaining >= (1 - config.occlusion) * areas)):
                labels.append(1 + config.digits.index(stroke.digit))
                region[inked] = len(labels)
                area = np.count_nonzero(inked)
                areas, visible = np.append(areas, area), np.append(remaining, area)
                painter.ink(stroke.alpha, stroke, top, left)
                break
    for number in range(1, len(labels) + 1) if config.margin else ():
        owner[grow(owner == number, config.margin) & (owner == 0)] = number
    return _annotate(painter.finish(), owner, visible[1:], np.array(labels, np.uint8), config)


def _annotate(
    image: NDArray[np.uint8],
    owner: NDArray[np.int16],
    visible: NDArray[np.int64],
    classes: NDArray[np.uint8],
    config: SceneConfig,
) -> Scene:
    kept = np.flatnonzero(visible >= config.min_visible)
    # Position 0 is the background; digits that are hardly visible stay at "ignore".
    labels = np.full(len(classes) + 1, IGNORE, np.uint8)
    labels[0] = 0
    labels[kept + 1] = classes[kept]
    label_map = labels[owner]
    if config.ignore_border:
        label_map[grow(owner > 0, config.ignore_border) & (owner == 0)] = IGNORE
    masks = owner[None] == kept[:, None, None] + 1
    boxes = np.zeros((len(kept), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Scene(image, label_map, masks, boxes, labels[kept + 1])
