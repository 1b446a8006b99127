"""ONNX files against torch, in onnxruntime; what they say of themselves is enough to use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from clip_distill.use.export_onnx import export_onnx
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.students import Student, StudentConfig
from repro_shared.runtime.errors import UserError

NAMES = ("cat", "dog", "emu")


def student_of(name: str = "mobilenetv3_small_050") -> Student:
    torch.manual_seed(2)
    config = StudentConfig(name, 16, Preprocessing(32, (0.5,) * 3, (0.25,) * 3))
    return Student(config).eval()


def texts_of(width: int = 16) -> ClassTexts:
    vectors = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ClassTexts(NAMES, ("a photo of a {}.",), "a list", vectors)


def expected(student: Student, pixels: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        features = torch.nn.functional.normalize(student(torch.from_numpy(pixels)), dim=1)
    return 100 * features.numpy() @ vectors.T


def test_c12_c1_baked_equals_torch_for_a_backbone_that_open_clip_cannot_hold(
    tmp_path: Path,
) -> None:
    student, texts = student_of(), texts_of()
    path = export_onnx(student, tmp_path / "s.onnx", texts, about={"teacher": "a teacher"})
    session = onnxruntime.InferenceSession(path)
    for count in (1, 5):
        pixels = np.random.default_rng(count).normal(size=(count, 3, 32, 32)).astype(np.float32)
        (logits,) = session.run(["logits"], {"images": pixels})
        assert np.allclose(logits, expected(student, pixels, texts.vectors), atol=1e-4)
    said = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert said["mean"] == [0.5] * 3
    assert said["std"] == [0.25] * 3
    assert said["class_names"] == list(NAMES)
    assert (said["size"], said["interpolation"], said["resize"]) == (32, "bicubic", "shortest")
    assert said["teacher"] == "a teacher"
    assert sorted(tmp_path.iterdir()) == [path]


def test_new_classes_need_no_export(tmp_path: Path) -> None:
    student = student_of("test_efficientnet")
    session = onnxruntime.InferenceSession(export_onnx(student, tmp_path / "o.onnx"))
    pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    for classes in (1, 3, 7):
        vectors = np.random.default_rng(classes).normal(size=(classes, 16)).astype(np.float32)
        logits, features = session.run(None, {"images": pixels, "texts": 3 * vectors})
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        assert np.allclose(logits, expected(student, pixels, unit), atol=1e-4)
        assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_widths_that_differ(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="other widths: 8 and 16"):
        export_onnx(student_of(), tmp_path / "x.onnx", texts_of(8))
    assert not list(tmp_path.iterdir())
