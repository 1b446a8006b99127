"""What a student is trained for: one loss or a mixture of two, with all that decides its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from clip_distill.method import losses
from clip_distill.method.gather import gathered
from clip_distill.method.losses import Targets

Name = Literal[
    "l2", "squared-l2", "cosine", "mse", "fd", "image-to-image",
    "vision-language", "logit-rows", "affinity", "class", "teacher-logits",
]  # fmt: skip
FUNCTIONS: dict[Name, Callable[..., Tensor]] = {
    "l2": losses.l2,
    "squared-l2": losses.squared_l2,
    "cosine": losses.cosine,
    "mse": losses.mse,
    "fd": losses.fd,
    "image-to-image": losses.image_to_image,
    "vision-language": losses.vision_language,
    "logit-rows": losses.logit_rows,
    "affinity": losses.affinity,
    "class": losses.class_cross_entropy,
    "teacher-logits": losses.teacher_logits,
}
DISTANCES = ("l2", "squared-l2", "cosine", "mse", "fd")  # sample by sample, no temperature
CONTRASTIVE = ("image-to-image", "vision-language", "logit-rows", "affinity")  # need a batch
OF_TEXTS = ("vision-language", "logit-rows", "affinity")  # need a text a sample
OF_CLASSES = ("class", "teacher-logits")  # need a text a class
TEMPERATURES = (0.01, 100.0)  # ends of a learned one


@dataclass(frozen=True)
class Batch:
    """What losses are computed from.

    Attributes:
        student: (b, D) image features, with gradients.
        teacher: (b, D) image features; None where the loss needs none.
        text: (b, D) the text of each sample.
        text_ids: (b,) equal where the texts are.
        class_text: (C, D) one text a class.
        labels: (b,) classes.
    """

    student: Tensor
    teacher: Tensor | None = None
    text: Tensor | None = None
    text_ids: Tensor | None = None
    class_text: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """One loss, or (1 - alpha) * loss + alpha * other.

    Attributes:
        loss: the first loss.
        temperature: tau of all parts that have one; given exactly where there is one.
        targets: of `vision-language`: identity, or multi-positive where texts repeat.
        other: the second loss.
        alpha: its share, 0 to 1; without `other` 0.
        learned: the temperature is trained from the given one on, and kept from 0.01 to 100.
    """

    loss: Name = "l2"
    temperature: float | None = None
    targets: Targets = "identity"
    other: Name | None = None
    alpha: float = 0.0
    learned: bool = False

    def __post_init__(self) -> None:
        tempered = [name for name in self.parts if name not in DISTANCES]
        if tempered and self.temperature is None:
            raise ValueError(f"the loss {tempered[0]!r} needs a temperature (CLIP's own is 0.01)")
        if not tempered and (self.temperature is not None or self.learned):
            raise ValueError(f"the loss {self.loss!r} has no temperature; leave it out")
        if self.temperature is not None:
            losses.check_temperature(self.temperature)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {self.alpha}")
        if (self.other is None) != (self.alpha == 0):
            raise ValueError("alpha and a second loss belong together")
        if self.targets != "identity" and "vision-language" not in self.parts:
            raise ValueError("targets are a setting of the loss 'vision-language'")

    @property
    def parts(self) -> tuple[Name, ...]:
        """The losses."""
        return (self.loss,) if self.other is None else (self.loss, self.other)

    @property
    def equations(self) -> tuple[Callable[..., Tensor], ...]:
        """The functions of the losses."""
        mixed = (losses.mix,) if self.other is not None else ()
        return (*(FUNCTIONS[name] for name in self.parts), *mixed)

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's image features are read."""
        return any(name not in ("vision-language", "class") for name in self.parts)

    @property
    def needs_texts(self) -> bool:
        """Whether a text for each sample is read."""
        return any(name in OF_TEXTS for name in self.parts)

    @property
    def needs_classes(self) -> bool:
        """Whether a text for each class is read."""
        return any(name in OF_CLASSES for name in self.parts)

    @property
    def smallest_batch(self) -> int:
        """Samples that a batch needs, of all processes together."""
        return 2 if any(name in CONTRASTIVE for name in self.parts) else 1

    def value(self, batch: Batch, temperature: float | Tensor | None = None) -> Tensor:
        """The loss of a batch; of all processes together where samples are contrasted.

        Under DistributedDataParallel with equal batches the averaged gradient is that of one
        process with the whole batch.
        """
        tau = self.temperature if temperature is None else temperature
        found = [self._part(name, batch, tau) for name in self.parts]
        return found[0] if self.other is None else losses.mix(found[0], found[1], self.alpha)

    def _part(self, name: Name, batch: Batch, tau: float | Tensor | None) -> Tensor:
        function = FUNCTIONS[name]
        if name in DISTANCES:
            return function(batch.student, _there(batch.teacher, name))
        if name == "class":
            classes, labels = _there(batch.class_text, name), _there(batch.labels, name)
            return function(batch.student, classes, labels, tau)
        if name == "teacher-logits":
            teacher, classes = _there(batch.teacher, name), _there(batch.class_text, name)
            return function(batch.student, teacher, classes, tau)
        student = gathered(batch.student)
        if name == "image-to-image":
            return function(student, gathered(_there(batch.teacher, name)), tau)
        text = gathered(_there(batch.text, name))
        if name == "vision-language":
            identity = self.targets == "identity"
            ids = None if identity else gathered(_there(batch.text_ids, name))
            return function(student, text, tau, ids)
        return function(student, gathered(_there(batch.teacher, name)), text, tau)


