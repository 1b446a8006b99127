"""Students: a timm backbone and a linear map into the teacher's space, normalised as it needs.

A folder of a student holds `student.safetensors` and `student.json`, which says how images are
prepared for it and whose space it maps into.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.quiet import quiet
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir, sha256_file
from repro_shared.runtime.progress import say
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights
from repro_shared.timing.counts import count_parameters

WEIGHTS, CONFIG = "student.safetensors", "student.json"
VERSION = 1  # of student.json


@dataclass(frozen=True)
class StudentConfig:
    """All that decides a student but its weights.

    Attributes:
        backbone: timm's name.
        width: of the teacher's space.
        preprocessing: size and normalisation of its images.
        bias: of the linear map.
    """

    backbone: str
    width: int
    preprocessing: Preprocessing
    bias: bool = True


class Student(nn.Module):
    """Images (b, 3, s, s), normalised as its config says, to features (b, width) of any length."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        backbone = make_backbone(config.backbone, config.preprocessing.size)
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.head_hidden_size), config.width, bias=config.bias)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.head(self.backbone(images))
        return features


def make_backbone(name: str, size: int) -> Any:
    """A timm model without classifier and without weights from anywhere.

    Raises:
        UserError: timm does not know it, or cannot make it at this image size.
    """
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.partition('_')[0]}*")[:5]
        raise UserError(f"timm knows no model {name!r}; such as {', '.join(near) or 'none'}")
    sized: dict[str, Any] = {}
    found = timm.get_pretrained_cfg(name)
    # Transformers with position embeddings are made for one size; the others take any.
    if found is not None and found.fixed_input_size and found.input_size[-1] != size:
        sized = {"img_size": size}
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, **sized)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"timm cannot make {name} for images of {size} pixels ({one_line(str(error))})"
        ) from None
    if not hasattr(model, "head_hidden_size"):
        raise UserError(f"{name}: timm does not say how wide its features are")
    return model


def warm_start(student: Student, path: str | Path) -> Student:
    """Give the backbone weights from a file of timm's, and the normalisation that belongs to them.

    A classifier in the file is left out. The student comes back with the normalisation of the
    weights: CLIP's would be wrong. A line says what it is and how it is known: from timm's
    `config.json` beside the weights, else from timm itself by the backbone's name.

    Raises:
        UserError: weights of another model, or a `config.json` that is damaged or of another one.
    """
    import timm

    state = read_weights(path)
    name, own = student.config.backbone, student.backbone.state_dict()
    form = _config_beside(Path(path), name)
    known = timm.get_pretrained_cfg(name)
    classifier = form.get("classifier", known.classifier if known is not None else None)
    heads = [classifier] if isinstance(classifier, str) else list(classifier or ())
    kept = {
        name: value
        for name, value in state.items()
        if name in own or not any(name.startswith(f"{head}.") for head in heads)
    }
    load_strictly(student.backbone, kept, str(path))
    if form:
        mean, std, source = form["mean"], form["std"], "the config.json beside them"
    elif known is not None:
        mean, std, source = known.mean, known.std, _said_by_timm(name)
    else:
        prepared = student.config.preprocessing
        mean, std, source = prepared.mean, prepared.std, "the teacher: timm knows nothing of them"
    try:
        prepared = replace(
            student.config.preprocessing, mean=tuple(map(float, mean)), std=tuple(map(float, std))
        )
    except (ValueError, TypeError):
        raise UserError(f"{path}: {source} has mean {mean} and deviation {std}") from None
    student.config = replace(student.config, preprocessing=prepared)
    shown = [", ".join(f"{value:.4g}" for value in each) for each in (prepared.mean, prepared.std)]
    say(f"images for the weights of {path}: mean {shown[0]}, deviation {shown[1]}, as in {source}")
    return student


