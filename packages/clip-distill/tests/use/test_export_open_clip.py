"""Students as open_clip models: loaded by open_clip itself, or refused with both widths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clip_distill.use.export_open_clip import check_widths, export_open_clip
from clip_distill.use.open_clip_teachers import config_of
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.students import Student, StudentConfig
from clip_distill.use.teachers import load_teacher
from repro_shared.runtime.errors import UserError

PREPARED = Preprocessing(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def student_of(name: str, width: int = 16, size: int = 32) -> Student:
    torch.manual_seed(1)
    prepared = Preprocessing(size, PREPARED.mean, PREPARED.std)
    return Student(StudentConfig(name, width, prepared)).eval()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext"])
def test_open_clip_loads_it(
    name: str, tmp_path: Path, model_of: Callable[..., Any], clip_config: dict[str, Any]
) -> None:
    teacher, student = model_of(), student_of(name)
    folder = export_open_clip(student, teacher, clip_config, tmp_path / "out")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    theirs = transform(Image.fromarray(picture))[None]
    ours = PREPARED.normalise(torch.from_numpy(PREPARED.centre(picture).copy())[None])
    assert torch.equal(theirs, ours)
    tokens = open_clip.tokenizer.SimpleTokenizer()(["a cat", "a dog"])
    with torch.no_grad():
        assert torch.allclose(model.eval().encode_image(theirs), student(ours), atol=1e-5)
        assert torch.allclose(model.encode_text(tokens), teacher.encode_text(tokens), atol=1e-5)
    again = load_teacher(f"open_clip:{folder}")  # a student can teach
    assert again.preprocessing == PREPARED


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenetv3_small_100", "1x1024 and 576x512"),
        ("mobilenetv4_conv_small", "1x1280 and 960x512"),
        ("ghostnet_100", "1x1280 and 960x512"),
        ("hgnetv2_b0", "1x2048 and 1024x512"),
    ],
)
def test_c12_widths_that_open_clip_gets_wrong(name: str, said: str) -> None:
    with torch.device("meta"):
        student = Student(StudentConfig(name, 512, Preprocessing(224)))
    assert student.head.in_features == int(said[2:6])
    with pytest.raises(UserError, match=said):
        check_widths(student)


def test_c12_it_is_true_of_open_clip() -> None:
    model = open_clip.timm_model.TimmModel("mobilenetv3_small_100", 512, 64).eval()
    with pytest.raises(RuntimeError, match="1x1024 and 576x512"):
        model(torch.zeros(1, 3, 64, 64))


def test_the_text_tower_is_the_teachers(
    tmp_path: Path, model_of: Callable[..., Any], clip_config: dict[str, Any]
) -> None:
    teacher, student = model_of(quick_gelu=True), student_of("test_efficientnet")
    with pytest.raises(UserError, match=r"other texts than the teacher .*quick_gelu"):
        export_open_clip(student, teacher, clip_config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_open_clip(student, teacher, {**clip_config, "quick_gelu": True}, tmp_path / "out")
    # OpenAI's weights were trained with it, and the model's name does not say so.
    assert config_of("open_clip:ViT-B-32:openai")["quick_gelu"] is True
    assert "quick_gelu" not in config_of("open_clip:ViT-B-32:datacomp_xl_s13b_b90k")


def test_refusals(
    tmp_path: Path, model_of: Callable[..., Any], clip_config: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="other widths: 8 and 16"):
        export_open_clip(student_of("test_efficientnet", 8), model_of(), clip_config, tmp_path)
    cut = Student(StudentConfig("test_efficientnet", 16, Preprocessing(32, shorter=40)))
    with pytest.raises(UserError, match="cannot cut images from 40 pixels"):
        export_open_clip(cut, model_of(), clip_config, tmp_path / "out")
    # open_clip makes transformers for their own image size only.
    with pytest.raises(UserError, match="open_clip cannot hold test_vit at 32 pixels"):
        export_open_clip(student_of("test_vit"), model_of(), clip_config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
