"""Pictures in files and arrays, their fingerprints, groups beside them, and what views show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cg_augment.use.grouped import grouped_folder
from cg_augment.use.lessons import Lessons, View, centres, sized
from cg_augment.use.pictures import Arrays, Chosen, Files, Union, check_files, of_folder
from repro_shared.runtime.errors import UserError

Make = Callable[..., Any]


def test_folders_hold_the_same_pictures(tmp_path: Path, grouped_of: Make, folders_of: Make) -> None:
    grouped = grouped_of((2, 2, 2, 2))
    found = of_folder(folders_of(tmp_path, grouped))
    assert found.classes == ("bar", "cross")
    for index in range(8):
        own = int(found.name(index).split("-")[1].removesuffix(".png"))
        assert np.array_equal(found.read(index), grouped.pictures.read(own))
        assert found.targets[index] == grouped.pictures.targets[own]


def test_classes_in_an_order_that_is_given(
    tmp_path: Path, grouped_of: Make, folders_of: Make
) -> None:
    folder = folders_of(tmp_path, grouped_of((1, 1, 1, 1)))
    found = of_folder(folder, classes=("cross", "bar"))
    assert found.targets.tolist() == [1, 1, 0, 0]
    with pytest.raises(UserError, match="has bar, which is no class here and lacks ring"):
        of_folder(folder, classes=("cross", "ring"))


def test_group_folders(tmp_path: Path, grouped_of: Make, folders_of: Make) -> None:
    grouped = grouped_of((2, 1, 3, 2))
    found = grouped_folder(folders_of(tmp_path, grouped, True))
    assert dict(zip(found.names, found.sizes, strict=True)) == dict(
        zip(grouped.names, grouped.sizes, strict=True)
    )
    left = found.without(["bar/blue"])
    assert left.sizes[left.number("bar/blue")] == 0
    assert len(left.pictures) == 7
    Image.new("RGB", (4, 4)).save(tmp_path / "bar" / "loose.png")
    with pytest.raises(UserError, match=r"bar/loose\.png: lies in no group's folder"):
        grouped_folder(tmp_path)


def test_a_class_without_pictures_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(UserError, match="no pictures of dog, eel; add some"):
        Files(tmp_path, [tmp_path / "0.png"], [0], ("cat", "dog", "eel"))
    with pytest.raises(UserError, match=r": no pictures$"):
        Files(tmp_path, [], [], ("cat",))


def test_fingerprints_tell_pictures_classes_and_choices_apart(grouped_of: Make) -> None:
    one = grouped_of().pictures
    other = Arrays(one.pixels, one.targets, ("cross", "bar"))
    moved = Arrays(one.pixels[::-1].copy(), one.targets, one.classes)
    some, more = Chosen(one, [0, 1, 1]), Chosen(one, [0, 1])
    joined = Union([one, some])
    prints = {each.fingerprint() for each in (one, other, moved, some, more, joined)}
    assert len(prints) == 6
    assert Chosen(one, [0, 1]).fingerprint() == more.fingerprint()


def test_a_file_that_changes_changes_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    Image.new("RGB", (4, 4)).save(path)
    before = Files(tmp_path, [path], [0], ("cat",)).fingerprint()
    Image.new("RGB", (4, 4), (1, 0, 0)).save(path)
    assert Files(tmp_path, [path], [0], ("cat",)).fingerprint() != before


def test_unions_and_choices_read_the_right_picture(grouped_of: Make) -> None:
    one = grouped_of().pictures
    joined = Union([Chosen(one, [3, 5]), one])
    assert np.array_equal(joined.read(1), one.read(5))
    assert np.array_equal(joined.read(2), one.read(0))
    assert joined.name(0) == "picture 3"
    assert joined.targets.tolist() == [*one.targets[[3, 5]], *one.targets]
    with pytest.raises(UserError, match="classes differ: bar, cross and bar, ring"):
        Union([one, Arrays(one.pixels, one.targets, ("bar", "ring"))])


def test_unreadable_files_are_named_through_unions_and_choices(tmp_path: Path) -> None:
    good, bad = tmp_path / "0.png", tmp_path / "1.png"
    Image.new("RGB", (4, 4)).save(good)
    bad.write_bytes(b"")
    files = Files(tmp_path, [good, bad], [0, 0], ("cat",))
    with pytest.raises(UserError, match=r"1 of 2 images cannot be read: .*1\.png: empty file"):
        check_files([Union([Chosen(files, [0, 1, 1]), files])])
    check_files([Chosen(files, [0])])


@pytest.mark.parametrize(
    "view",
    [View(), View("shift"), View(augment="randaugment"), View("shift", augment="randaugment")],
)
def test_a_view_is_a_function_of_its_place(view: View, grouped_of: Make) -> None:
    pictures = grouped_of().pictures
    one, other = Lessons(pictures, view, 16, 0), Lessons(pictures, view, 16, 0)
    torch.manual_seed(5)
    first = one[7, 3]
    torch.manual_seed(6)
    again = other[7, 3]
    assert torch.equal(first[0], again[0])
    assert first[1:] == (int(pictures.targets[3]), 7, 3)
    assert not torch.equal(first[0], one[8, 3][0])
    assert first[0].shape == (3, 16, 16)
    assert 0 <= float(first[0].min()) <= float(first[0].max()) <= 1


def test_a_shift_of_nothing_is_the_picture_itself(grouped_of: Make) -> None:
    pictures = grouped_of().pictures
    seen = Lessons(pictures, View("shift", pixels=0, mirror=False), 16, 0)[0, 4][0]
    want = torch.from_numpy(pictures.read(4).transpose(2, 0, 1).copy()).float() / 255
    assert torch.allclose(seen, want, atol=1e-6)


def test_what_evaluation_sees() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    assert sized(picture, 16) is picture
    assert sized(picture, 32).shape == (32, 32, 3)
    # A large one is resized so that the shorter side is 1 / 0.875 of the size, and cut.
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 60:68] = 255
    seen = sized(wide, 28)
    assert seen.shape == (28, 28, 3)
    assert seen[14, 14].min() > 200
    assert seen[14, 2].max() < 50


def test_all_pictures_once_in_order_with_processes_too(grouped_of: Make) -> None:
    pictures = grouped_of((3, 2, 2, 3)).pictures
    for workers in (0, 1):
        rows = torch.cat(list(centres(pictures, 16, batch_size=4, workers=workers)))
        want = torch.from_numpy(pictures.pixels.transpose(0, 3, 1, 2).copy()).float() / 255
        assert torch.equal(rows, want)
