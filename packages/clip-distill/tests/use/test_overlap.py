"""Equal and nearly equal pictures are found, others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from skimage import data
from sklearn.datasets import load_sample_images

from clip_distill.cli import PAPER
from clip_distill.use.overlap import BITS, check_overlap, pairs, perceptual_hash, signatures
from clip_distill.use.pictures import Folder
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main

PHOTOS = {
    "astronaut": data.astronaut(), "chelsea": data.chelsea(), "coffee": data.coffee(),
    "rocket": data.rocket(), "china": load_sample_images().images[0],
    "flower": load_sample_images().images[1],
}  # fmt: skip


def save(folder: Path, pictures: dict[str, Any], suffix: str = ".png", **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}{suffix}", **more)
    return folder


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("train"), PHOTOS)


def test_what_is_found(train: Path, tmp_path: Path) -> None:
    cat = Image.fromarray(PHOTOS["chelsea"])
    half = np.asarray(cat.resize((cat.width // 2, cat.height // 2)))
    bright = np.asarray(ImageEnhance.Brightness(cat).enhance(1.2))
    save(tmp_path, {
        "exact": PHOTOS["coffee"], "half": half, "bright": bright,
        "mirror": np.ascontiguousarray(PHOTOS["rocket"][:, ::-1]),
        "other": data.immunohistochemistry(), "plain": np.full((40, 40, 3), 9, np.uint8),
    }, ".bmp")  # fmt: skip
    save(tmp_path, {"again": PHOTOS["china"]}, ".jpg", quality=40)
    found = pairs(signatures(Folder(train, False)), signatures(Folder(tmp_path, False)))
    assert {p.other: (p.one, p.kind) for p in found} == {
        "exact.bmp": ("coffee.png", "same"), "half.bmp": ("chelsea.png", "alike"),
        "bright.bmp": ("chelsea.png", "alike"), "mirror.bmp": ("rocket.png", "mirrored"),
        "again.jpg": ("china.png", "alike"),
    }  # fmt: skip


def test_different_photographs_are_far_apart() -> None:
    hashes = [perceptual_hash(picture) for picture in PHOTOS.values()]
    apart = [
        (a ^ b).bit_count() for place, a in enumerate(hashes) for b in hashes[:place]
    ]  # fmt: skip
    assert min(apart) > 2 * BITS
    assert all(28 <= each.bit_count() <= 36 for each in hashes)


def test_tiles_do_not_matter(train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = signatures(Folder(train, False))
    whole = pairs(one, one)
    monkeypatch.setattr("clip_distill.use.overlap._TILE", 2)
    assert pairs(one, one) == whole
    assert len(whole) == len(PHOTOS)


def test_near_ones_are_said_and_equal_ones_refused(
    train: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = Folder(save(tmp_path, {"a": PHOTOS["china"]}, ".jpg", quality=40), False)
    pictures = Folder(train, False)
    assert check_overlap(pictures, test, allowed=False) == [("china.png", "a.jpg", "alike")]
    assert "1 test images are nearly the same as training images" in capsys.readouterr().err
    save(tmp_path, {"b": PHOTOS["coffee"]})
    with pytest.raises(UserError, match=r"such as b\.png = coffee\.png; remove them"):
        check_overlap(pictures, Folder(tmp_path, False), allowed=False)


def test_the_verb(train: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = save(tmp_path / "test", {"b": PHOTOS["coffee"], "c": data.astronaut()[::-1]})
    out = tmp_path / "pairs.csv"
    assert main(PAPER, ["overlap", str(train), str(test), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Of 2 test images 1 are the same to the pixel as one of 6 training images" in said
    assert out.read_text() == (
        "test image,training image,kind,bits apart,correlation\nb.png,coffee.png,same,0,1.000\n"
    )
    assert main(PAPER, ["overlap", str(train), str(tmp_path / "none")]) == 2
