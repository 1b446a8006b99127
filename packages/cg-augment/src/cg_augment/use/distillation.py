"""How a student is distilled: everything that decides it besides pictures, teacher and seed."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from cg_augment.rivals.adversarial import Adversarial
from cg_augment.rivals.mixing import Mixing
from cg_augment.use.lessons import View
from repro_shared.runtime.checks import require


@dataclass(frozen=True)
class Distillation:
    """One training.

    Attributes:
        steps: optimiser steps.
        batch_size: pictures a step, of all processes together.
        optimiser: AdamW, or SGD with momentum 0.9.
        learning_rate: the highest, reached after the warm-up; from there a cosine falls to 0.
        weight_decay: of weight matrices and filters; biases and normalisations have none.
        warmup: share of the steps in which the rate rises linearly.
        clip: largest norm of the gradient, 0 for any.
        amp: bfloat16 autocast.
        temperature: of both softmaxes; 1 as in the paper (second-hand).
        labels: weight of the cross-entropy with the class, beside the teacher's; 0 in the paper.
        view: what is seen of a picture.
        mixing: of the images of a batch, before the teacher labels them.
        alpha: of the mixing weight's distribution, Beta(alpha, alpha).
        features: weight of `feature_distance`, with a linear map into the teacher's space.
        attack: turn a share of each batch into adversarial images; None for none.
        generated: share of each batch that is drawn from generated images; 0 draws from the plain
            union, in which every image counts alike.
    """

    steps: int
    batch_size: int = 64
    optimiser: Literal["AdamW", "SGD"] = "AdamW"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 0.0
    amp: bool = False
    temperature: float = 1.0
    labels: float = 0.0
    view: View = field(default_factory=View)
    mixing: Mixing = "none"
    alpha: float = 1.0
    features: float = 0.0
    attack: Adversarial | None = None
    generated: float = 0.0

    def __post_init__(self) -> None:
        require(self.steps >= 1, "--steps", "at least 1", self.steps)
        require(self.batch_size >= 1, "--batch-size", "at least 1", self.batch_size)
        rate = self.learning_rate
        require(0 < rate < math.inf, "--learning-rate", "above 0", rate)
        require(0 <= self.weight_decay < math.inf, "--weight-decay", "0 or more", self.weight_decay)
        require(0 <= self.warmup < 1, "--warmup", "0 or more and below 1", self.warmup)
        require(0 <= self.clip < math.inf, "--clip", "0 or more", self.clip)
        require(0 < self.temperature < math.inf, "--temperature", "above 0", self.temperature)
        require(0 <= self.labels < math.inf, "--labels", "0 or more", self.labels)
        require(0 < self.alpha < math.inf, "--alpha", "above 0", self.alpha)
        require(0 <= self.features < math.inf, "--features", "0 or more", self.features)
        require(0 <= self.generated < 1, "--share", "0 or more and below 1", self.generated)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = round(self.warmup * self.steps)
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        passed = (step - rise) / max(1, self.steps - rise)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))

    def make_optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """Over all weights that learn."""
        learning = [weight for weight in model.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in learning if w.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [w for w in learning if w.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.optimiser == "SGD":
            return torch.optim.SGD(groups, self.learning_rate, momentum=0.9)
        return torch.optim.AdamW(groups, self.learning_rate)

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """Precision of a step."""
        return torch.autocast(device, torch.bfloat16) if self.amp else nullcontext()