def _config_beside(path: Path, name: str) -> dict[str, Any]:
    """Of timm's `config.json` in the weights' folder what the weights were trained with, or {}."""
    file = path.parent / "config.json"
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        form = dict(whole.get("pretrained_cfg", whole))
        of = str(whole.get("architecture", form.get("architecture", "")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: damaged ({type(error).__name__}: {error})") from None
    if "mean" not in form or "std" not in form:  # of another library, perhaps
        return {}
    if of and of.partition(".")[0] != name.partition(".")[0]:
        raise UserError(f"{file} speaks of {of}, the backbone is {name}")
    return form


def _said_by_timm(name: str) -> str:
    """How far a model's name tells the normalisation of its weights."""
    architecture, _, tag = name.partition(".")
    if tag:
        return f"timm's {name}"
    import timm

    tags = timm.list_pretrained(f"{architecture}.*")
    forms = [timm.get_pretrained_cfg(each) for each in tags]
    if len({(tuple(f.mean), tuple(f.std)) for f in forms if f is not None}) > 1:
        return (
            f"timm's default for {architecture}; its weights {', '.join(tags[:3])}, ... differ: "
            "put their config.json beside the file, or name the tag in --backbone"
        )
    return f"timm's {architecture}"


def save_student(student: Student, folder: str | Path, **about: Any) -> Path:
    """Write weights and config into a folder; `about` is kept beside (teacher, objective, ...)."""
    target = ensure_output_dir(folder)
    digest = save_weights(student, target / WEIGHTS, metadata={"format": "pt"})
    form = {"version": VERSION, **asdict(student.config), "sha256": digest, **about}
    atomic_write_json(target / CONFIG, form)
    return target


def load_student(folder: str | Path) -> tuple[Student, dict[str, Any]]:
    """The student of a folder in evaluation mode, and all that `student.json` says.

    Raises:
        UserError: no such student, a damaged file, or weights of another model.
    """
    path = Path(folder) / CONFIG
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
        if form["version"] != VERSION:
            raise UserError(f"{path}: version {form['version']}, this is {VERSION}")
        prepared = Preprocessing.read(form["preprocessing"])
        config = StudentConfig(form["backbone"], int(form["width"]), prepared, bool(form["bias"]))
    except FileNotFoundError:
        raise UserError(f"{folder}: no {CONFIG} here; give a folder that `distill` wrote") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    student = Student(config)
    weights = path.parent / WEIGHTS
    load_strictly(student, read_weights(weights), str(weights))
    if sha256_file(weights) != form.get("sha256"):
        raise UserError(f"{weights}: not the weights that {CONFIG} speaks of")
    return student.eval(), form


def check_taught_by(about: Mapping[str, Any], sha256: str) -> None:
    """UserError unless text vectors are of the teacher that the student had, by its weights.

    Another teacher's space may be as wide, and every answer would be wrong without a sign. Nothing
    is known of a teacher that was a file of features.
    """
    known = about.get("teacher_sha256")
    if known is not None and sha256 and known != sha256:
        raise UserError(
            f"the student was taught by {about['teacher']}, and the texts are of another teacher "
            f"(weights {known[:8]} and {sha256[:8]}): texts of one are no texts of the other"
        )


def ratios(student: nn.Module, whole: int, image_tower: int) -> str:
    """Parameters of a student, and how many fewer than the teacher's by both ways of counting."""
    own = count_parameters(student)

    def against(other: int) -> str:
        share = 1 - own / other
        return f"{share:.1%} fewer" if share >= 0 else f"{-share:.1%} more"

    return (
        f"{own / 1e6:.2f} M parameters: {against(whole)} than the whole teacher "
        f"({whole / 1e6:.2f} M), {against(image_tower)} than its image tower "
        f"({image_tower / 1e6:.2f} M)"
    )


def open_clip_parameters(name: str) -> tuple[int, int]:
    """Parameters of an open_clip model, and of its image tower, by shapes alone."""
    import open_clip

    with torch.device("meta"), quiet():
        model: Any = open_clip.create_model(name, device="meta", load_weights=False)
    return count_parameters(model), count_parameters(model.visual)
