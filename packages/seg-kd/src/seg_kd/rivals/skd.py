"""Structured distillation, pair-wise term (SKD; Liu et al., arXiv 1903.04197)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from seg_kd.method.losses import full_precision, matched, unit_vectors
from seg_kd.method.terms import Maps, Module, Pair, Term


def pair_wise(student: Tensor, teacher: Tensor, *, pool: int = 2) -> Tensor:
    """Mean squared difference of the similarities of all pairs of places in an image.

    Both features are max-pooled (windows of `pool`, the last one may be cut), F are their unit
    vectors (C, N) at the N pooled places, A = F^T F their cosines; the loss is the mean over images
    and N^2 pairs of (A_S - A_T)^2, as in CIRKD's losses/skd.py. TorchDistiller's has the same
    value, but passes no gradient through the length of the vectors.

    |A_S - A_T|^2 = |F_S F_S^T|^2 - 2 |F_S F_T^T|^2 + |F_T F_T^T|^2, with products of C x C instead
    of N x N: less work, and no map of N x N, wherever there are more places than channels. There
    rounding of 1e-7 remains where the loss is 0.

    Args:
        student: (B, C, H, W).
        teacher: (B, C', H', W'), resized to H x W where it differs. Detached.
        pool: side of a window, 1 or more.

    Returns:
        Scalar, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit.
    """
    student, teacher = matched("feature", student, teacher, same_channels=False)
    own, other = (unit_vectors(F.max_pool2d(f, pool, ceil_mode=True)).flatten(2)
                  for f in (student, teacher))  # fmt: skip
    places = own.shape[2]
    with full_precision(own):  # differences of large numbers
        if places <= own.shape[1] + other.shape[1]:
            return F.mse_loss(own.mT @ own, other.mT @ other)
        squares = ((a @ b.mT).square().sum() for a, b in ((own, own), (own, other), (other, other)))
        mine, both, taught = squares
    return (mine - 2 * both + taught) / (len(own) * places**2)


@dataclass(frozen=True)
class PairWise(Term):
    """`pair_wise` on the pre-classifier features. Weight 10 and windows of 2 x 2 are CIRKD's."""

    weight: float = 10.0
    pool: int = 2

    parts: ClassVar[Mapping[str, str]] = {"pair-wise": "weight"}
    equations = (pair_wise,)

    def build(self, pair: Pair) -> Module:
        """A module without parameters."""
        pair.channels("pre-classifier")
        return _PairWise(self)


class _PairWise(Module):
    def __init__(self, term: PairWise) -> None:
        super().__init__()
        self.term = term

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        own, other = student.layer("pre-classifier"), teacher.layer("pre-classifier")
        return {"pair-wise": pair_wise(own, other, pool=self.term.pool)}
