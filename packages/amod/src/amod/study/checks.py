"""Settings of the command line that several commands refuse alike."""

from __future__ import annotations

import torch

from amod.method.model import PRESETS
from repro_shared.runtime.errors import UserError


def check_device(device: str) -> None:
    """UserError unless this machine has the device."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu")


def check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds; UserError unless they are distinct and not negative."""
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds must be distinct and not negative, got {' '.join(map(str, seeds))}")
    return seeds


def check_preset(preset: str) -> None:
    """UserError unless `amod.PRESETS` has it."""
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
