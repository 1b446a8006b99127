"""How a training goes: optimiser, length, learning rate, regularisation, precision."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from timm.data.mixup import Mixup

from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """Optimiser, length and regularisation of one training.

    Attributes:
        steps: length in optimiser steps, instead of epochs; 0 trains `epochs`.
        batch_size: pictures a step, over all processes.
        optimiser: adamw, or sgd with Nesterov momentum (timm's).
        learning_rate: the peak; linear warm-up, then a cosine to zero.
        warmup: share of the steps in which the learning rate rises.
        weight_decay: of all weights but biases and norms.
        momentum: of sgd.
        clip: gradients of a larger norm are scaled down to this one; 0 for none.
        label_smoothing: share of the target that is spread over all classes, 0 for none.
        mixup: alpha of mixup, as timm defines it, 0 for none.
        cutmix: alpha of cutmix, as timm defines it, 0 for none.
        ema: decay of the averaged weights that are evaluated, 0 for none.
        amp: none, bfloat16, or float16 with gradient scaling.
        checkpointing: recompute activations in the backward pass, to save memory.
        epochs: length in passes over the training set; where `steps` is given, none.
    """

    steps: int = 0
    batch_size: int = 64
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    momentum: float = 0.9
    clip: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    amp: Literal["none", "bfloat16", "float16"] = "none"
    checkpointing: bool = False
    epochs: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained; UserError names the value."""
        for name, holds in {
            "steps": self.steps >= 0,
            "epochs": 0 <= self.epochs < math.inf,
            "batch_size": self.batch_size >= 1,
            "learning_rate": 0 < self.learning_rate < math.inf,
            "warmup": 0 <= self.warmup <= 1,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "mixup": 0 <= self.mixup < math.inf,
            "cutmix": 0 <= self.cutmix < math.inf,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "ema": 0 <= self.ema < 1,
            "momentum": 0 <= self.momentum < 1,
            "clip": 0 <= self.clip < math.inf,
        }.items():
            if not holds:
                raise UserError(f"{name} {getattr(self, name)} is out of range")
        if not (self.steps or self.epochs):
            raise UserError(f"steps {self.steps}, epochs {self.epochs} is out of range: give one")

    def resolved(self, images: int) -> Schedule:
        """The schedule in steps, at least one, for a training set of so many images."""
        if self.steps:
            return self
        return replace(self, steps=max(1, round(self.epochs * images / self.batch_size)))

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def autocast(schedule: Schedule, device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision as the schedule says; attention scores stay in float32."""
    if schedule.amp == "none":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, schedule.amp))


def mixing(schedule: Schedule, classes: int, world: int = 1) -> Mixup | None:
    """timm's mixup and cutmix, if the schedule has any; UserError for an odd batch."""
    if not (schedule.mixup or schedule.cutmix):
        return None
    if schedule.batch_size // world % 2:
        raise UserError(
            f"mixup pairs pictures: {schedule.batch_size // world} a process is an odd number"
        )
    return Mixup(
        schedule.mixup,
        schedule.cutmix,
        label_smoothing=schedule.label_smoothing,
        num_classes=classes,
    )
