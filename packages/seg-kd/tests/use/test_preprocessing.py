"""A teacher reads pixels in its own normalisation, whatever the student's is."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from seg_kd.method.objectives import FEATURE_LOGIT, LOGIT
from seg_kd.train import Distiller
from seg_kd.use import adapter
from seg_kd.use.preprocessing import BothPreprocessors, paired

OTHER = {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False}


def batch(size: tuple[int, int] = (64, 64)) -> Any:
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.integers(0, 5, size, dtype=np.uint8))
        for _ in range(2)
    ]
    return adapter.training_batch(edges=False)(pairs)


def test_teacher_teaches_what_it_predicts(plain: dict[str, Any], device: str) -> None:
    other = copy.deepcopy(plain)
    other["data_preprocessor"] |= OTHER
    student, teacher = adapter.build_model(plain), adapter.build_model(other)
    teacher.decode_head.conv_seg.weight.data *= 100  # scores that differ from place to place
    trainer = Distiller(student, teacher, FEATURE_LOGIT).to(device).train()
    data = trainer.data_preprocessor(batch(), True)
    alone = teacher.data_preprocessor(batch(), False)["inputs"]
    assert alone.max() == 255  # mean 0 and deviation 1 leave the pixels as they are
    assert torch.equal(data["teacher_inputs"], alone)
    assert torch.equal(data["inputs"], student.data_preprocessor(batch(), False)["inputs"])
    with torch.no_grad():
        torch.testing.assert_close(trainer.teach(alone).logits(), teacher(alone, mode="tensor"))
    # A student that equals its teacher and reads what it reads has nothing to learn.
    twin = Distiller(copy.deepcopy(teacher), teacher, LOGIT).eval()
    same = twin(**{**data, "inputs": alone}, mode="loss")
    wrong = twin(**{**data, "inputs": alone, "teacher_inputs": data["inputs"]}, mode="loss")
    assert float(same["distill.loss_logit"]) == pytest.approx(0, abs=1e-6)
    assert wrong["distill.loss_logit"] > 0.1


def test_equal_preprocessors_run_once(plain: dict[str, Any]) -> None:
    student = adapter.build_model(plain)
    for changes in ({}, {"bgr_to_rgb": False}, {"std": [1, 1, 1]}, {"pad_val": 3}, {"mean": None}):
        other = copy.deepcopy(plain)
        other["data_preprocessor"] |= changes
        if changes == {"mean": None}:
            other["data_preprocessor"]["std"] = None
        made = paired(student, adapter.build_model(other))
        assert isinstance(made, BothPreprocessors) == bool(changes)
    assert paired(student, None) is student.data_preprocessor


def test_both_preprocessors_leave_no_trace_in_a_state(plain: dict[str, Any]) -> None:
    other = copy.deepcopy(plain)
    other["data_preprocessor"] |= OTHER
    trainer = Distiller(adapter.build_model(plain), adapter.build_model(other), LOGIT)
    assert all(name.startswith("student.") for name in trainer.state_dict())
    data = trainer.data_preprocessor(batch((40, 48)), True)
    assert data["inputs"].shape == data["teacher_inputs"].shape == (2, 3, 64, 64)
    assert data["data_samples"][0].gt_sem_seg.data.shape == (1, 64, 64)
