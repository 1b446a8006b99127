"""Adversarial images for distillation, in the manner of DAD (arXiv 2311.01441).

DAD lets the robust teacher make adversarial images, turns them into images that a VQGAN can draw,
and distils on them beside the clean ones. Here the images are made in the same way, by ascending
the teacher's loss, and rounded to the 256 levels of a PNG; there is no VQGAN, so this is no
reproduction of DAD. Step and length are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from repro_shared.runtime.checks import require


@dataclass(frozen=True)
class Adversarial:
    """How far images are moved.

    Attributes:
        radius: largest change of a pixel, on the scale 0 to 1.
        steps: of ascent, each `1.25 * radius / steps` long.
        share: of the loss that the adversarial images have.
    """

    radius: float = 8 / 255
    steps: int = 2
    share: float = 0.5

    def __post_init__(self) -> None:
        require(0 < self.radius <= 1, "--radius", "above 0 and at most 1", self.radius)
        require(self.steps >= 1, "--steps", "at least 1", self.steps)
        require(0 < self.share <= 1, "--share", "above 0 and at most 1", self.share)


def adversarial(
    images: Tensor, labels: Tensor, teacher: Callable[[Tensor], Tensor], how: Adversarial
) -> Tensor:
    """Images that the teacher finds hard, (n, 3, h, w), within the radius, in 256 levels.

    Signed ascent of the teacher's cross-entropy with the class (arXiv 1706.06083), begun at the
    image itself, so that nothing is drawn.

    Args:
        images: values 0 to 1.
        labels: (n,) their classes.
        teacher: images to logits, differentiable, its weights frozen.
        how: far they go.
    """
    step, moved = 1.25 * how.radius / how.steps, images.detach()
    for _ in range(how.steps):
        at = moved.clone().requires_grad_(True)
        loss = F.cross_entropy(teacher(at).float(), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, at)
        moved = moved + step * gradient.sign()
        moved = moved.clamp(images - how.radius, images + how.radius).clamp(0, 1)
    return ((moved * 255).round() / 255).detach()
