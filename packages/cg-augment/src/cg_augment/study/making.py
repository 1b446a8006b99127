"""One round's images: ordered, made in batches, accounted for. No group label comes in here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cg_augment.method.guided import Guided
from cg_augment.rivals.generating import Generator, Order
from cg_augment.use.classifiers import Classifier
from cg_augment.use.lessons import sized, tensor
from cg_augment.use.pictures import Pictures
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import derive_seed


@dataclass
class Ledger:
    """What generation cost and gave; passes are per network call on one image.

    Attributes:
        asked, failed, unsure: images ordered, not finite, and below the teacher's least confidence.
        forward, backward, decodes: passes, of all images.
        seconds: of generation.
        teacher, student: mean confidences in the class of the images that were kept.
    """

    asked: int = 0
    failed: int = 0
    unsure: int = 0
    forward: int = 0
    backward: int = 0
    decodes: int = 0
    seconds: float = 0.0
    teacher: float = float("nan")
    student: float = float("nan")

    @property
    def kept(self) -> int:
        """Images that were trained on."""
        return self.asked - self.failed - self.unsure


@dataclass(frozen=True)
class Wanted:
    """What is ordered.

    Attributes:
        per_class: images of each class.
        keep: least confidence of the teacher in an image's class; images below are left out.
        batch: images of one call of the generator.
        start: side of the training images that generation begins with; 0 for noise alone.
    """

    per_class: int
    keep: float = 0.0
    batch: int = 64
    start: int = 0


def make_images(
    student: Classifier,
    teacher: Classifier,
    pictures: Pictures,
    wanted: Wanted,
    seed: int,
    generator: Generator,
    label: str,
) -> dict[str, Any]:
    """Images (n, h, w, 3) uint8, classes and account of one round, as plain values.

    Args:
        student, teacher: that the images are made for.
        pictures: the training set: its classes, and what generation may begin with.
        wanted: how many, and which are kept.
        seed: of all of them.
        generator: what makes them.
        label: for the line that says what it gave.
    """
    count = wanted.per_class * len(pictures.classes)
    labels = torch.arange(len(pictures.classes)).repeat(wanted.per_class)
    seeds = tuple(derive_seed(seed, "image", index) for index in range(count))
    ledger, pixels, kept, sure = Ledger(asked=count), list[Tensor](), list[Tensor](), list[Tensor]()
    began = time.perf_counter()
    for first in range(0, count, wanted.batch):
        part = slice(first, first + wanted.batch)
        start = _starts(pictures, labels[part], seeds[part], wanted.start)
        order = Order(labels[part], seeds[part], teacher, student, start)
        found = generator(order)
        fine = _account(found, ledger, wanted.keep)
        if not fine.any():  # where nothing was finite, there may not even be an image's shape
            continue
        pixels.append((found.images[fine].clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1))
        kept.append(labels[part][fine])
        sure.append(torch.stack([found.after.teacher[fine], found.after.student[fine]]))
    ledger.seconds = time.perf_counter() - began
    if sure:
        ledger.teacher, ledger.student = torch.cat(sure, dim=1).double().mean(dim=1).tolist()
    say(
        f"{label}: {ledger.kept} of {count} images kept ({ledger.failed} not finite, "
        f"{ledger.unsure} unsure), in {ledger.seconds:.1f} s"
    )
    return {
        "pixels": torch.cat(pixels or [torch.zeros(0, 1, 1, 3, dtype=torch.uint8)]).contiguous(),
        "labels": torch.cat(kept or [torch.zeros(0, dtype=torch.int64)]),
        "ledger": dict(ledger.__dict__),
    }  # fmt: skip


def _account(found: Guided, ledger: Ledger, least: float) -> Tensor:
    """Which images are kept, bool (n,); what they all cost is added up."""
    failed = found.failed.cpu()
    unsure = ~failed & (found.after.teacher.cpu() < least)  # a teacher that is not asked has NaN
    ledger.failed += int(failed.sum())
    ledger.unsure += int(unsure.sum())
    ledger.forward += int(found.forward.sum())
    ledger.backward += int(found.backward.sum())
    ledger.decodes += int(found.decodes.sum())
    return ~(failed | unsure)


def _starts(pictures: Pictures, labels: Tensor, seeds: tuple[int, ...], size: int) -> Tensor | None:
    """A training picture of each one's class, drawn with its seed."""
    if not size:
        return None
    each = {label: np.flatnonzero(pictures.targets == label) for label in labels.unique().tolist()}
    chosen = [
        int(each[label][derive_seed(own, "start") % len(each[label])])
        for label, own in zip(labels.tolist(), seeds, strict=True)
    ]
    return torch.stack([tensor(sized(pictures.read(place), size)) for place in chosen])
