"""The six data sets of the paper, in their authors' layout to the name of each file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from clip_distill.use.original_sets import LAYOUTS, OriginalSet, set_of
from clip_distill.use.sources import pictures_of
from repro_shared.runtime.errors import UserError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 24, 3), value, np.uint8)).save(path)


def lines(path: Path, *each: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in each))


def pets(root: Path) -> None:
    place = root / "oxford-iiit-pet"
    rows = {"trainval": [("Abyssinian_100", 1, 1, 1), ("american_bulldog_7", 2, 2, 1)],
            "test": [("Abyssinian_2", 1, 1, 1), ("american_bulldog_1", 2, 2, 1)]}  # fmt: skip
    for split, listed in rows.items():
        lines(place / "annotations" / f"{split}.txt", *(" ".join(map(str, r)) for r in listed))
        for name, label, *_ in listed:
            picture(place / "images" / f"{name}.jpg", 40 * label)
    trimap = np.full((20, 24), 2, np.uint8)
    trimap[5:15, 5:15], trimap[6:14, 6:14] = 3, 1
    (place / "annotations" / "trimaps").mkdir()
    Image.fromarray(trimap).save(place / "annotations" / "trimaps" / "Abyssinian_2.png")


def flowers(root: Path) -> None:
    place = root / "flowers-102"
    place.mkdir()
    labels = [1, 2, 2, 77, 102]
    savemat(place / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    # Singular `trnid`, `valid` and `tstid`, as the file has them.
    savemat(place / "setid.mat", {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[4, 5]]})
    for number, label in enumerate(labels, start=1):
        picture(place / "jpg" / f"image_{number:05d}.jpg", label)


def cars(root: Path) -> None:
    place = root / "stanford_cars"
    (place / "devkit").mkdir(parents=True)
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van 2012"]
    savemat(place / "devkit" / "cars_meta.mat", {"class_names": np.array([names], object)})
    form = [("bbox_x1", "u1"), ("class", "u1"), ("fname", object)]
    for split, path in (("train", place / "devkit" / "cars_train_annos.mat"),
                        ("test", place / "cars_test_annos_withlabels.mat")):  # fmt: skip
        rows = np.array([(1, 3, "00001.jpg"), (1, 1, "00002.jpg")], dtype=form)
        savemat(path, {"annotations": rows[None]})
        for number in (1, 2):
            picture(place / f"cars_{split}" / f"{number:05d}.jpg", 60 * number)


def food(root: Path) -> None:
    place = root / "food-101"
    meta = {"test": {"waffles": ["waffles/9"], "apple_pie": ["apple_pie/11", "apple_pie/12"]},
            "train": {"apple_pie": ["apple_pie/1"], "waffles": ["waffles/2"]}}  # fmt: skip
    for split, listed in meta.items():
        lines(place / "meta" / f"{split}.json", json.dumps(listed))
        for name in (name for names in listed.values() for name in names):
            picture(place / "images" / f"{name}.jpg", 77)


def aircraft(root: Path) -> None:
    place = root / "fgvc-aircraft-2013b" / "data"
    lines(place / "variants.txt", "707-320", "F/A-18", "Saab 2000")
    lines(place / "images_variant_test.txt", "1514522 F/A-18", "0481847 Saab 2000")
    lines(place / "images_variant_trainval.txt", "1025794 707-320")
    for name in ("1514522", "0481847", "1025794"):
        picture(place / "images" / f"{name}.jpg", 5)


def textures(root: Path) -> None:
    place = root / "dtd" / "dtd"
    for split, listed in {"train": ["banded/banded_0002.jpg", "knitted/knitted_0001.jpg"],
                          "val": ["banded/banded_0004.jpg", "knitted/knitted_0004.jpg"],
                          "test": ["knitted/knitted_0009.jpg", "banded/banded_0008.jpg"],
                          }.items():  # fmt: skip
        lines(place / "labels" / f"{split}1.txt", *listed)
        for name in listed:
            picture(place / "images" / name, 9)


MAKERS: dict[str, Callable[[Path], None]] = {
    "pets": pets, "flowers": flowers, "cars": cars, "food": food, "aircraft": aircraft,
    "textures": textures,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision compares Flowers-102's two .mat files with the checksums of the real ones."""
    files = {name: (file, None) for name, (file, _) in datasets.Flowers102._file_dict.items()}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", files)


