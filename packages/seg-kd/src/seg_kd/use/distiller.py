"""The trained module: a student, its cross-entropy, and one distillation objective.

The teacher is online (no cached outputs), in evaluation mode, and outside the module tree: it is in
no state_dict, no optimiser and no DDP bucket.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from seg_kd.method.losses import (
    FeatureProjector,
    feature_distillation,
    logit_distillation,
    valid_mask,
)
from seg_kd.method.objectives import Objective
from seg_kd.use import adapter


class DivergedError(UserError):
    """A loss that is not finite: the run cannot go on, others can."""


class Distiller(BaseModel):
    """mmengine model whose training losses are the student's own plus the objective's.

    Args:
        student: mmseg encoder-decoder with one decode head (and optionally auxiliary heads).
        teacher: likewise; None when the objective is plain cross-entropy.
        objective: what is distilled, with its weights.
    """

    def __init__(self, student: Any, teacher: Any, objective: Objective) -> None:
        super().__init__(data_preprocessor=student.data_preprocessor)
        self.student = student
        self.objective = objective
        self._teacher = [teacher] if teacher is not None else []
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        if objective.feature_weight:
            self.projector = FeatureProjector(
                adapter.feature_channels(student, objective.layer),
                adapter.feature_channels(self._teacher[0], objective.layer),
                batch_norm=objective.batch_norm,
            )

    def init_weights(self) -> None:
        """Nothing: the student comes initialised, the same for every objective of a seed."""

    def _apply(self, function: Any, recurse: bool = True) -> Distiller:
        for teacher in self._teacher:  # follows the module to its device
            teacher._apply(function)
        super()._apply(function, recurse)
        return self

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "tensor"
    ) -> Any:
        """Named loss parts in mode `loss`; the student's own answer in the other modes."""
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode)
        assert data_samples is not None
        objective = self.objective
        feature, logits, stages = _heads(self.student, inputs, objective)
        head: Any = self.student.decode_head
        losses = _prefixed("decode", head.loss_by_feat(logits, data_samples))
        if self.student.with_auxiliary_head:
            losses |= self.student._auxiliary_head_forward_train(stages, data_samples)
        if not self._teacher:
            return losses
        with torch.no_grad():
            teacher_feature, teacher_logits, _ = _heads(self._teacher[0], inputs, objective)
        if objective.logit_weight:
            losses["distill.loss_logit"] = objective.logit_weight * self._logit_loss(
                logits, teacher_logits, data_samples
            )
        if objective.feature_weight:
            losses["distill.loss_feature"] = objective.feature_weight * feature_distillation(
                self.projector(feature),
                teacher_feature,
                normalise=objective.normalise,
                distance=objective.distance,
            )
        return losses

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the loss parts; stop before the optimiser step if one is not finite.

        Raises:
            DivergedError: names the parts that are not finite.
        """
        total, parts = super().parse_losses(losses)
        if not torch.isfinite(total):
            bad = [name for name, value in parts.items() if not torch.isfinite(value).all()]
            raise DivergedError(f"loss is not finite ({', '.join(bad)}): lower the learning rate")
        return total, parts

    def _logit_loss(self, student: Tensor, teacher: Tensor, data_samples: list[Any]) -> Tensor:
        objective = self.objective
        valid = None
        if objective.resolution == "label" or objective.mask_ignored:
            label = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
            size = tuple(label.shape[-2:])
            if objective.resolution == "label":
                student, teacher = (
                    nn.functional.interpolate(z, size, mode="bilinear") for z in (student, teacher)
                )
            if objective.mask_ignored:
                valid = valid_mask(label, (student.shape[-2], student.shape[-1]))
        return logit_distillation(
            student,
            teacher,
            temperature=objective.temperature,
            valid=valid,
            reduction=objective.reduction,
        )


def _heads(
    model: Any, inputs: Tensor, objective: Objective
) -> tuple[Any, Tensor, tuple[Tensor, ...]]:
    """Distilled feature (None without a feature term), logits (B, K, h, w), backbone stages."""
    stages = model.extract_feat(inputs)
    if not objective.feature_weight:
        return None, model.decode_head(stages), stages
    if objective.layer == "c4":
        return stages[model.decode_head.in_index], model.decode_head(stages), stages
    with adapter.captured_feature(model.decode_head) as features:
        logits = model.decode_head(stages)
    return features[0], logits, stages


def _prefixed(prefix: str, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in losses.items()}
