"""Models on disk for `generate`: a pixel model, Stable Diffusion, a teacher and a student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest

from cg_augment.use.classifiers import of_timm, save_classifier

CLASSES = ("cat", "dog")
MODEL = "test_resnet"  # timm's, of 0.5 M parameters


def save_unet(folder: Path, tiny: Any, **changes: Any) -> Path:
    tiny.unet(**changes).save_pretrained(folder)
    diffusers.DDIMScheduler(**tiny.vp).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """unet/, sd/, teacher/ and student/."""
    folder = tmp_path_factory.mktemp("models")
    save_unet(folder / "unet", tiny)
    tiny.sd().save_pretrained(folder / "sd")
    tiny.tiny_vae().save_pretrained(folder / "small")
    for seed, who in enumerate(("teacher", "student")):
        save_classifier(of_timm(MODEL, CLASSES, 32, seed=seed), folder / who)
    return folder
