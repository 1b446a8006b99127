"""Channel-wise distillation (CWD; Shu et al., arXiv 2011.13256)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from seg_kd.method.losses import (
    FeatureProjector,
    check_option,
    check_temperature,
    matched,
)
from seg_kd.method.terms import Maps, Module, Pair, Term

ChannelReduction = Literal["channel_mean", "element_mean", "batch_sum"]


def channel_wise(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 4.0,
    reduction: ChannelReduction = "channel_mean",
) -> Tensor:
    """Divergence of the distributions over space that each channel is.

    p = softmax over the H * W places of a channel's values / T; D is the sum over places of
    p_T (log p_T - log p_S). CIRKD, TorchDistiller and mmrazor agree here: T^2 * sum D / (B * C),
    `channel_mean`. `element_mean` is that of TorchDistiller's pixel loss, sum D / (B * C * H * W)
    without T^2, and `batch_sum` mmrazor's for pixels, T^2 * sum D / B; so element_mean =
    channel_mean / (H * W * T^2) and batch_sum = channel_mean * C.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H', W'), resized to H x W where it differs. Detached.
        temperature: T > 0.
        reduction: see above.

    Returns:
        Scalar >= 0, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit, T <= 0, an unknown reduction.
    """
    check_option("reduction", reduction, ChannelReduction)
    check_temperature(temperature)
    student, teacher = matched("maps", student, teacher)
    own, other = ((f.flatten(2) / temperature).log_softmax(2) for f in (student, teacher))
    total = F.kl_div(own, other, reduction="sum", log_target=True)
    images, channels, places = own.shape
    if reduction == "element_mean":
        return total / (images * channels * places)
    mean = total * temperature**2 / images
    return mean / channels if reduction == "channel_mean" else mean


@dataclass(frozen=True)
class ChannelWise(Term):
    """`channel_wise` on the class scores. Weight 3 and T = 4 are CIRKD's and TorchDistiller's;
    mmrazor has weight 5 and T = 1."""

    weight: float = 3.0
    temperature: float = 4.0
    reduction: ChannelReduction = "channel_mean"

    parts: ClassVar[Mapping[str, str]] = {"channel-wise": "weight"}
    equations = (channel_wise,)

    def build(self, pair: Pair) -> Module:
        """A module without parameters."""
        return _ChannelWise(self, "channel-wise")


@dataclass(frozen=True)
class ChannelWiseFeatures(Term):
    """`channel_wise` on the pre-classifier features, the student's behind a 1x1 convolution where
    its channels are others. Weight 50 and T = 4 are CIRKD's."""

    weight: float = 50.0
    temperature: float = 4.0
    reduction: ChannelReduction = "channel_mean"

    parts: ClassVar[Mapping[str, str]] = {"channel-wise-features": "weight"}
    equations = (channel_wise,)

    def build(self, pair: Pair) -> Module:
        """A module that holds the convolution."""
        own, other = pair.channels("pre-classifier")
        module = _ChannelWise(self, "channel-wise-features")
        if own != other:
            module.projector = FeatureProjector(own, other)
        return module


class _ChannelWise(Module):
    def __init__(self, term: ChannelWise | ChannelWiseFeatures, part: str) -> None:
        super().__init__()
        self.term, self.part = term, part
        self.projector: FeatureProjector | None = None

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        term = self.term
        if isinstance(term, ChannelWise):
            own, other = student.logits(), teacher.logits()
        else:
            own, other = student.layer("pre-classifier"), teacher.layer("pre-classifier")
            own = own if self.projector is None else self.projector(own)
        loss = channel_wise(own, other, temperature=term.temperature, reduction=term.reduction)
        return {self.part: loss}
