"""ONNX files: a classifier with its classes built in, or one that takes text vectors as input."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clip_distill.use.prompts import ClassTexts
from clip_distill.use.quiet import quiet
from clip_distill.use.students import Student
from repro_shared.runtime.errors import UserError

OPSET = 20
IMAGES, TEXTS, LOGITS, FEATURES = "images", "texts", "logits", "features"
SCALE = 100.0  # of the logits: 1 / 0.01


class Baked(nn.Module):
    """Images to logits (b, classes): scale * cos(feature, class)."""

    def __init__(self, student: Student, vectors: Tensor, scale: float) -> None:
        super().__init__()
        self.student, self.scale = student, scale
        self.register_buffer("vectors", F.normalize(vectors.float(), dim=-1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        assert isinstance(self.vectors, Tensor)
        return self.scale * F.normalize(self.student(images), dim=-1) @ self.vectors.T


class Open(nn.Module):
    """Images and text vectors (classes, width) of any length to logits, and unit features."""

    def __init__(self, student: Student, scale: float) -> None:
        super().__init__()
        self.student, self.scale = student, scale

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features."""
        features = F.normalize(self.student(images), dim=-1)
        return self.scale * features @ F.normalize(texts, dim=-1).T, features


def export_onnx(
    student: Student,
    path: str | Path,
    classes: ClassTexts | None = None,
    scale: float = SCALE,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a student as one ONNX file, in float32 with any number of images at a time.

    Args:
        student: what is written.
        path: the file; it is there completely or not at all.
        classes: built in; without them the text vectors are an input.
        scale: of the logits.
        about: kept in the metadata, such as the teacher's name.

    Returns:
        The path. Input `images` (b, 3, s, s) float32, normalised as the metadata say; output
        `logits` (b, classes). Without built-in classes also input `texts` (classes, width) and
        output `features` (b, width).

    Raises:
        UserError: onnx or onnxscript is missing, or class vectors of another width.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f"export needs {' and '.join(missing)}: pip install 'clip-distill[export]'")
    if classes is not None and classes.vectors.shape[1] != student.config.width:
        widths = f"{classes.vectors.shape[1]} and {student.config.width}"
        raise UserError(f"class vectors and student have other widths: {widths}")
    size = student.config.preprocessing.size
    student = student.cpu().eval()
    batch = torch.export.Dim("batch")
    images = torch.zeros(2, 3, size, size)  # sizes of 0 and 1 would be taken for constants
    shapes: tuple[Any, ...] = ({0: batch},)
    given: tuple[Tensor, ...] = (images,)
    names, model = [LOGITS], nn.Module()
    if classes is not None:
        model = Baked(student, torch.from_numpy(classes.vectors), scale)
    else:
        model, names = Open(student, scale), [LOGITS, FEATURES]
        given = (images, torch.zeros(3, student.config.width))
        shapes = ({0: batch}, {0: torch.export.Dim("classes")})
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as made, torch.no_grad(), quiet():
        program: Any = torch.onnx.export(
            model.eval(), given, dynamo=True, opset_version=OPSET, dynamic_shapes=shapes,
            input_names=[IMAGES, TEXTS][: len(given)], output_names=names, verbose=False,
        )  # fmt: skip
        program.model.metadata_props.update(metadata(student, classes, scale, about or {}))
        program.save(Path(made) / target.name, external_data=False)
        os.replace(Path(made) / target.name, target)
    return target


def metadata(
    student: Student, classes: ClassTexts | None, scale: float, about: Mapping[str, Any]
) -> dict[str, str]:
    """What a file says of itself, each value as JSON."""
    prepared = student.config.preprocessing
    form: dict[str, Any] = {
        **asdict(prepared),
        "colours": "RGB, divided by 255, less mean, divided by std",
        "backbone": student.config.backbone,
        "width": student.config.width,
        "scale": scale,
        **about,
    }
    if classes is not None:
        form |= {"class_names": classes.names, "templates": classes.templates}
        form["class_names_from"] = classes.source
    return {name: json.dumps(value) for name, value in form.items()}
