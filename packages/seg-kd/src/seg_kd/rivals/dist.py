"""Distillation from a stronger teacher (DIST; Huang et al., arXiv 2205.10536)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seg_kd.method.losses import check_temperature, matched
from seg_kd.method.terms import Maps, Module, Pair, Term

_EPSILON = 1e-8  # added to the product of two lengths, as DIST_KD does


def inter_class(student_logits: Tensor, teacher_logits: Tensor, *, tau: float = 1.0) -> Tensor:
    """1 - Pearson correlation over the classes, mean over all B * H * W positions.

    Correlated are softmax(z / tau) of student and teacher, as in DIST_KD's
    segmentation/losses/dist_kd.py; times tau^2 (tau is 1 there).

    Args:
        student_logits: (B, K, H, W).
        teacher_logits: (B, K, H', W'), resized to H x W where it differs. Detached.
        tau: temperature > 0.

    Returns:
        Scalar from 0 to 2 tau^2, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit, tau <= 0.
    """
    own, other = _probabilities(student_logits, teacher_logits, tau)
    return (1 - _pearson(own, other, (1,)).mean()) * tau**2


def intra_class(student_logits: Tensor, teacher_logits: Tensor, *, tau: float = 1.0) -> Tensor:
    """1 - Pearson correlation over all B * H * W positions, mean over the classes.

    Otherwise as `inter_class`.
    """
    own, other = _probabilities(student_logits, teacher_logits, tau)
    return (1 - _pearson(own, other, (0, 2, 3)).mean()) * tau**2


def _probabilities(student: Tensor, teacher: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    check_temperature(tau)
    student, teacher = matched("logits", student, teacher)
    return (student / tau).softmax(1), (teacher / tau).softmax(1)


def _pearson(one: Tensor, other: Tensor, over: tuple[int, ...]) -> Tensor:
    one, other = (p - p.mean(over, keepdim=True) for p in (one, other))
    lengths = (torch.linalg.vector_norm(p, dim=over) for p in (one, other))
    return (one * other).sum(over) / (next(lengths) * next(lengths) + _EPSILON)


@dataclass(frozen=True)
class Correlation(Term):
    """`inter_class` and `intra_class` on the class scores: both weights 1 and tau 1 are DIST's.

    Its segmentation script adds 0.4 times both on the scores of the auxiliary heads; `auxiliary`
    is that factor.
    """

    inter_weight: float = 1.0
    intra_weight: float = 1.0
    tau: float = 1.0
    auxiliary: float = 0.0

    parts: ClassVar[Mapping[str, str]] = {
        "inter-class": "inter_weight",
        "intra-class": "intra_weight",
    }
    equations = (inter_class, intra_class)

    def build(self, pair: Pair) -> Module:
        """A module without parameters."""
        if self.auxiliary:
            pair.need_auxiliary()
        return _Correlation(self)


class _Correlation(Module):
    def __init__(self, term: Correlation) -> None:
        super().__init__()
        self.term = term

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        term = self.term
        heads = [(1.0, student.logits(), teacher.logits())]
        if term.auxiliary:
            heads.append((term.auxiliary, student.auxiliary(), teacher.auxiliary()))
        found = {}
        for part, function in zip(term.parts, term.equations, strict=True):
            if term.weights[part]:
                losses = (share * function(own, other, tau=term.tau) for share, own, other in heads)
                found[part] = torch.stack([*losses]).sum()
        return found
