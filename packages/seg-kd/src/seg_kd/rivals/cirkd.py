"""Cross-image relational distillation (CIRKD; Yang et al., arXiv 2204.06986)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from seg_kd.method.losses import (
    check_temperature,
    matched,
    resize_labels,
    unit_vectors,
)
from seg_kd.method.terms import Maps, Module, Pair, Term
from seg_kd.rivals.queues import ClassQueues, class_pixels, class_regions
from seg_kd.rivals.relation import relation_divergence


def pixel_to_pixel(student: Tensor, teacher: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Divergence of the similarities of all pixels of all images of a batch.

    For each ordered pair (i, j) of the batch's images: q = softmax over the N places of image j of
    cosine(place in i, place in j) / temperature; the loss is the mean over the B^2 pairs and the N
    places of i of KL(q_T || q_S), as in CIRKD's losses/cirkd_mini_batch.py.

    Args:
        student: (B, C, H, W).
        teacher: (B, C', H', W'), resized to H x W where it differs. Detached.
        temperature: > 0.

    Returns:
        Scalar >= 0 (up to rounding), float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not above 0.
    """
    check_temperature(temperature)
    student, teacher = matched("feature", student, teacher, same_channels=False)
    own, other = (unit_vectors(f).flatten(2).mT.contiguous() for f in (student, teacher))
    images, places, _ = own.shape
    rows, taught = own.flatten(0, 1), other.flatten(0, 1)
    losses = [
        relation_divergence(rows, own[j], taught, other[j], temperature=temperature)
        for j in range(images)
    ]
    return torch.stack(losses).sum() / (images**2 * places)


def to_memory(
    student: Tensor,
    teacher: Tensor,
    memory: Tensor,
    *,
    valid: Tensor,
    used: Tensor | None = None,
    temperature: float = 0.1,
    kd_temperature: float = 1.0,
) -> Tensor:
    """Divergence of the similarities of pixels to remembered teacher vectors.

    q = softmax over the M remembered vectors of <pixel, vector> / temperature / kd_temperature; the
    loss is kd_temperature^2 times the mean over labelled pixels of KL(q_T || q_S), as in CIRKD's
    losses/cirkd_memory.py.

    Args:
        student: (R, C), unit vectors of R pixels, projected to the teacher's channels.
        teacher: (R, C), the teacher's. Detached.
        memory: (M, C), unit vectors.
        valid: (R,) bool, the labelled pixels.
        used: (M,) bool, False where nothing is remembered yet (zeros).
        temperature, kd_temperature: > 0.

    Returns:
        Scalar >= 0 (up to rounding); 0 with gradient 0 where nothing is labelled or remembered.

    Raises:
        ValueError: a temperature that is not above 0.
    """
    check_temperature(temperature)
    check_temperature(kd_temperature)
    counts = valid.to(student.dtype)
    total = relation_divergence(
        student,
        memory,
        teacher,
        memory,
        temperature=temperature * kd_temperature,
        weights=counts / counts.sum().clamp(min=1),
        used=used,
    )
    return total * kd_temperature**2


@dataclass(frozen=True)
class MiniBatch(Term):
    """`pixel_to_pixel` on the pre-classifier features. Weight 1 and temperature 0.1 are CIRKD's."""

    weight: float = 1.0
    temperature: float = 0.1

    parts: ClassVar[Mapping[str, str]] = {"mini-batch": "weight"}
    equations = (pixel_to_pixel,)

    def build(self, pair: Pair) -> Module:
        """A module without parameters."""
        pair.channels("pre-classifier")
        return _MiniBatch(self)


class _MiniBatch(Module):
    def __init__(self, term: MiniBatch) -> None:
        super().__init__()
        self.term = term

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        own, other = student.layer("pre-classifier"), teacher.layer("pre-classifier")
        return {"mini-batch": pixel_to_pixel(own, other, temperature=self.term.temperature)}


@dataclass(frozen=True)
class Memory(Term):
    """`to_memory` on pixels and on regions of the teacher's past pre-classifier features.

    The student's are projected by 1x1 convolution, batch norm, ReLU, 1x1 convolution. Each step
    16 pixels of each class of an image are queued, and the mean of the class as its region; then
    4096 // K + 1 pixels and 1024 // K + 1 regions of each class are drawn. All constants are
    CIRKD's, whose author has weights of 0.01 for VOC.

    Ours: until a class's queue is full only what it holds takes part (CIRKD fills queues with
    random vectors first); the places drawn differ from class to class; the queued pixels are the
    class's own, where the code as we read it (`this_feat[:, perm[:K]]`) takes them from the first
    places of the image, whatever their class; queues that would take more than a gibibyte in
    float32 get as many places as fit (20,000 pixels of each of 21 classes at 512 channels do, of
    150 classes 3,495), and a checkpoint holds what is filled of them.

    Attributes:
        pixel_weight, region_weight: of the two parts.
        temperature, kd_temperature: of the similarities, and of their distributions.
        pixel_queue, region_queue: places of a class.
        pixels, regions: drawn in all, divided over the classes.
        queued: pixels of one class and image that are queued.
    """

    pixel_weight: float = 0.1
    region_weight: float = 0.1
    temperature: float = 0.1
    kd_temperature: float = 1.0
    pixel_queue: int = 20000
    region_queue: int = 2000
    pixels: int = 4096
    regions: int = 1024
    queued: int = 16

    parts: ClassVar[Mapping[str, str]] = {
        "memory-pixel": "pixel_weight",
        "memory-region": "region_weight",
    }
    equations = (to_memory,)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pixel_queue", "region_queue", "pixels", "regions", "queued"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of the memory must be 1 or more")

    def build(self, pair: Pair) -> Module:
        """A module that holds the projection and the queues."""
        return _Memory(self, pair)


class _Memory(Module):
    def __init__(self, term: Memory, pair: Pair) -> None:
        super().__init__()
        own, other = pair.channels("pre-classifier")
        self.term, self.classes = term, pair.classes
        self.projection = nn.Sequential(
            nn.Conv2d(own, other, 1, bias=False),
            nn.BatchNorm2d(other),
            nn.ReLU(inplace=True),
            nn.Conv2d(other, other, 1, bias=False),
        )
        if term.pixel_weight:
            self.pixels = ClassQueues(pair.classes, term.pixel_queue, other)
        if term.region_weight:
            self.regions = ClassQueues(pair.classes, term.region_queue, other)

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        term, classes = self.term, self.classes
        own = self.projection(student.layer("pre-classifier"))
        own, other = map(unit_vectors, matched("feature", own, teacher.layer("pre-classifier")))
        labels = resize_labels(labels, (own.shape[2], own.shape[3]))
        drawn = {}
        if term.pixel_weight:
            self.pixels.add(*class_pixels(other, labels, classes, term.queued))
            drawn["memory-pixel"] = self.pixels.draw(term.pixels // classes + 1)
        if term.region_weight:
            self.regions.add(*class_regions(other, labels, classes))
            drawn["memory-region"] = self.regions.draw(term.regions // classes + 1)
        rows, taught = (f.permute(0, 2, 3, 1).flatten(0, 2) for f in (own, other))
        valid = labels.flatten() < classes
        settings = {"temperature": term.temperature, "kd_temperature": term.kd_temperature}
        return {
            part: to_memory(
                rows, taught, vectors.to(rows.dtype), valid=valid, used=used, **settings
            )
            for part, (vectors, used) in drawn.items()
        }
