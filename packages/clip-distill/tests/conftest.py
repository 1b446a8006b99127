"""Tiny teachers with random weights, and pictures, for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clip_distill.use import open_clip_teachers
from clip_distill.use.teachers import Teacher

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1,
    },
}  # fmt: skip


def make_model(seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return open_clip.CLIP(**{**CONFIG, **changes}).eval()


def make_teacher(seed: int = 0, mean: float = 0.48, std: float = 0.27) -> Teacher:
    model = make_model(seed)
    form = open_clip.transform.PreprocessCfg(32, mean=(mean,) * 3, std=(std,) * 3)
    return open_clip_teachers.of_model("tiny", model, open_clip.tokenizer.SimpleTokenizer(), form)


def write_pictures(folder: Path, classes: int = 3, each: int = 4, seed: int = 0) -> Path:
    """Class folders of small pictures, each with a colour of its class and noise."""
    g = np.random.default_rng(seed)
    for label in range(classes):
        place = folder / f"class {label}"
        place.mkdir(parents=True)
        for number in range(each):
            pixels = g.normal(60 * (label + 1), 30, (40 + 3 * number, 48, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _memory_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hashes of the tests' files are not kept in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("memory")))
        yield


@pytest.fixture(scope="session")
def clip_config() -> dict[str, Any]:
    """open_clip's configuration of the tiny teacher."""
    return CONFIG


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Any]:
    """Makes open_clip models."""
    return make_model


@pytest.fixture(scope="session")
def teacher_of() -> Callable[..., Teacher]:
    """Makes tiny teachers."""
    return make_teacher


@pytest.fixture(scope="session")
def teacher() -> Teacher:
    """One of them."""
    return make_teacher()


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Path]:
    """Writes class folders."""
    return write_pictures
