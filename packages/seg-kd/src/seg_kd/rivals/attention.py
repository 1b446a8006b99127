"""Attention transfer (AT; Zagoruyko and Komodakis, arXiv 1612.03928)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from seg_kd.method.losses import SMALLEST_NORM, matched
from seg_kd.method.terms import Maps, Module, Pair, Term


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the attention maps.

    A map is the mean over channels of F^2 (p = 2), as one vector of H * W places with length 1; the
    loss is the mean over B * H * W, as in CIRKD's losses/at.py. Shorter vectors than 1e-3 are not
    stretched to length 1 (ours).

    Args:
        student: (B, C, H, W).
        teacher: (B, C', H', W'), resized to H x W where it differs. Detached.

    Returns:
        Scalar >= 0, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit.
    """
    student, teacher = matched("feature", student, teacher, same_channels=False)
    own, other = (
        F.normalize(f.square().mean(1).flatten(1), dim=1, eps=SMALLEST_NORM)
        for f in (student, teacher)
    )
    return F.mse_loss(own, other)


@dataclass(frozen=True)
class Attention(Term):
    """`attention_transfer` on the pre-classifier features. Weight 10000 is CIRKD's."""

    weight: float = 10000.0

    parts: ClassVar[Mapping[str, str]] = {"attention": "weight"}
    equations = (attention_transfer,)

    def build(self, pair: Pair) -> Module:
        """A module without parameters."""
        pair.channels("pre-classifier")
        return _Attention()


class _Attention(Module):
    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        own, other = student.layer("pre-classifier"), teacher.layer("pre-classifier")
        return {"attention": attention_transfer(own, other)}
