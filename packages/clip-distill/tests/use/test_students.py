"""Students of timm backbones: widths, counts, normalisation of a warm start, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch

from clip_distill.use.preprocessing import CLIP_MEAN, Preprocessing
from clip_distill.use.students import (
    Student,
    StudentConfig,
    _said_by_timm,
    load_student,
    open_clip_parameters,
    ratios,
    save_student,
    warm_start,
)
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights
from repro_shared.timing.counts import count_parameters


def small(name: str = "test_efficientnet", width: int = 8, size: int = 32) -> Student:
    torch.manual_seed(0)
    return Student(StudentConfig(name, width, Preprocessing(size))).eval()


@pytest.mark.parametrize(
    "name",
    ["test_efficientnet", "test_vit", "test_convnext", "mobilenetv3_small_050", "test_byobnet"],
)
def test_features_of_the_head_hidden_size(name: str) -> None:
    student = small(name)
    assert student.head.in_features == student.backbone.head_hidden_size
    assert student(torch.zeros(2, 3, 32, 32)).shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "parameters", "whole", "image_tower"),
    [
        ("tiny_vit_11m_224", 10_777_860, "92.9% fewer", "87.7% fewer"),
        ("efficientnet_b3", 11_483_176, "92.4% fewer", "86.9% fewer"),
    ],
)
def test_the_papers_ratio_counts_the_whole_teacher(
    name: str, parameters: int, whole: str, image_tower: str
) -> None:
    teacher = open_clip_parameters("ViT-B-32")
    assert teacher == (151_277_313, 87_849_216)
    with torch.device("meta"):
        student = Student(StudentConfig(name, 512, Preprocessing(224)))
    assert count_parameters(student) == parameters
    said = ratios(student, *teacher)
    assert f"{whole} than the whole teacher (151.28 M)" in said
    assert f"{image_tower} than its image tower (87.85 M)" in said


def test_a_warm_start_brings_its_own_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    source = timm.create_model("test_vit", img_size=32)  # with its classifier
    save_weights(source, path)
    student = small("test_vit")
    assert student.config.preprocessing.mean == CLIP_MEAN
    started = warm_start(student, path)
    assert started.config.preprocessing.mean == (0.5, 0.5, 0.5)
    assert torch.equal(started.backbone.cls_token, source.cls_token)
    other = tmp_path / "other.safetensors"
    save_weights(timm.create_model("test_efficientnet"), other)
    with pytest.raises(UserError, match="another architecture"):
        warm_start(student, other)


def test_a_warm_start_takes_what_lies_beside_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(timm.create_model("test_vit", img_size=32), path)
    started = warm_start(small("test_vit"), path)
    assert "mean 0.5, 0.5, 0.5" in capsys.readouterr().err
    # timm's form, of weights that were trained with CLIP's normalisation.
    own = {"mean": list(CLIP_MEAN), "std": [0.2, 0.3, 0.4], "classifier": "head"}
    form = {"architecture": "test_vit", "pretrained_cfg": own}
    (tmp_path / "config.json").write_text(json.dumps(form))
    started = warm_start(small("test_vit"), path)
    assert started.config.preprocessing.mean == CLIP_MEAN
    assert started.config.preprocessing.std == (0.2, 0.3, 0.4)
    assert "as in the config.json beside them" in capsys.readouterr().err
    for changed, said in (
        ({**form, "architecture": "test_resnet"}, "speaks of test_resnet, the backbone is test_vi"),
        ({**form, "pretrained_cfg": {**own, "std": [0, 1, 1]}}, "the config.json beside them has"),
        ([], "damaged"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=said):
            warm_start(small("test_vit"), path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')  # of another library
    assert warm_start(small("test_vit"), path).config.preprocessing.mean == (0.5, 0.5, 0.5)


def test_weights_whose_normalisation_a_name_does_not_tell() -> None:
    said = _said_by_timm("vit_base_patch16_224")
    assert said.startswith("timm's default for vit_base_patch16_224; its weights ")
    assert "put their config.json beside the file, or name the tag in --backbone" in said
    tagged = "vit_base_patch16_224.augreg_in1k"
    assert _said_by_timm(tagged) == f"timm's {tagged}"
    assert _said_by_timm("tiny_vit_11m_224") == "timm's tiny_vit_11m_224"


def test_from_a_folder_and_back(tmp_path: Path) -> None:
    student = small()
    save_student(student, tmp_path, teacher="a teacher")
    again, about = load_student(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(student(images), again(images))
    assert again.config == student.config
    assert about["teacher"] == "a teacher"


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no student"):
        load_student(tmp_path)
    save_student(small(), tmp_path)
    form = json.loads((tmp_path / "student.json").read_text())
    (tmp_path / "student.json").write_text(json.dumps({**form, "width": 9}))
    with pytest.raises(UserError, match=r"head\.weight: 8x256 in the file, 9x256 in the model"):
        load_student(tmp_path)
    save_student(small(), tmp_path)
    (tmp_path / "student.json").write_text(json.dumps({**form, "version": 9}))
    with pytest.raises(UserError, match="version 9, this is 1"):
        load_student(tmp_path)
    (tmp_path / "student.json").write_text(json.dumps(form))
    other = small()
    other.head.bias.data += 1
    save_weights(other, tmp_path / "student.safetensors")
    with pytest.raises(UserError, match=r"not the weights that student\.json speaks of"):
        load_student(tmp_path)
    (tmp_path / "student.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load_student(tmp_path)
    with pytest.raises(UserError, match="timm knows no model 'efficientnet_b99'; such as"):
        small("efficientnet_b99")
