"""Exchanged cues: what comes from whom, and who follows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_distill.use.cues import (
    Exchange,
    Masks,
    choose_donors,
    with_border,
    with_colours,
    without_object,
)
from clip_distill.use.pictures import Folder
from clip_distill.use.preprocessing import Preprocessing
from repro_shared.runtime.errors import UserError

RNG = np.random.default_rng(0)
ONE, TWO = (RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8) for _ in range(2))


def test_a_border_is_the_donors_and_the_middle_the_pictures() -> None:
    made = with_border(ONE, TWO, 0.15)
    inner = np.zeros((20, 20), bool)
    inner[3:17, 3:17] = True
    assert np.array_equal(made[inner], ONE[inner])
    assert np.array_equal(made[~inner], TWO[~inner])


def test_colours_are_the_donors_and_brightness_stays() -> None:
    donor = (TWO // 4 + np.array([150, 40, 30])).astype(np.uint8)
    soft = (ONE // 4 + 90).astype(np.uint8)
    made = with_colours(soft, donor)
    one, two, three = (
        np.asarray(Image.fromarray(p).convert("YCbCr"), float) for p in (soft, donor, made)
    )
    assert three[..., 1:].mean(axis=(0, 1)) == pytest.approx(two[..., 1:].mean((0, 1)), abs=2)
    assert three[..., 1:].std(axis=(0, 1)) == pytest.approx(two[..., 1:].std((0, 1)), abs=2)
    assert np.abs(three[..., 0] - one[..., 0]).mean() < 3
    assert np.abs(with_colours(soft, soft).astype(int) - soft).max() <= 4


def test_an_object_gives_way_to_the_nearest_background() -> None:
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    made = without_object(ONE, mask)
    assert np.array_equal(made[~mask], ONE[~mask])
    assert (made[9, 8] == ONE[9, 7]).all()
    assert (made[11, 10] == ONE[12, 10]).all()
    assert (without_object(ONE, np.ones_like(mask)) == 127).all()


def test_donors(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    folder = Folder(pictures(tmp_path / "a", each=6))
    others, own = choose_donors(folder, folder, 0)
    target = np.asarray(folder.targets)
    assert (target[list(others)] != target).all()
    assert (target[list(own)] == target).all()
    assert all(index != donor for index, donor in enumerate(own))
    assert len(set(target[list(others)].tolist())) == 3
    assert choose_donors(folder, folder, 0) == (others, own)
    assert choose_donors(folder, folder, 1) != (others, own)
    alone = Folder(pictures(tmp_path / "b", each=1))
    with pytest.raises(UserError, match="no other picture gives 'class 0' its cue"):
        choose_donors(alone, alone, 0)
    assert choose_donors(alone, folder, 0)[1]  # from another set one picture is enough


def test_a_background(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    folder = Folder(pictures(tmp_path / "p", each=1))
    size, (high, wide) = 32, folder.read(0).shape[:2]
    mask = np.zeros((high, wide), np.uint8)
    mask[10:30, 14:34] = 255
    for name in folder.ids:
        path = tmp_path / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    masks = Masks(folder, str(tmp_path / "masks"))
    prepared = Preprocessing(size)
    change = Exchange("background", folder, (1, 2, 0), prepared, masks=(masks, masks))
    plain = [prepared.centre(folder.read(index)) for index in range(3)]
    made = change(plain[0], 0)
    inside = prepared.centre(np.repeat(mask[..., None], 3, 2))[..., 0] > 127
    assert np.array_equal(made[inside], plain[0][inside])
    assert np.array_equal(made[~inside], plain[1][~inside])
    Image.fromarray(mask[:-1]).save(tmp_path / "masks" / folder.ids[0])
    with pytest.raises(UserError, match=r"its mask \(39, 48\)"):
        change(plain[0], 0)
    (tmp_path / "masks" / folder.ids[0]).unlink()
    with pytest.raises(UserError, match=r"no mask of class 0/0\.png"):
        change(plain[0], 0)
    with pytest.raises(UserError, match="needs --masks FOLDER"):
        Masks(folder).mask(0)


def test_a_mask_of_a_name_with_a_dot_is_its_own(tmp_path: Path) -> None:
    for folder in ("pictures/cat", "masks/cat"):
        (tmp_path / folder).mkdir(parents=True)
    for number, name in enumerate(("a", "a.1", "a.2")):
        Image.fromarray(ONE).save(tmp_path / "pictures/cat" / f"{name}.png")
        mask = np.zeros((20, 20), np.uint8)
        mask[number] = 255
        Image.fromarray(mask).save(tmp_path / "masks/cat" / f"{name}.png")
    pictures = Folder(tmp_path / "pictures", False)
    masks = Masks(pictures, str(tmp_path / "masks"))
    found = {Path(each).name: int(masks.mask(i).argmax() // 20) for i, each in
             enumerate(pictures.ids)}  # fmt: skip
    assert found == {"a.png": 0, "a.1.png": 1, "a.2.png": 2}
    (tmp_path / "masks/cat/a.2.png").unlink()
    with pytest.raises(UserError, match=r"no mask of cat/a\.2\.png"):
        masks.mask([Path(each).name for each in pictures.ids].index("a.2.png"))
