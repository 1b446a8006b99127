"""Fixtures: a small label-map folder in CamVid's form, and a recipe that trains in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.study.paper import Study
from seg_kd.study.arms import objectives, students, teacher
from seg_kd.study.recipes import SCENES, comparison, equal_time, equal_time_digits
from seg_kd.use import adapter
from seg_kd.use.data import Scenes


def write_pair(root: Path, split: str, name: str, label: np.ndarray) -> None:
    """One image whose colours follow its label map."""
    rng = np.random.default_rng(sum(map(ord, name)))
    image = (label[..., None] * 20 + rng.integers(0, 20, (*label.shape, 3))).astype(np.uint8)
    for kind, array in (("images", image), ("labels", label)):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / kind / split / f"{name}.png")


@pytest.fixture(autouse=True)
def on_the_cpu() -> None:
    """mmengine takes whatever accelerator it sees, unless it is told."""
    adapter.set_device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six training and two evaluation images, 11 classes, 11 = unlabelled, 40 x 48 pixels."""
    rng = np.random.default_rng(0)
    root = tmp_path / "street scenes"
    for split, count in (("train", 6), ("val", 2)):
        for index in range(count):
            blocks = rng.integers(0, 12, (5, 6), dtype=np.uint8)
            write_pair(root, split, f"{split}_{index}", np.kron(blocks, np.ones((8, 8), np.uint8)))
    return root


@pytest.fixture(scope="session")
def tiny() -> Study:
    """The digit comparison at the smoke scale, without the equal-iteration runs and controls."""
    study = equal_time_digits("smoke")
    like = students(study, "time")[0].config
    arms = comparison(like, teacher(study), objectives(study), budgets=(8,))
    return equal_time(replace(study, data=Scenes(SCENES, 8, 4), arms=arms), rounds=2)
