"""The evaluation transform is open_clip's, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clip_distill.use.preprocessing import Preprocessing


@pytest.mark.parametrize("shape", [(40, 60), (61, 33), (24, 24), (10, 17), (25, 24)])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_equal_to_open_clip(shape: tuple[int, int], resize: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    prepared = Preprocessing(24, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), resize=resize)  # type: ignore[arg-type]
    theirs = image_transform_v2(
        PreprocessCfg(24, mean=prepared.mean, std=prepared.std, resize_mode=resize), is_train=False
    )(Image.fromarray(picture))
    ours = prepared.normalise(torch.from_numpy(prepared.centre(picture).copy())[None])[0]
    assert torch.equal(ours, theirs)


def test_refusals_and_what_is_printed() -> None:
    with pytest.raises(ValueError, match="impossible"):
        Preprocessing(std=(0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="unknown resizing"):
        Preprocessing.read({"size": 3, "mean": [0] * 3, "std": [1] * 3, "interpolation": "x",
                            "resize": "shortest"})  # fmt: skip
    assert "mean 0.5, 0.5, 0.5" in str(Preprocessing(mean=(0.5,) * 3))
