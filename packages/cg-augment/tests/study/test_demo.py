"""A newcomer's folder: what `generate` makes of the model that comes along is what studies make."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cg_augment.study.demo_command import demo
from cg_augment.study.generator import folded, unfolded
from cg_augment.use.generating.finishing import still
from cg_augment.use.generating.loading import load
from cg_augment.use.generating.pixel_models import scale_of, scaled
from repro_shared.runtime.errors import UserError


def test_demo_is_read_as_the_studies_have_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo(str(tmp_path / "demo"))
    assert "cg-augment generate" in capsys.readouterr().out
    loaded = load(str(tmp_path / "demo" / "generator"), "own", "float32", None, "cpu")
    latents = torch.randn(2, 12, 16, 16)
    assert loaded.decode is not None
    assert torch.allclose(loaded.decode(latents), unfolded(latents), atol=1e-6)
    assert (loaded.side, loaded.scale) == (32, 2.0)
    images = torch.rand(2, 3, 32, 32)
    begun = 2 * scaled(F.pixel_unshuffle(images, 2), loaded.scale) - 1  # as a sampler takes it
    assert torch.allclose(begun, folded(images), atol=1e-6)
    places = {path.parent.name for path in (tmp_path / "demo" / "test").rglob("*.png")}
    assert places == {"ground 1", "ground 2"}
    with pytest.raises(UserError, match="is not empty"):
        demo(str(tmp_path / "demo"))


@pytest.mark.parametrize("text", ["{", "{}", '{"scale": 0}', '{"scale": "two"}', "[1]"])
def test_a_damaged_scale_is_one_line(tmp_path: Path, text: str) -> None:
    assert scale_of(tmp_path) == 1.0
    (tmp_path / "pixels.json").write_text(text)
    with pytest.raises(UserError, match=r"pixels\.json: damaged"):
        scale_of(tmp_path)
    (tmp_path / "pixels.json").write_text(json.dumps({"scale": 2}))
    assert scale_of(tmp_path) == 2


def test_images_that_guidance_did_not_move_are_told() -> None:
    def record(before: float | None, after: float | None, backward: int = 3) -> Any:
        return SimpleNamespace(objective=after, objective_before=before, guided=3,
                               backward=backward)  # fmt: skip

    assert "changed by +0.005 in the mean of 2 images" in still([
        record(1.0, 1.01), record(0.5, 0.5), record(None, 1.0), record(0.0, 1.0, backward=0),
    ])  # fmt: skip
    assert still([record(1.0, 1.5), record(0.5, 0.5)]) == ""
    assert still([]) == ""
