"""Parameters and multiply-accumulates of the recipes' models, as the protocol states them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from repro_shared.timing.counts import count_operations, count_parameters
from seg_kd.cli import PAPER
from seg_kd.study import lineage
from seg_kd.study.arms import students, teacher
from seg_kd.use import adapter
from seg_kd.use.models import BUILT_IN

PROTOCOL = Path(__file__).parents[2] / "results/protocol.md"
SIZES = {  # millions of parameters, MMAC for one training crop
    ("equal_time_digits", "student"): (0.802, 53.3),
    ("equal_time_digits", "teacher"): (3.200, 212.8),
    ("equal_time_camvid", "student"): (0.802, 159.6),
    ("equal_time_camvid", "teacher"): (3.407, 183.8),
    ("rivals_digits", "student"): (0.245, 15.8),
    ("rivals_digits", "teacher"): (3.200, 212.8),
    ("rivals_camvid", "student"): (0.245, 47.2),
    ("rivals_camvid", "teacher"): (3.242, 629.0),
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
    row = re.search(rf"^\| `{name}`.*$", PROTOCOL.read_text(), re.MULTILINE)
    if name.startswith("rivals"):
        assert row is not None
        assert f"{millions:.2f} M" in row[0]


def test_paper_scale_models_are_those_of_mmsegmentations_zoo() -> None:
    (study,) = PAPER.chosen(("equal_time_cityscapes",), "paper")
    sizes, backbones = [], []
    for arm, millions, gmac in (
        (students(study, "time")[0], 12.79, 54.2),
        (teacher(study), 67.97, 255.9),
    ):
        config = arm.config.model.config(arm.config.classes, arm.config.view.crop)
        model = adapter.build_model(config).eval().to("meta")
        image = torch.empty(1, 3, 512, 512, device="meta")
        counted = count_operations(partial(model, image, mode="tensor"))
        sizes.append(count_parameters(model))
        backbones.append(count_parameters(model.backbone))
        assert sizes[-1] / 1e6 == pytest.approx(millions, abs=0.01)
        assert counted.macs / 1e9 == pytest.approx(gmac, abs=0.06)
    # "One quarter of the parameters": what that may mean, as lineage.py states it.
    wide = replace(BUILT_IN["pspnet_r18"], head_channels=256).config(19, (512, 512))
    shares = (sizes[0] / sizes[1], backbones[0] / backbones[1],
              count_parameters(adapter.build_model(wide)) / sizes[1])  # fmt: skip
    words = " ".join((lineage.__doc__ or "").split())
    for share in shares:
        assert f"{100 * share:.0f} %" in words
    assert "12.79 and 67.97 million" in words
