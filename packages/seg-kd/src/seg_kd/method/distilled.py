"""An objective at work: the modules that it needs, and its weighted losses in a training step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seg_kd.method.losses import (
    FeatureProjector,
    feature_distillation,
    logit_distillation,
    valid_mask,
)
from seg_kd.method.objectives import Objective
from seg_kd.method.terms import Maps, Pair


def modules_of(objective: Objective, pair: Pair) -> dict[str, nn.Module]:
    """What an objective needs besides student and teacher, by name: `projector`, `terms`."""
    found: dict[str, nn.Module] = {}
    if objective.feature_weight:
        own, other = pair.channels(objective.layer)
        found["projector"] = FeatureProjector(own, other, batch_norm=objective.batch_norm)
    if objective.terms:
        terms = {str(index): term.build(pair) for index, term in enumerate(objective.terms)}
        found["terms"] = nn.ModuleDict(terms)
    return found


def losses_of(
    objective: Objective, modules: Any, seen: Maps, taught: Maps, labels: Tensor
) -> dict[str, Tensor]:
    """The objective's weighted losses by name, with what `modules_of` made as attributes.

    `labels` are (B, H, W), 255 where unlabelled.
    """
    losses = {}
    if objective.logit_weight:
        losses["distill.loss_logit"] = objective.logit_weight * _logit_loss(
            objective, seen.logits(), taught.logits(), labels
        )
    if objective.feature_weight:
        losses["distill.loss_feature"] = objective.feature_weight * feature_distillation(
            modules.projector(seen.layer(objective.layer)),
            taught.layer(objective.layer),
            normalise=objective.normalise,
            distance=objective.distance,
            reduction=objective.feature_reduction,
        )
    for index, term in enumerate(objective.terms):
        for part, loss in modules.terms[str(index)](seen, taught, labels).items():
            if weight := term.weights[part]:
                losses[f"distill.loss_{part}"] = weight * loss
    return losses


def _logit_loss(objective: Objective, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    valid = None
    if objective.resolution == "label":
        size = tuple(labels.shape[-2:])
        student, teacher = (
            nn.functional.interpolate(z, size, mode="bilinear") for z in (student, teacher)
        )
    if objective.mask_ignored:
        valid = valid_mask(labels, (student.shape[-2], student.shape[-1]))
    return logit_distillation(
        student,
        teacher,
        temperature=objective.temperature,
        valid=valid,
        reduction=objective.reduction,
    )
