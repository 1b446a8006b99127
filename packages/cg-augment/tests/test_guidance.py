"""The README's page on guidance runs as it stands, on objects that tests make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def small() -> Any:
    """A pixel model: it has no prompts to read, all else is as with one that has."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=2,
    )  # fmt: skip
    return diffusers.DDIMPipeline(unet.eval(), diffusers.DDIMScheduler())


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = README.split("## Guide your own pipeline")[1]
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 20
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                            nn.Linear(8, 2))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"pipe": small(), "network": network})
    said = re.findall(r"image \d: (\S+) -> (\S+)", capsys.readouterr().out)
    assert len(said) == 2
    assert all(0 < float(before) < float(after) < 1 for before, after in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png"]
