"""Parameters and multiply-accumulates of the recipes' models, as the README states them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from repro_shared.timing.counts import count_operations, count_parameters
from seg_kd.cli import PAPER
from seg_kd.study.arms import students, teacher
from seg_kd.use import adapter

README = Path(__file__).parents[2] / "README.md"
SIZES = {  # millions of parameters, MMAC for one training crop
    ("equal_time_digits", "student"): (0.802, 53.3),
    ("equal_time_digits", "teacher"): (3.200, 212.8),
    ("equal_time_camvid", "student"): (0.802, 159.6),
    ("equal_time_camvid", "teacher"): (3.407, 183.8),
}


@pytest.mark.parametrize(("name", "role"), SIZES)
def test_sizes_at_the_cpu_scale(name: str, role: str) -> None:
    (study,) = PAPER.chosen((name,), "cpu")
    arm = students(study, "time")[0] if role == "student" else teacher(study)
    crop = arm.config.view.crop
    model = adapter.build_model(arm.config.model.config(arm.config.classes, crop)).eval()
    image = torch.zeros(1, 3, *crop)
    counted = count_operations(lambda: model(image, mode="tensor"))
    millions, macs = SIZES[name, role]
    assert count_parameters(model) / 1e6 == pytest.approx(millions, abs=0.0006)
    assert counted.macs / 1e6 == pytest.approx(macs, abs=0.06)
    row = re.search(rf"^\| `{name}` .*$", README.read_text(), re.MULTILINE)
    assert row is not None
    assert f"{millions:.2f} M, {macs:.0f} MMAC" in row[0]


def test_paper_scale_models_are_those_of_mmsegmentations_zoo() -> None:
    (study,) = PAPER.chosen(("equal_time_cityscapes",), "paper")
    for arm, millions in ((students(study, "time")[0], 12.79), (teacher(study), 67.97)):
        config = arm.config.model.config(arm.config.classes, arm.config.view.crop)
        assert count_parameters(adapter.build_model(config)) / 1e6 == pytest.approx(
            millions, abs=0.01
        )
