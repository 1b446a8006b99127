"""Zero-shot classification: features of images against text vectors, and how often it is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Pixels, Preprocessing
from clip_distill.use.teachers import Floats
from repro_shared.datasets.views import readable
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import one_thread

Change = Callable[[Pixels, int], Pixels]
"""From a picture as evaluation sees it, and its number, to another of the same size."""


@dataclass(frozen=True)
class Scores:
    """How often the nearest class is the right one.

    Attributes:
        top1: share of all images, in percent.
        mean_per_class: mean of the classes' own shares, in percent; classes without images are
            left out.
        recalls: of each class, in percent; NaN without images.
        images: of each class.
    """

    top1: float
    mean_per_class: float
    recalls: NDArray[np.float64]
    images: NDArray[np.int64]


class Centres(Dataset[Pixels]):
    """Pictures as evaluation sees them, or what `change` makes of these."""

    def __init__(
        self, pictures: Pictures, prepared: Preprocessing, change: Change | None = None
    ) -> None:
        self.pictures, self.prepared, self.change = pictures, prepared, change

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Pixels:
        seen = self.prepared.centre(self.pictures.read(index))
        return seen if self.change is None else self.change(seen, index)


def encode(
    model: nn.Module,
    pictures: Pictures,
    prepared: Preprocessing,
    batch: int = 64,
    workers: int = 0,
    change: Change | None = None,
    label: str = "images encoded",
) -> Floats:
    """Features (n, width) of all pictures, each once and in order, where the model is.

    Args:
        model: takes images as `prepared` says.
        pictures: to be encoded.
        prepared: size and normalisation.
        batch: images of a forward pass.
        workers: decoding processes.
        change: what is done to each picture, uint8 (s, s, 3), after it was cut out.
        label: for the progress line.

    Raises:
        UserError: a picture that cannot be read.
    """
    loader = DataLoader(
        Centres(pictures, prepared, change), batch, collate_fn=np.stack, num_workers=workers,
        worker_init_fn=one_thread, generator=torch.Generator(),
    )  # fmt: skip
    device, parts, done = next(model.parameters()).device, list[Floats](), 0
    with Progress(len(pictures), label) as progress, torch.inference_mode():
        for pixels in readable(loader):
            images = prepared.normalise(torch.from_numpy(pixels).to(device))
            parts.append(model(images).float().cpu().numpy())
            done += len(pixels)
            progress.update(done)
    return np.concatenate(parts)


def similarities(features: Floats, vectors: Floats) -> Floats:
    """Cosines (n, classes) of features (n, width) and text vectors (classes, width).

    Raises:
        UserError: widths that differ, or a vector that is zero or not finite.
    """
    if features.shape[1] != vectors.shape[1]:
        widths = f"{features.shape[1]} and {vectors.shape[1]}"
        raise UserError(f"images and texts have vectors of other widths: {widths}")
    one, two = _directions(features, "image"), _directions(vectors, "class text")
    cosines: Floats = one @ two.T
    return cosines


def _directions(vectors: Floats, what: str) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (bad := ~((lengths > 0) & np.isfinite(lengths))).any():
        raise UserError(
            f"{int(bad.sum())} of {len(bad)} {what} vectors are no direction (zero or not finite), "
            f"the first that of {what} {int(bad.argmax())}"
        )
    scaled: Floats = vectors / lengths
    return scaled


def scores(predicted: Any, targets: Sequence[int], classes: int) -> Scores:
    """Of predicted classes (n,) and true ones (n,)."""
    true, guess = np.asarray(targets, np.int64), np.asarray(predicted, np.int64)
    images = np.bincount(true, minlength=classes)
    right = np.bincount(true[true == guess], minlength=classes)
    with np.errstate(invalid="ignore"):
        recalls = 100 * right / images
    return Scores(100 * float((true == guess).mean()), float(np.nanmean(recalls)), recalls, images)


def agreement(student: Floats, teacher: Floats) -> float:
    """Mean cosine of a student's and its teacher's features (n, width) of the same images."""
    if student.shape != teacher.shape:
        raise UserError(f"features of {student.shape} and {teacher.shape} cannot be compared")
    lengths = np.linalg.norm(student, axis=1) * np.linalg.norm(teacher, axis=1)
    return float(((student * teacher).sum(axis=1) / lengths).mean())
