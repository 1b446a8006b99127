"""Options that several commands share: how a model is routed, and what it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from amod.method.model import PRESETS
from amod.method.routing import Rows
from repro_shared.runtime.errors import UserError

USUAL: dict[str, Any] = {
    "router": "attention",
    "first": 1,
    "every": 2,
    "score": "column-mean",
    "protect_prefix": False,
    "k_align": 1,
}


@dataclass(frozen=True)
class RoutingSettings:
    """How a model is routed, but for the capacity, on every command line that routes one.

    What is not given is as stored with the weights, or else, and with a preset, the preset's.

    Attributes:
        router: attention (usual), attention-multiplied, linear, linear-sigmoid, linear-unit, random
            or l2norm.
        preset: paper (usual), or practical: the class token always takes part, blocks 0 to 4 are
            dense, the number of tokens is a multiple of 8. What is given beside it counts instead.
        first: index of the first routed block, at least 1 (usual).
        every: distance of routed blocks, at least 2 (usual).
        score: whose attention ranks the tokens: all tokens' (column-mean, usual), the patches' or
            the class token's.
        protect_prefix: class and register tokens always take part.
        k_align: the number of tokens is a multiple of this, usually 1.
    """

    router: str | None = None
    preset: Literal["paper", "practical"] | None = None
    first: int | None = None
    every: int | None = None
    score: Rows | None = None
    protect_prefix: bool = False
    k_align: int | None = None

    def resolved(self, known: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Arguments of `amod.convert`; UserError for an unknown preset.

        Args:
            known: those stored with the weights; a preset takes their place.
        """
        preset = self.preset or "paper"
        if preset not in PRESETS:
            raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
        usual = USUAL | PRESETS[preset]
        if self.preset is None:
            usual = {name: known.get(name, value) for name, value in usual.items()}
        given = {name: getattr(self, name) for name in USUAL}
        given = {name: value for name, value in given.items() if value is not None}
        if not self.protect_prefix:
            del given["protect_prefix"]  # a flag that was not given
        return usual | given


NO_FLAGS = RoutingSettings()


@dataclass(frozen=True)
class Checkpoint:
    """What a model begins with, on every command line that reads weights.

    Attributes:
        weights: file of the dense or routed model (.safetensors or .pth); random weights without.
        pretrained: timm's own weights of the model, from the hub's cache on this machine; nothing
            is downloaded.
        img_size: side of the pictures in pixels, if not the model's usual one; position embeddings
            of other sizes are resized.
    """

    weights: str | None = None
    pretrained: bool = False
    img_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be; UserError."""
        if self.img_size is not None and self.img_size < 1:
            raise UserError(f"--img-size must be at least 1, got {self.img_size}")
        if self.pretrained and self.weights:
            raise UserError("--weights and --pretrained are two origins of the weights: give one")

    @property
    def settings(self) -> dict[str, int]:
        """Further settings for `timm.create_model`."""
        return {} if self.img_size is None else {"img_size": self.img_size}


RANDOM = Checkpoint()
