"""What every distillation term is: a frozen description that makes a module, and what it reads.

A term's equation is a pure function of tensors; its module picks the tensors, and holds what lasts:
adapters, generators, discriminators, queues. Those are trained and stored with the student, and
thrown away with the module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from repro_shared.runtime.errors import UserError


class Maps(Protocol):
    """What a network gave in one pass: maps (B, C, h, w), each at the network's own resolution."""

    def logits(self) -> Tensor:
        """Class scores, C = number of classes."""
        ...

    def layer(self, name: str) -> Tensor:
        """The feature `pre-classifier` or `c4`."""
        ...

    def auxiliary(self) -> Tensor:
        """Class scores of the auxiliary head."""
        ...


class Pair(Protocol):
    """What a term's module has to know of student and teacher when it is made."""

    @property
    def classes(self) -> int:
        """How many both score; UserError where they differ."""
        ...

    def channels(self, layer: str) -> tuple[int, int]:
        """Channels of a feature: the student's and the teacher's."""
        ...

    def need_auxiliary(self) -> None:
        """UserError where one of the two has no auxiliary head."""
        ...


@dataclass(frozen=True)
class Apart:
    """How a term's own networks are trained where that differs from the student.

    Attributes:
        adam: learning rate, constant, and the two betas of an Adam of their own; None: by the
            student's optimiser.
        clip_norm: largest norm of the gradient of all their parameters; None: not clipped.
    """

    adam: tuple[float, float, float] | None = None
    clip_norm: float | None = None


class Module(nn.Module):
    """A term at work: called as `module(student, teacher, labels)` in every training step.

    `labels` are (B, H, W), 255 where unlabelled. It returns the term's parts by name, one number
    each, not yet weighted; a part whose weight is 0 may be left out.

    Attributes:
        apart: how its parameters are trained, if not as the student's.
    """

    apart = Apart()


@dataclass(frozen=True)
class Term:
    """A distillation term; a subclass has its settings as fields, the weights among them.

    Attributes:
        parts: the field that holds the weight of each part of the loss.
        equations: what is computed.
    """

    parts: ClassVar[Mapping[str, str]]
    equations: ClassVar[tuple[Callable[..., Any], ...]]

    def __post_init__(self) -> None:
        weights = self.weights
        for part, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise UserError(f"the weight of {part} must be 0 or more, got {weight}")
        if not any(weights.values()):
            raise UserError(f"{', '.join(weights)}: all weights are 0, leave the term out")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part."""
        return {part: getattr(self, field) for part, field in self.parts.items()}

    def build(self, pair: Pair) -> Module:
        """Make the module; UserError where student and teacher do not have what it needs."""
        raise NotImplementedError
