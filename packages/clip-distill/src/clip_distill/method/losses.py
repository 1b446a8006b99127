"""Losses between the features of a student's images and those of a frozen teacher.

Pure torch. Everywhere B is samples, D the width of the shared space, C classes, z_S the student's
image features, z_T the teacher's image features, t the teacher's text features, tau a temperature.
Features may have any length: all are scaled to length 1 here, in float32, so that the functions
may be called under autocast and are stable at tau = 0.01 in bfloat16. Teachers are detached.

`l2`, `mse` and `cosine` mean what sentence-transformers' EmbedDistillLoss means by them, on unit
vectors. With ||z_S|| = ||z_T|| = 1, ||z_S - z_T||^2 = 2 - 2 cos = D * mse: these differ by a
factor, `l2` by a square root, so that each of its samples pulls with a force of the same size.

Where it was read: "the authors' code" is the public code of arXiv 2404.16637, whose text was not
at hand.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Targets = Literal["identity", "multi-positive"]

# Of CLIP-KD's FD, which takes the mean over all B * D elements.
FD_WEIGHT = 2000.0


def unit(features: Tensor) -> Tensor:
    """Rows (B, D) scaled to length 1, in float32 (float64 stays); a row of zeros stays zero."""
    wide = features if features.dtype == torch.float64 else features.float()
    made: Tensor = F.normalize(wide, dim=-1)
    return made


def l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over B of ||z_S - z_T||, not squared, 0 to 2 (the authors' feature loss)."""
    apart: Tensor = torch.linalg.vector_norm(_difference(student, teacher), dim=-1)
    return apart.mean()


def squared_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over B of ||z_S - z_T||^2 = 2 - 2 cos, 0 to 4."""
    return _difference(student, teacher).square().sum(dim=-1).mean()


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over B of 1 - cos(z_S, z_T), 0 to 2."""
    return squared_l2(student, teacher) / 2


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over all B * D elements of (z_S - z_T)^2 = squared_l2 / D."""
    return _difference(student, teacher).square().mean()


def fd(student: Tensor, teacher: Tensor) -> Tensor:
    """CLIP-KD's feature distillation: 2000 * mse (arXiv 2307.12732, weight as in its code)."""
    return FD_WEIGHT * mse(student, teacher)


