"""Masked generation: MGD (Yang et al., arXiv 2205.01529) and Af-DCD (Fan et al., 2312.04168)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro_shared.runtime.errors import UserError
from seg_kd.method.losses import check_temperature, feature_distillation, matched
from seg_kd.method.terms import Apart, Maps, Module, Pair, Term


def generation(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of a generated feature, summed over an image, mean over images.

    sum (G(mask * A(F_S)) - F_T)^2 / B, with A a 1x1 convolution to the teacher's channels, where
    these are others, and G a small convolutional generator: `feature_distillation` with
    `reduction="batch_sum"`.

    Args:
        student: (B, C, H, W), what G made.
        teacher: (B, C, H', W'), resized to H x W where it differs. Detached.

    Returns:
        Scalar >= 0, float32 for half-precision input.
    """
    return feature_distillation(student, teacher, reduction="batch_sum")


def omni_contrast(
    student: Tensor,
    teacher: Tensor,
    *,
    groups: int = 16,
    patch: int = 4,
    pool: int = 4,
    temperature: float = 0.07,
) -> Tensor:
    """Contrast of channel groups at the places of a patch (Af-DCD's losses/ocmgd.py).

    Both maps are max-pooled and cut into patches of `patch` x `patch`, and channels into `groups`
    vectors. The logit of a student's vector and a teacher's of the same patch is minus their L1
    distance / temperature. Its positive is the one of the same place and group, its negatives are
    all of other groups, at any place; the loss is the cross-entropy, summed over groups, mean over
    images and pooled places.

    Places that fill no patch are left out, and maps too small for a patch after pooling are pooled
    less (ours).

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H', W'), resized to H x W where it differs. Detached.
        groups: that C divides into.
        patch: side, in pooled places.
        pool: side of a pooling window.
        temperature: > 0.

    Returns:
        Scalar > 0, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit, channels that do not divide, maps smaller than a patch.
    """
    check_temperature(temperature)
    student, teacher = matched("feature", student, teacher)
    _, channels, *size = student.shape
    if channels % groups:
        raise ValueError(f"{channels} channels do not divide into {groups} groups")
    if min(size) < patch:
        raise ValueError(f"a map of {size[0]} x {size[1]} has no patch of {patch} x {patch}")
    pool = max(1, min(pool, min(size) // patch))
    own, other = (_patches(F.max_pool2d(f, pool), groups, patch) for f in (student, teacher))
    logits = torch.cdist(own, other, p=1) / -temperature  # patches, places x groups, the same
    group = torch.arange(logits.shape[1], device=logits.device) % groups
    rivals = logits.masked_fill(group[:, None] == group, -torch.inf).logsumexp(2)
    positive = logits.diagonal(dim1=1, dim2=2)
    losses = torch.logaddexp(rivals, positive) - positive
    return losses.sum() * groups / losses.numel()


def _patches(maps: Tensor, groups: int, patch: int) -> Tensor:
    """(B, C, H, W) as (patches, places * groups, C / groups), group by group within a place."""
    images, channels, height, width = maps.shape
    down, across = height // patch, width // patch
    maps = maps[:, :, : down * patch, : across * patch]
    cut = maps.reshape(images, groups, channels // groups, down, patch, across, patch)
    return cut.permute(0, 3, 5, 4, 6, 1, 2).reshape(images * down * across, -1, channels // groups)


class Generator(nn.Module):
    """Makes a teacher's feature of a student's of which most places are hidden.

    1x1 convolution to the teacher's channels (where these are others), a random mask that hides a
    share of the places, and 3x3 convolutions: two, or with `enhanced` four in two branches whose
    mean it is (Af-DCD's).

    Args:
        own, other: the student's and the teacher's channels.
        hidden: share of the places.
        enhanced: see above.
    """

    def __init__(self, own: int, other: int, hidden: float, enhanced: bool = False) -> None:
        super().__init__()
        self.hidden = hidden
        self.align = nn.Conv2d(own, other, 1) if own != other else nn.Identity()
        count = 4 if enhanced else 2
        self.convolutions = nn.ModuleList(
            nn.Conv2d(other, other, 3, padding=1) for _ in range(count)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(B, own, H, W) to (B, other, H, W)."""
        images, _, height, width = feature.shape
        shown = torch.rand(images, 1, height, width, device=feature.device) <= 1 - self.hidden
        first, *middle, last = self.convolutions
        made: Tensor = F.relu(first(self.align(feature) * shown))
        if not middle:
            return last(made)
        second, branch = middle
        deeper: Tensor = last(F.relu(second(made)))
        return (branch(made) + deeper) / 2


@dataclass(frozen=True)
class MaskedGeneration(Term):
    """`generation` on layer c4: weight 2e-5, 0.75 of the places hidden (MGD's for segmentation)."""

    weight: float = 2e-5
    hidden: float = 0.75
    layer: str = "c4"

    parts: ClassVar[Mapping[str, str]] = {"generation": "weight"}
    equations = (generation,)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_hidden(self.hidden)

    def build(self, pair: Pair) -> Module:
        """A module that holds the generator."""
        return _Generation(Generator(*pair.channels(self.layer), self.hidden), self.layer, None)


@dataclass(frozen=True)
class OmniContrast(Term):
    """`generation` and `omni_contrast` of one generated feature on layer c4 (Af-DCD).

    Weights are its Cityscapes script's, 2e-6 and 5e-3; on ADE20K they are 1e-6 and 0.04 (and 0.5
    for logit distillation), on CamVid 8e-6 and 0.01 with maps that are not pooled. The gradient of
    the generator's parameters is clipped to a norm of 15.
    """

    weight: float = 2e-6
    contrast_weight: float = 5e-3
    hidden: float = 0.75
    enhanced: bool = False
    groups: int = 16
    patch: int = 4
    pool: int = 4
    temperature: float = 0.07
    clip_norm: float = 15.0
    layer: str = "c4"

    parts: ClassVar[Mapping[str, str]] = {"generation": "weight", "contrast": "contrast_weight"}
    equations = (generation, omni_contrast)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_hidden(self.hidden)

    def build(self, pair: Pair) -> Module:
        """A module that holds the generator."""
        own, other = pair.channels(self.layer)
        if other % self.groups:
            raise UserError(
                f"the contrast cuts channels into {self.groups} groups, and the {other} channels "
                f"of the teacher's layer {self.layer} do not divide: choose another objective"
            )
        generator = Generator(own, other, self.hidden, self.enhanced)
        module = _Generation(generator, self.layer, self)
        module.apart = Apart(clip_norm=self.clip_norm)
        return module


class _Generation(Module):
    def __init__(self, generator: Generator, layer: str, contrast: OmniContrast | None) -> None:
        super().__init__()
        self.generator, self.layer, self.contrast = generator, layer, contrast

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        made, other = self.generator(student.layer(self.layer)), teacher.layer(self.layer)
        term, found = self.contrast, dict[str, Tensor]()
        if term is None or term.weight:
            found["generation"] = generation(made, other)
        if term is not None and term.contrast_weight:
            height, width = made.shape[2:]
            if min(height, width) < term.patch:
                raise UserError(
                    f"the contrast cuts patches of {term.patch} x {term.patch} places, and the "
                    f"student's layer {self.layer} has {height} x {width}: give a larger --crop"
                )
            found["contrast"] = omni_contrast(
                made,
                other,
                groups=term.groups,
                patch=term.patch,
                pool=term.pool,
                temperature=term.temperature,
            )
        return found


def _check_hidden(hidden: float) -> None:
    if not 0 <= hidden < 1:
        raise UserError(f"hidden must be 0 or more and below 1, got {hidden}")
