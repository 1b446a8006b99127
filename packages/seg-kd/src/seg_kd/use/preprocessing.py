"""A student and a teacher that read the same pixels, each in its own normalisation."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor, nn


class BothPreprocessors(BaseDataPreprocessor):
    """The student's preprocessor, and beside its answer the same images through the teacher's.

    Adds `teacher_inputs` to what the student's returns: (B, 3, H, W), of the size of `inputs`.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Raw images and labels as mmseg's loader gives them; see `SegDataPreProcessor`."""
        data = dict(self.cast_data(data))
        images = list(data["inputs"])
        made: dict[str, Any] = self.student(data, training)
        return {**made, "teacher_inputs": prepared(self.teacher, images)}


def prepared(preprocessor: nn.Module, images: list[Tensor]) -> Tensor:
    """Images (3, h, w), uint8, as a preprocessor's training pass normalises and pads them."""
    samples = [BaseDataElement() for _ in images]  # padded label maps are the student's business
    inputs: Tensor = preprocessor({"inputs": images, "data_samples": samples}, True)["inputs"]
    return inputs


def paired(student: Any, teacher: Any | None) -> nn.Module:
    """The preprocessor of a training: the student's, or both where they do not do the same."""
    own: nn.Module = student.data_preprocessor
    if teacher is None:
        return own
    # Every channel has values of its own, and the size makes both pad.
    probe = [torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(3, 8, 8)]
    other = teacher.data_preprocessor
    if torch.equal(prepared(own, probe).cpu(), prepared(other, probe).cpu()):
        return own
    return BothPreprocessors(own, other)
