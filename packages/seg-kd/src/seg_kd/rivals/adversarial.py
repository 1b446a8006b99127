"""Holistic distillation: a discriminator tells teacher's from student's class scores (SKD).

The authors' scripts of SKD, IFVD and CWD always add it (arXiv 1903.04197; CIRKD's train_kd.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from repro_shared.runtime.errors import UserError
from seg_kd.method.losses import matched
from seg_kd.method.terms import Apart, Maps, Module, Pair, Term

_SMALLEST_SIDE = 64  # what four halvings and a 4 x 4 window need


def fooling(score_of_student: Tensor) -> Tensor:
    """The student's loss: minus the mean score of its maps (hinge form, CIRKD's losses/adv.py)."""
    return -score_of_student.float().mean()


def telling_apart(score_of_student: Tensor, score_of_teacher: Tensor) -> Tensor:
    """The discriminator's loss: mean max(0, 1 - D(teacher)) + mean max(0, 1 + D(student))."""
    own, other = score_of_student.float(), score_of_teacher.float()
    return F.relu(1 - other).mean() + F.relu(1 + own).mean()


class SelfAttention(nn.Module):
    """x + gamma * attention over places, gamma 0 at first (SAGAN's block).

    Args:
        channels: of the map; queries and keys have an eighth.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        query, key, value = (f(maps).flatten(2).mT for f in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.gamma * attended.mT.reshape(maps.shape) + maps


class Discriminator(nn.Module):
    """CIRKD's utils/sagan.py: batch norm, four 4x4 convolutions of stride 2 with spectral norm and
    leaky ReLU (0.1), self-attention behind the last two, a 4x4 convolution to one score.

    Maps whose shorter side is below 64 are enlarged to it first (ours).

    Args:
        classes: channels of the maps.
        width: of the first convolution; each next one has twice as many channels.
    """

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(classes)
        widths = [classes, width, 2 * width, 4 * width, 8 * width]
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1))
            for before, after in pairwise(widths)
        )
        self.attention = nn.ModuleList((SelfAttention(4 * width), SelfAttention(8 * width)))
        self.last = nn.Conv2d(8 * width, 1, 4)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, classes, H, W) to scores (B, 1, h, w)."""
        side = min(maps.shape[2:])
        if side < _SMALLEST_SIDE:
            scale = _SMALLEST_SIDE / side
            size = [max(_SMALLEST_SIDE, round(scale * n)) for n in maps.shape[2:]]
            maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        maps = self.norm(maps)
        for index, convolution in enumerate(self.convolutions):
            maps = F.leaky_relu(convolution(maps), 0.1)
            if index >= 2:
                maps = self.attention[index - 2](maps)
        scores: Tensor = self.last(maps)
        return scores


@dataclass(frozen=True)
class Adversarial(Term):
    """`fooling` and `telling_apart` on the class scores.

    CIRKD's: weights 0.001 and 0.1; the discriminator learns by Adam, rate 4e-4 throughout, betas
    0.9 and 0.99. Both learn in one step, from the same pass of the student; the discriminator's
    parameters get no gradient of `fooling`.
    """

    weight: float = 0.001
    discriminator_weight: float = 0.1
    learning_rate: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.99)

    parts: ClassVar[Mapping[str, str]] = {
        "adversarial": "weight",
        "discriminator": "discriminator_weight",
    }
    equations = (fooling, telling_apart)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight or not self.discriminator_weight:
            raise UserError("adversarial and discriminator: both weights are above 0, or both 0")

    def build(self, pair: Pair) -> Module:
        """A module that holds the discriminator."""
        module = _Adversarial(Discriminator(pair.classes))
        module.apart = Apart(adam=(self.learning_rate, *self.betas))
        return module


class _Adversarial(Module):
    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, student: Maps, teacher: Maps, labels: Tensor) -> dict[str, Tensor]:
        own, other = matched("logits", student.logits(), teacher.logits())
        self.discriminator.requires_grad_(False)
        fooled = fooling(self.discriminator(own))
        self.discriminator.requires_grad_(True)
        told = telling_apart(self.discriminator(own.detach()), self.discriminator(other))
        return {"adversarial": fooled, "discriminator": told}
