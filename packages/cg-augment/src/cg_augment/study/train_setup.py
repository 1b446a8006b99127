"""What `cg-augment train` is told, as settings: length, recipe, student, map of features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from cg_augment.method.losses import FEATURE_WEIGHT
from cg_augment.rivals.adversarial import Adversarial
from cg_augment.use.classifiers import Classifier, load_classifier, load_timm, of_timm
from cg_augment.use.distillation import Distillation
from cg_augment.use.lessons import View
from cg_augment.use.pictures import Pictures
from repro_shared.evidence.hashing import resolved_config
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import load_strictly, read_weights

Recipe = Literal[
    "kd", "feature-kd", "randaugment", "mixup", "cutmix", "adversarial", "tab", "labels"
]
MODEL = "resnet18"
MAP = "feature-map.safetensors"  # beside a student of feature-kd: goes on with --init


def length_of(steps: int | None, epochs: float | None, pictures: int, batch_size: int) -> int:
    """Steps of a training that is given in steps or in passes; UserError for both."""
    if steps is not None and epochs is not None:
        raise UserError(f"--steps {steps} and --epochs {epochs:g} are two lengths: give one")
    require(batch_size >= 1, "--batch-size", "at least 1", batch_size)
    if steps is not None:
        return steps
    passes = 10.0 if epochs is None else epochs
    require(0 < passes < float("inf"), "--epochs", "above 0", passes)
    return max(1, round(passes * pictures / batch_size))


def recipe_of(config: Distillation, recipe: Recipe, extra: bool) -> Distillation:
    """The settings that a row differs in."""
    if recipe == "tab" and extra:
        raise UserError("--recipe tab balances the pictures alone: leave out --generated")
    changes: dict[str, dict[str, Any]] = {
        "feature-kd": {"features": FEATURE_WEIGHT},
        "randaugment": {"view": View(augment="randaugment")},
        "mixup": {"mixing": "mixup"},
        "cutmix": {"mixing": "cutmix"},
        "adversarial": {"attack": Adversarial()},
    }
    return replace(config, **changes.get(recipe, {}))


def student_of(
    model: str | None, init: str | None, classes: tuple[str, ...], size: int | None, seed: int
) -> tuple[Classifier, str]:
    """The student as it begins, and the digest of what it begins with."""
    if init is not None and Path(init).is_dir():
        student, _ = load_classifier(init)
        for flag, given, own in (
            ("--model", model, student.name.removeprefix("timm:")),
            ("--image-size", size, student.size),
        ):
            if given not in (None, own):
                raise UserError(f"{flag} {given}: the student of {init} has {own}; leave it out")
        student.requires_grad_(True)
        return student, student.sha256
    student = of_timm(model or MODEL, classes, size, derive_seed(seed, "weights"))
    if init is None:
        return student, ""
    load_timm(student, init, new_head=True)
    return student, student.sha256


def map_of(
    init: str | None, config: Distillation, teacher: Classifier | None
) -> tuple[nn.Linear | None, str]:
    """The map of features that a student's training ended with, and its digest.

    None and "" where features are not distilled, the student brings no map, or it leads into the
    features of another teacher.
    """
    if init is None or teacher is None or not config.features:
        return None, ""
    file = Path(init) / MAP
    if not file.is_file() or load_classifier(init)[1].get("teacher_sha256") != teacher.sha256:
        return None, ""
    state = read_weights(file)
    into, width = state["weight"].shape
    made = nn.Linear(width, into)
    load_strictly(made, state, str(file))
    return made, sha256_file(file)


def names_of(path: str | None) -> tuple[str, ...]:
    """Lines of a file of classes; UserError for one that cannot be read."""
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"--teacher-classes {path}: cannot be read ({error.strerror})") from None
    return tuple(line.strip() for line in lines if line.strip())


def about(
    config: Distillation,
    recipe: Recipe,
    pictures: Pictures,
    extra: list[Any],
    teacher: Classifier | None,
    student: Classifier,
    began: str,
    map_digest: str,
    drop: tuple[str, ...],
    seed: int,
) -> dict[str, Any]:
    """All that decides the student, for its file."""
    return {
        "student": student.name,
        "image_size": student.size,
        "recipe": recipe,
        "training": resolved_config(config),
        "data": pictures.fingerprint(),
        "dropped": list(drop),
        "generated": [each.fingerprint() for each in extra],
        "teacher": None if teacher is None else teacher.name,
        "teacher_sha256": None if teacher is None else teacher.sha256,
        "start": began,
        "start_map": map_digest,
        "seed": seed,
    }
