"""One pass of the user's models before anything is trained: every misfit becomes one line.

Configs fail late by themselves: a crop too small for the network shows at the first step, a sliding
window without a stride at the first evaluation, a teacher that reads pixels otherwise not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import isolated_rng
from seg_kd.train import Distiller, Job, make_model
from seg_kd.use import adapter
from seg_kd.use.data import Samples, as_results
from seg_kd.use.heads import needs_edges
from seg_kd.use.outputs import last_head

AGREEMENT = 0.9  # of pixels on which a teacher in training and by itself say the same class


def try_once(job: Job, test: Samples, device: str) -> None:
    """One training step and one prediction with a model of its own, which is thrown away.

    Args:
        job: the training that will follow; its teacher is left on `device`.
        test: the images that the student will be scored on, if any.
        device: cpu or cuda.

    Raises:
        UserError: what does not fit, of the student or of the teacher.
    """
    height, width = job.view.crop
    with isolated_rng(job.seed):
        trainer = make_model(job).to(device).train()
        raw = [adapter.fitted(*job.source[i % len(job.source)], (height, width)) for i in range(2)]
        for _, label in raw:
            label[0, 0] = 255  # crops have padding, whether or not the data have unlabelled pixels
        pack = adapter.training_batch(needs_edges(job.student_config))
        if job.teacher is not None:
            with _refused(f"the teacher on crops of {height} x {width}"):
                _check_teacher(trainer, job.teacher.to(device), pack(raw))
        with _refused(f"a training step of the student on crops of {height} x {width}"):
            total, _ = trainer.parse_losses(
                trainer(**trainer.data_preprocessor(pack(raw), True), mode="loss")
            )
            total.backward()
        check_prediction(trainer.student.eval(), test, "the student")


def check_prediction(model: Any, images: Samples, whose: str) -> None:
    """Predict, as `evaluate` does, the first image of each size, of eight sizes at most.

    Raises:
        UserError: it fails: a size that the network cannot take, a sliding window that is not set.
    """
    first = {tuple(size): index for index, size in reversed(list(enumerate(images.sizes)))}
    transform = adapter.test_transform()
    for (height, width), index in sorted(first.items())[:8]:
        with _refused(f"a prediction of {whose} for an image of {height} x {width}"):
            batch = adapter.collate([transform(as_results(*images[index]))])
            with torch.inference_mode():
                answer = model.test_step(batch)[0].pred_sem_seg.data
            if tuple(answer.shape[-2:]) != (height, width):
                raise ValueError(f"its answer has {answer.shape[-2]} x {answer.shape[-1]} pixels")


def _check_teacher(trainer: Distiller, teacher: nn.Module, batch: Any) -> None:
    """Compare what the teacher teaches with what it predicts by itself for the same images."""
    made: dict[str, Any] = trainer.data_preprocessor(batch, True)
    torch.manual_seed(0)  # some heads answer at random (SegNeXt's)
    seen = trainer.teach(made.get("teacher_inputs", made["inputs"]))
    taught = seen.logits()
    if trainer.objective.feature_weight:
        seen.layer(trainer.objective.layer)
    if not torch.isfinite(taught).all():
        raise UserError(
            "the teacher's answer is NaN or infinite, so there is nothing to learn from it: its "
            "weights, or the mean and std of its data_preprocessor, are wrong"
        )
    torch.manual_seed(0)
    with torch.inference_mode():
        alone = torch.stack([each.pred_sem_seg.data[0] for each in _alone(teacher, batch)])
    agreement = float((_classes(teacher, taught, alone) == alone).float().mean())
    if agreement < AGREEMENT:
        raise UserError(
            f"the teacher in training and the teacher by itself (`seg-kd evaluate`) say the same "
            f"class for {agreement:.0%} of the pixels only: its config predicts in another way "
            "(test_cfg, out_channels or threshold of its head) than from its map of class scores"
        )


def _alone(teacher: Any, batch: Any) -> list[Any]:
    samples = [sample.clone() for sample in batch["data_samples"]]  # a prediction is written there
    answers: list[Any] = teacher.test_step({**batch, "data_samples": samples})
    return answers


def _classes(teacher: Any, taught: Tensor, alone: Tensor) -> Tensor:
    """The classes (B, H, W) that a map of scores stands for, by the teacher's own threshold."""
    corners, size = teacher.align_corners, (alone.shape[-2], alone.shape[-1])
    scores = nn.functional.interpolate(taught, size, mode="bilinear", align_corners=corners)
    if teacher.out_channels == 1:  # (0, score)
        return (scores[:, 1].sigmoid() > last_head(teacher).threshold).to(alone.dtype)
    return scores.argmax(dim=1)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Errors of mmseg and torch as one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the user's config decides what runs here
        raise UserError(
            f"{what} fails: {adapter.reason(error)}; change its config, or --crop"
        ) from error
