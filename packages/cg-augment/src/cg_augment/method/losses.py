"""What a student is distilled with.

Pure torch, no device logic. n is images, C classes, D the width of features. Losses are computed in
float32 (float64 stays) whatever autocast is on, and teachers are constants.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

FEATURE_WEIGHT = 2000 / 512
"""CLIP-KD's 2000 * mean over D of the squared difference (arXiv 2307.12732), for its width of 512:
as a weight of the squared distance of unit vectors it does not depend on the width."""


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """-sum_c t_c log f_c for each image, t and f the softmax of logits (n, C) over temperature.

    At temperature 1, the default, this is the distillation of arXiv 2506.02294 (second-hand): the
    teacher's soft labels alone, no hard label. At another one the value is multiplied by its
    square, so that gradients keep their size (arXiv 1503.02531).

    Returns:
        (n,), in nats; not less than the teacher's entropy times the squared temperature.

    Raises:
        ValueError: shapes that differ, or a temperature that is not positive.
    """
    _check(student, teacher, temperature)
    targets = (_wide(teacher).detach() / temperature).softmax(dim=1)
    return distribution_cross_entropy(student, targets, temperature)


def distribution_cross_entropy(
    student: Tensor, targets: Tensor, temperature: float = 1.0
) -> Tensor:
    """`soft_cross_entropy` with the teacher's distribution (n, C) itself."""
    _check(student, targets, temperature)
    logs = (_wide(student) / temperature).log_softmax(dim=1)
    return -(targets.detach() * logs).sum(dim=1) * temperature**2


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of unit vectors for each image: 2 - 2 cos, 0 to 4, (n,).

    Args:
        student: features (n, D), mapped into the teacher's space.
        teacher: features (n, D).
    """
    if student.shape != teacher.shape:
        raise ValueError(f"features {tuple(student.shape)} and {tuple(teacher.shape)}")
    theirs = F.normalize(_wide(teacher).detach(), dim=1)
    apart: Tensor = F.normalize(_wide(student), dim=1) - theirs
    return apart.square().sum(dim=1)


def _check(student: Tensor, teacher: Tensor, temperature: float) -> None:
    if student.shape != teacher.shape or student.dim() != 2:
        raise ValueError(f"logits {tuple(student.shape)} and {tuple(teacher.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not positive")


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