@pytest.mark.parametrize(
    ("name", "first", "last", "ids"),
    [
        ("pets", "Abyssinian", "American Bulldog",
         {"images/Abyssinian_2.jpg": "Abyssinian",
          "images/american_bulldog_1.jpg": "American Bulldog"}),
        ("flowers", "pink primrose", "blackberry lily",
         {"jpg/image_00004.jpg": "passion flower", "jpg/image_00005.jpg": "blackberry lily"}),
        ("cars", "AM General Hummer SUV 2000", "Ram C/V Cargo Van 2012",
         {"cars_test/00001.jpg": "Ram C/V Cargo Van 2012",
          "cars_test/00002.jpg": "AM General Hummer SUV 2000"}),
        ("food", "apple_pie", "waffles",
         {"images/waffles/9.jpg": "waffles", "images/apple_pie/11.jpg": "apple_pie",
          "images/apple_pie/12.jpg": "apple_pie"}),
        ("aircraft", "707-320", "Saab 2000",
         {"data/images/1514522.jpg": "F/A-18", "data/images/0481847.jpg": "Saab 2000"}),
        ("textures", "banded", "knitted",
         {"dtd/images/knitted/knitted_0009.jpg": "knitted",
          "dtd/images/banded/banded_0008.jpg": "banded"}),
    ],
)  # fmt: skip
def test_test_split(tmp_path: Path, name: str, first: str, last: str, ids: dict[str, str]) -> None:
    MAKERS[name](tmp_path)
    found = pictures_of(f"{name}:{tmp_path}")
    assert (found.classes[0], found.classes[-1]) == (first, last)
    named = [found.classes[target] for target in found.targets]
    assert dict(zip(found.ids, named, strict=True)) == ids
    assert found.read(0).shape == (20, 24, 3)
    inner = pictures_of(f"{name}:{tmp_path / LAYOUTS[name].folder}")  # the set's own folder
    assert inner.ids == found.ids
    assert inner.fingerprint() == found.fingerprint()


@pytest.mark.parametrize(
    ("name", "count"),
    [("pets", 2), ("flowers", 4), ("cars", 2), ("food", 2), ("aircraft", 1), ("textures", 4)],
)
def test_the_rest_is_for_training(tmp_path: Path, name: str, count: int) -> None:
    MAKERS[name](tmp_path)
    train, test = OriginalSet(name, tmp_path, train=True), OriginalSet(name, tmp_path)
    assert len(train) == count
    assert len(set(train.ids)) == count
    assert train.classes == test.classes
    assert train.fingerprint() != test.fingerprint()
    if name != "flowers":  # of which one number is in both here, to be told from the others
        assert not set(train.ids) & set(test.ids)


def test_the_pets_have_masks(tmp_path: Path) -> None:
    pets(tmp_path)
    found = OriginalSet("pets", tmp_path)
    mask = found.mask(0)
    assert mask is not None
    assert mask.sum() == 100  # the border of the animal counts in
    assert found.mask(1) is None


@pytest.mark.parametrize("name", MAKERS)
def test_a_part_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"no folder {LAYOUTS[name].folder} here; nothing is"):
        OriginalSet(name, tmp_path)
    MAKERS[name](tmp_path)
    pictures = sorted(tmp_path.rglob("*.jpg"))
    ids = OriginalSet(name, tmp_path).ids
    gone = tmp_path / LAYOUTS[name].folder / ids[0]
    assert gone in pictures
    gone.unlink()
    with pytest.raises(UserError, match=f"{gone.name}: no such file .1 of {len(ids)} pictures"):
        OriginalSet(name, tmp_path)
    listed = [p for p in tmp_path.rglob("*") if p.suffix in (".txt", ".mat", ".json")]
    for path in listed:
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"no whole copy of {LAYOUTS[name].title}"):
        OriginalSet(name, tmp_path)


def test_other_names() -> None:
    assert set_of("cars-train:/data") == "cars"
    assert set_of("/data/pets") is None
    assert set_of("dogs:/data") is None
    with pytest.raises(UserError, match="give the folder that holds food-101"):
        pictures_of("food:")
