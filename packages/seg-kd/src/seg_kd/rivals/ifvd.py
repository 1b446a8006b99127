"""Intra-class feature variation distillation (IFVD; Wang et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seg_kd.method.losses import SMALLEST_NORM, full_precision, matched, resize_labels
from seg_kd.method.terms import Maps, Module, Pair, Term


def class_variation(student: Tensor, teacher: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """Mean squared difference of how near each position is to the centre of its class.

    In each image the centre of a class is the mean feature of its positions, and v is the cosine
    between a position's feature and its class's centre; the loss is the mean over all B * H * W
    positions of (v_S - v_T)^2. Unlabelled positions add 0 and count, as in CIRKD's losses/ifvd.py.
    There a loop over classes builds maps of B x C x H x W; here two matrix products do, and no map
    is larger than B x K x H x W. Norms are at least 1e-3 (ours): vectors behind a ReLU may be zero.

    Args:
        student: (B, C, H, W).
        teacher: (B, C', H', W'), resized to H x W where it differs. Detached.
        labels: (B, H'', W''), nearest pixels count; values of `classes` or above are unlabelled.
        classes: K.

    Returns:
        Scalar >= 0, float32 for half-precision input; 0 with gradient 0 where nothing is labelled.

    Raises:
        ValueError: shapes that do not fit.
    """
    student, teacher = matched("feature", student, teacher, same_channels=False)
    labels = resize_labels(labels, (student.shape[2], student.shape[3])).flatten(1)
    members = labels[:, None] == torch.arange(classes, device=labels.device)[:, None]  # B, K, N
    shares = members / members.sum(2, keepdim=True).clamp(min=1)
    place = labels.clamp(max=classes - 1)[:, None].long()
    with full_precision(student):
        own, other = (
            _nearness(f.flatten(2), shares.to(f.dtype), place) for f in (student, teacher)
        )
    return ((own - other) * (labels < classes)).square().mean()


def _nearness(feature: Tensor, shares: Tensor, place: Tensor) -> Tensor:
    """Cosines (B, N) of features (B, C, N) with the centres of the classes at `place` (B, 1, N)."""
    centres = shares @ feature.mT  # B, K, C
    products = (centres @ feature).gather(1, place)[:, 0]
    lengths = torch.linalg.vector_norm(centres, dim=2).gather(1, place[:, 0])
    return products / (
        lengths.clamp(min=SMALLEST_NORM)
        * torch.linalg.vector_norm(feature, dim=1).clamp(min=SMALLEST_NORM)
    )


@dataclass(frozen=True)
class ClassVariation(Term):
    """`class_variation` on the pre-classifier features. Weight 20 is CIRKD's."""

    weight: float = 20.0

    parts: ClassVar[Mapping[str, str]] = {"class-variation": "weight"}
    equations = (class_variation,)

    def build(self, pair: Pair) -> Module:
        """A module without parameters."""
        pair.channels("pre-classifier")
        return _ClassVariation(pair.classes)


class _ClassVariation(Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        own, other = student.layer("pre-classifier"), teacher.layer("pre-classifier")
        return {"class-variation": class_variation(own, other, labels, classes=self.classes)}