def image_to_image(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """InfoNCE from each z_S to the z_T of the batch: -log softmax_j(z_S,i . z_T,j / tau) at j = i.

    One direction, as in the authors' code.

    Raises:
        ValueError: fewer than two samples, or a temperature that is not positive.
    """
    return _nearest(_similarity(student, _constant(teacher), temperature))


def vision_language(
    student: Tensor,
    text: Tensor,
    temperature: float | Tensor,
    text_ids: Tensor | None = None,
) -> Tensor:
    """InfoNCE between z_S and t, the mean of both directions (CLIP, arXiv 2103.00020).

    Args:
        student: (B, D).
        text: (B, D), the text of each sample.
        temperature: tau, positive.
        text_ids: (B,) integers, equal where two samples have the same text. With them every sample
            of the same text is a positive, all with the same weight; without them only the sample
            itself is, and a batch that holds a text twice has false negatives (identity targets,
            as in the authors' code). The same where all texts differ.

    Raises:
        ValueError: as `image_to_image`.
    """
    logits = _similarity(student, _constant(text), temperature)
    if text_ids is None:
        return (_nearest(logits) + _nearest(logits.T)) / 2
    positive = (text_ids[:, None] == text_ids[None, :]).to(logits.dtype)
    targets = positive / positive.sum(dim=1, keepdim=True)  # symmetric up to the row's sum
    return (_soft_cross_entropy(logits, targets) + _soft_cross_entropy(logits.T, targets)) / 2


def class_cross_entropy(
    student: Tensor, class_text: Tensor, labels: Tensor, temperature: float | Tensor
) -> Tensor:
    """Cross-entropy of softmax_c(z_S . t_c / tau), class_text (C, D), with the labels (B,)."""
    return F.cross_entropy(_scaled(student, _constant(class_text), temperature), labels)


def teacher_logits(
    student: Tensor, teacher: Tensor, class_text: Tensor, temperature: float | Tensor
) -> Tensor:
    """KL of the teacher's to the student's class distribution, both softmax_c(z . t_c / tau).

    Hinton et al. (arXiv 1503.02531) on zero-shot logits, without the factor tau^2; its gradient is
    that of the soft cross-entropy.
    """
    text = _constant(class_text)
    ours = _scaled(student, text, temperature).log_softmax(dim=1)
    theirs = _scaled(_constant(teacher), text, temperature).log_softmax(dim=1).detach()
    return F.kl_div(ours, theirs, log_target=True, reduction="batchmean")


def affinity(student: Tensor, teacher: Tensor, text: Tensor, temperature: float | Tensor) -> Tensor:
    """KL of the teacher's to the student's affinities in a batch, the mean of both directions.

    Affinities are softmax_j(z_i . t_j / tau) from image to text, and the same from text to image
    (TinyCLIP, arXiv 2309.12314, with the teacher's texts on both sides).

    Raises:
        ValueError: as `image_to_image`.
    """
    ours = _similarity(student, _constant(text), temperature)
    theirs = _similarity(_constant(teacher), _constant(text), temperature).detach()
    return (
        sum(
            (
                F.kl_div(a.log_softmax(1), b.log_softmax(1), log_target=True, reduction="batchmean")
                for a, b in ((ours, theirs), (ours.T, theirs.T))
            ),
            start=ours.new_zeros(()),
        )
        / 2
    )


def logit_rows(
    student: Tensor, teacher: Tensor, text: Tensor, temperature: float | Tensor
) -> Tensor:
    """InfoNCE between the rows of two matrices of logits, the mean of both directions.

    The "contrastive" loss of the authors' code until August 2025: with S = t z_S^T / tau and
    T = t z_T^T / tau, both (B texts, B images), it contrasts row i of S with all rows of T and the
    other way round, at S T^T / tau, not normalised, with identity targets. Kept so that runs of
    that code can be read; not a loss to choose.

    Raises:
        ValueError: as `image_to_image`.
    """
    fixed = _constant(text)
    ours = _similarity(fixed, unit(student), temperature)
    theirs = _similarity(fixed, _constant(teacher), temperature).detach()
    with torch.autocast(student.device.type, enabled=False):
        rows = ours @ theirs.T / temperature
    return (_nearest(rows) + _nearest(rows.T)) / 2


def mix(feature: Tensor, contrastive: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * feature + alpha * contrastive, alpha from 0 to 1.

    The meaning of alpha in the authors' code since September 2025; before, it was the other way
    round.

    Raises:
        ValueError: alpha outside 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    return (1 - alpha) * feature + alpha * contrastive


def check_temperature(temperature: float | Tensor) -> None:
    """ValueError unless tau is positive and finite; a learned one, a tensor, is not looked at."""
    if not isinstance(temperature, Tensor) and not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be positive, got {temperature}")


def _constant(features: Tensor) -> Tensor:
    return unit(features.detach())


def _difference(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape != teacher.shape:
        shapes = f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        raise ValueError(f"features of one shape are needed: {shapes}")
    with torch.autocast(student.device.type, enabled=False):
        return unit(student) - _constant(teacher)


def _scaled(left: Tensor, right: Tensor, temperature: float | Tensor) -> Tensor:
    """Logits (B, n) in float32: products of unit vectors over tau, also under autocast."""
    check_temperature(temperature)
    with torch.autocast(left.device.type, enabled=False):
        one = unit(left)
        return one @ right.to(one.dtype).T / temperature


def _similarity(left: Tensor, right: Tensor, temperature: float | Tensor) -> Tensor:
    """The same between two batches of one size, each the other's negatives."""
    if len(left) != len(right):
        raise ValueError(f"batches of one size are needed, got {len(left)} and {len(right)}")
    if len(left) < 2:
        raise ValueError("a contrastive loss needs at least two samples, got a batch of 1")
    return _scaled(left, right, temperature)


def _nearest(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
