"""Views are a function of names, spread as torchvision's crops are, and resized as it resizes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as tv

from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.views import Part, Views, shown

CROPS = Views(3, "random-crop")
PICTURE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_golden_and_the_same_in_another_process() -> None:
    parts = [CROPS.part(PICTURE, "data", "a.png", view) for view in range(3)]
    code = (
        "import numpy as np; from clip_distill.use.views import Views;"
        "print([Views(3, 'random-crop').part(np.zeros((50, 70, 3), np.uint8), 'data', 'a.png', v)"
        " for v in range(3)])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(parts)
    assert parts[0] == Part(left=8, top=1, width=55, height=49, mirrored=False)
    assert len(set(parts)) == 3
    assert CROPS.part(PICTURE, "data", "b.png", 0) != parts[0]
    assert CROPS.part(PICTURE, "other", "a.png", 0) != parts[0]


@given(
    height=st.integers(1, 300), width=st.integers(1, 300), view=st.integers(0, 5),
    low=st.floats(0.01, 1.0),
)  # fmt: skip
def test_every_part_lies_in_its_picture(height: int, width: int, view: int, low: float) -> None:
    views = Views(6, "random-crop", scale=(low, 1.0))
    part = views.part(np.zeros((height, width, 3), np.uint8), "d", "s", view)
    assert part is not None
    assert 0 <= part.left <= part.left + part.width <= width
    assert 0 <= part.top <= part.top + part.height <= height
    assert part.width > 0 < part.height


def test_spread_as_torchvisions() -> None:
    ours = [CROPS.part(PICTURE, "d", str(i), 0) for i in range(3000)]
    torch.manual_seed(0)
    image = Image.fromarray(PICTURE)
    theirs = [RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(3000)]
    area = [p.width * p.height / PICTURE[..., 0].size for p in ours if p]
    other = [h * w / PICTURE[..., 0].size for _, _, h, w in theirs]
    assert np.allclose(np.quantile(area, [0.1, 0.5, 0.9]), np.quantile(other, [0.1, 0.5, 0.9]),
                       atol=0.03)  # fmt: skip
    assert np.mean([p.left for p in ours if p]) == pytest.approx(
        np.mean([left for _, left, _, _ in theirs]), abs=1.5
    )
    assert np.mean([p.mirrored for p in ours if p]) == pytest.approx(0.5, abs=0.03)


def test_resized_as_torchvision_resizes() -> None:
    part = Part(5, 7, 40, 30, True)
    theirs = tv.hflip(tv.resized_crop(
        Image.fromarray(PICTURE), 7, 5, 30, 40, [24, 24], InterpolationMode.BICUBIC
    ))  # fmt: skip
    assert np.array_equal(shown(PICTURE, part, Preprocessing(24)), np.asarray(theirs))


def test_the_centre_is_one_view() -> None:
    assert Views().part(PICTURE, "d", "s", 0) is None
    assert shown(PICTURE, None, Preprocessing(24)).shape == (24, 24, 3)
    with pytest.raises(ValueError, match="the centre is one view"):
        Views(2)
    with pytest.raises(ValueError, match="impossible crops"):
        Views(1, "random-crop", scale=(0.0, 1.0))
