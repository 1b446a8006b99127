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


def correlations(
    student_logits: Tensor, teacher_logits: Tensor, *, tau: float = 1.0
) -> tuple[Tensor, Tensor]:
    """1 - Pearson correlation of the class probabilities, over classes and over positions.

    With p = softmax(z / tau): *inter-class* correlates p_S and p_T over the K classes of a
    position, and is the mean over all B * H * W positions; *intra-class* correlates over the
    positions, and is the mean over classes. Both as in DIST_KD's segmentation/losses/dist_kd.py;
    times tau^2 (tau is 1 there). The mean of a position's probabilities is 1 / K and not computed.

    Args:
        student_logits: (B, K, H, W).
        teacher_logits: (B, K, H', W'), resized to H x W where it differs. Detached.
        tau: temperature > 0.

    Returns:
        Two scalars from 0 to 2 tau^2, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit, tau <= 0.
    """
    check_temperature(tau)
    maps = matched("logits", student_logits, teacher_logits)
    own, other = ((z.permute(0, 2, 3, 1).flatten(0, 2) / tau).softmax(1) for z in maps)
    uniform = 1 / own.shape[1]
    inter = _correlation(own - uniform, other - uniform, 1).mean()
    intra = _correlation(own - own.mean(0), other - other.mean(0), 0).mean()
    return (1 - inter) * tau**2, (1 - intra) * tau**2


def _correlation(one: Tensor, other: Tensor, over: int) -> Tensor:
    lengths = (torch.linalg.vector_norm(p, dim=over) for p in (one, other))
    return (one * other).sum(over) / (next(lengths) * next(lengths) + _EPSILON)


@dataclass(frozen=True)
class Correlation(Term):
    """`correlations` of the class scores: both weights 1 and tau 1 are DIST's.

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
    equations = (correlations,)

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
        found = correlations(student.logits(), teacher.logits(), tau=term.tau)
        if term.auxiliary:
            beside = correlations(student.auxiliary(), teacher.auxiliary(), tau=term.tau)
            inter, intra = (a + term.auxiliary * b for a, b in zip(found, beside, strict=True))
            found = inter, intra
        return dict(zip(term.parts, found, strict=True))