def _there(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise ValueError(f"the loss {name!r} lacks what it is computed from")
    return value


class Temperature(nn.Module):
    """A learned temperature, stored as its logarithm and really kept within its ends."""

    def __init__(self, start: float) -> None:
        super().__init__()
        losses.check_temperature(start)
        self.log = nn.Parameter(torch.tensor(float(start)).log())

    def forward(self) -> Tensor:
        """Tau, a scalar with a gradient; the stored value is clamped in place first."""
        low, high = (torch.tensor(end).log().item() for end in TEMPERATURES)
        with torch.no_grad():
            self.log.clamp_(low, high)
        return self.log.exp()


PRESETS: dict[str, Objective] = {
    # What the paper recommends, and what the authors' examples train in both stages.
    "feature": Objective("l2"),
    # The authors' code from 23 August 2025 on: image features against text features; the default
    # log-temperature 0 is tau = 1.
    "authors-vision-language": Objective("vision-language", temperature=1.0),
    # The same at CLIP's own temperature.
    "vision-language": Objective("vision-language", temperature=0.01),
    # From February to August 2025: rows of logits; tau stayed 1 whatever was asked.
    "authors-2025-02": Objective("logit-rows", temperature=1.0),
    # The first example: alpha 0.5, which meant the same before and after it was turned round.
    "authors-2025-02-mixed": Objective("l2", 1.0, other="logit-rows", alpha=0.5),
    "authors-image-to-image": Objective("image-to-image", temperature=1.0),
    "clip-kd-fd": Objective("fd"),
    "tinyclip-affinity": Objective("affinity", temperature=0.01),
}
"""Objectives by name; those of the authors' code are historical and say which one they are."""


def authors_mix(distil_alpha: float, other: Name, temperature: float, flipped: bool) -> Objective:
    """`--distil_alpha` of the authors' code in our terms.

    Args:
        distil_alpha: the value that was given.
        other: the text loss of that version.
        temperature: tau.
        flipped: True for code since 18 September 2025, where 1 is purely contrastive; before that
            1 was purely the feature loss.
    """
    alpha = distil_alpha if flipped else 1 - distil_alpha
    if alpha == 0:
        return Objective("l2")
    if alpha == 1:
        return Objective(other, temperature)
    return Objective("l2", temperature, other=other, alpha=alpha)
