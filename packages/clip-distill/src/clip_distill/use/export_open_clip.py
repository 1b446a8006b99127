"""A student beside its teacher's text tower, as a model that open_clip loads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from clip_distill.use.quiet import quiet
from clip_distill.use.students import Student
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir
from repro_shared.runtime.weights import save_weights

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
CLOSE = 1e-4  # largest difference of a feature from the student's


def export_open_clip(
    student: Student, teacher: nn.Module, teacher_config: Mapping[str, Any], folder: str | Path
) -> Path:
    """Write a folder for `open_clip.create_model_and_transforms("local-dir:FOLDER")`.

    Args:
        student: in evaluation mode.
        teacher: the open_clip model whose text tower belongs to the student.
        teacher_config: its configuration, as `open_clip.get_model_config` gives it.
        folder: made if need be; the files are there completely or not at all.

    Raises:
        UserError: open_clip cannot hold this backbone, with the reason; the teacher's space has
            another width.
    """
    check_widths(student)
    if student.config.width != teacher_config["embed_dim"]:
        widths = f"{student.config.width} and {teacher_config['embed_dim']}"
        raise UserError(f"student and teacher have spaces of other widths: {widths}")
    if (shorter := student.config.preprocessing.shorter) is not None:
        raise UserError(f"open_clip cannot cut images from {shorter} pixels; ONNX still works")
    config = _config(student, teacher_config)
    state = _state(student, teacher)
    _try(student, teacher, config, state)
    target = ensure_output_dir(folder)
    prepared = student.config.preprocessing
    with TemporaryDirectory(dir=target) as made:
        save_weights(state, Path(made) / WEIGHTS)
        form = {
            "size": prepared.size, "mode": "RGB", "mean": list(prepared.mean),
            "std": list(prepared.std), "interpolation": prepared.interpolation,
            "resize_mode": prepared.resize, "fill_color": 0,
        }  # fmt: skip
        atomic_write_json(Path(made) / CONFIG, {"model_cfg": config, "preprocess_cfg": form})
        for name in (WEIGHTS, CONFIG):
            os.replace(Path(made) / name, target / name)
    return target


def check_widths(student: Student) -> None:
    """UserError for a backbone whose features are not as wide as open_clip takes them to be.

    open_clip projects from `num_features`; where timm's head has a hidden layer behind them
    (MobileNetV3 and V4, GhostNet, HGNetV2) the first encoding would fail.
    """
    backbone: Any = student.backbone
    expected, given = int(backbone.num_features), int(backbone.head_hidden_size)
    if expected != given:
        width = student.config.width
        raise UserError(
            f"{student.config.backbone}: open_clip would multiply 1x{given} and "
            f"{expected}x{width}, since it projects from num_features ({expected}) and timm's "
            f"features have {given}; "
            "ONNX and safetensors still work"
        )


def _config(student: Student, teacher: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: value for name, value in teacher.items() if name != "vision_cfg"},
        "vision_cfg": {
            "image_size": student.config.preprocessing.size,
            "timm_model_name": student.config.backbone,
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "timm_proj_bias": student.config.bias,
        },
    }


def _state(student: Student, teacher: nn.Module) -> dict[str, Tensor]:
    places = {"backbone.": "visual.trunk.", "head.": "visual.head.proj."}
    merged = {n: v for n, v in teacher.state_dict().items() if not n.startswith("visual.")}
    for name, value in student.state_dict().items():
        before = next(each for each in places if name.startswith(each))
        merged[places[before] + name.removeprefix(before)] = value
    return {name: value.detach().clone() for name, value in merged.items()}


def _try(student: Student, teacher: Any, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Make the model as open_clip would; UserError where an image or a text comes out otherwise."""
    form = {name: value for name, value in config.items() if name != "custom_text"}
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    size = student.config.preprocessing.size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with quiet(), torch.inference_mode():
            model: Any = kind(**form).eval()
            model.load_state_dict(state)
            apart = (model.encode_image(image) - student.cpu().eval()(image)).abs().max()
            words = torch.arange(1, model.context_length + 1)[None]
            amiss = (model.encode_text(words) - teacher.encode_text(words)).abs().max()
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UserError(
            f"open_clip cannot hold {student.config.backbone} at {size} pixels: "
            f"{one_line(str(error))[:300]}"
        ) from None
    if not float(apart) <= CLOSE:
        raise UserError(f"open_clip gives other features than the student (by {float(apart):.2g})")
    if not float(amiss) <= CLOSE:
        raise UserError(
            f"open_clip gives other texts than the teacher (by {float(amiss):.2g}): the teacher's "
            "configuration is not that of its weights (quick_gelu?)"
        )
