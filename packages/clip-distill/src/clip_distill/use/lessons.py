"""What training reads: a view of a picture for the student, and the teacher's vectors to match."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from clip_distill.method.objective import Batch, Objective
from clip_distill.use.joined import Joined, JoinedRows, located
from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.views import Views, shown
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed

Item = tuple[NDArray[np.uint8], int, int]
Rows = NDArray[Any] | JoinedRows


class Lessons(Dataset[Item]):
    """Pictures with a teacher's features of their views, and with texts where a loss reads them.

    In every pass over the set a picture is seen in one view, in the next pass in its next one, so
    that all views are seen equally often; pictures begin with different ones.

    Args:
        pictures: to learn from.
        views: that the features belong to.
        prepared: how the student takes its images.
        features: (samples, views, width) of the teacher; None where no loss reads them.
        pixels: (samples, views, s, s, 3), decoded before for images of that very size.
        class_vectors: (classes, width) text vectors, in the order of the pictures' targets.
        captions: (samples, width) text vectors of the captions.

    Raises:
        UserError: what an objective reads is not there (`check`).
    """

    def __init__(
        self,
        pictures: Pictures,
        views: Views,
        prepared: Preprocessing,
        features: Rows | None = None,
        pixels: Rows | None = None,
        class_vectors: NDArray[Any] | None = None,
        captions: Rows | None = None,
    ) -> None:
        self.pictures, self.views, self.prepared = pictures, views, prepared
        self.features, self.pixels, self.captions = features, pixels, captions
        self.data = pictures.fingerprint()
        parts = pictures.parts if isinstance(pictures, Joined) else (pictures,)
        self._data = [part.fingerprint() for part in parts]
        self._ends = list(accumulate(len(part) for part in parts))
        self.classes = None
        if class_vectors is not None:
            self.classes = torch.from_numpy(np.asarray(class_vectors, np.float32))
        self.caption_ids: NDArray[np.int64] | None = None
        if captions is not None:
            every = np.asarray(captions[np.arange(len(pictures))])
            _, inverse = np.unique(every, axis=0, return_inverse=True)
            self.caption_ids = inverse.reshape(-1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: tuple[int, int]) -> Item:
        position, index = place
        part, own = located(self._ends, index)
        inner = self.pictures.parts[part] if isinstance(self.pictures, Joined) else self.pictures
        sample = inner.ids[own]
        first = derive_seed("first view", sample)
        view = (first + position // len(self)) % self.views.count
        if self.pixels is not None:
            return self.pixels[index, view], index, view
        picture = inner.read(own)
        seen = self.views.part(picture, self._data[part], sample, view)
        return shown(picture, seen, self.prepared), index, view

    def check(self, objective: Objective) -> None:
        """UserError unless all that an objective reads is there."""
        where = self.pictures.where
        if objective.needs_teacher and self.features is None:
            raise UserError(f"{where}: this loss matches a teacher's features; give --cache")
        if objective.needs_classes and (self.classes is None or not len(self.pictures.targets)):
            raise UserError(
                f"{where}: this loss needs class folders and text vectors of the classes; make the "
                "cache with --template"
            )
        if objective.needs_texts and self.captions is None and self.classes is None:
            raise UserError(
                f"{where}: this loss needs a text for each picture; make the cache with --captions "
                "or with --template"
            )

    def batch(self, student: Tensor, samples: NDArray[np.int64], views: NDArray[np.int64]) -> Batch:
        """What losses of these samples are computed from, on the student's device."""
        device = student.device

        def put(rows: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.asarray(rows, np.float32)).to(device)

        labels = text = ids = classes = None
        if self.classes is not None and len(self.pictures.targets):
            chosen = np.array([self.pictures.targets[sample] for sample in samples])
            labels = torch.from_numpy(chosen).to(device)
            classes = self.classes.to(device)
            text, ids = classes[labels], labels
        if self.captions is not None and self.caption_ids is not None:
            text = put(self.captions[samples])
            ids = torch.from_numpy(self.caption_ids[samples]).to(device)
        teacher = None if self.features is None else put(self.features[samples, views])
        return Batch(student, teacher, text, ids, classes, labels)


def collate(items: list[Item]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Pixels uint8 (b, s, s, 3), samples (b,) and views (b,)."""
    pixels, samples, views = zip(*items, strict=True)
    stacked = torch.from_numpy(np.stack(pixels))
    return stacked, np.array(samples, np.int64), np.array(views, np.int64)
