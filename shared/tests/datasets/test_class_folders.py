"""Class folders: what is read in which order, and what is refused."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from repro_shared.datasets.class_folders import (
    SCORED,
    TRAIN,
    ClassFolder,
    check,
    check_readable,
    check_same_classes,
    find_split,
)
from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.datasets.views import Seeded, batches, readable
from repro_shared.runtime.errors import UserError

FILES = (
    "n02/b.JPEG",
    "n02/a.png",
    "n01/c.bmp",
    "n10/d.webp",
    "n10/e.jpg",
    "n10/f.PNG",
    "n10/g.jpeg",
)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed)).save(path, format="PNG" if path.suffix == ".txt" else None)


def make(root: Path, files: tuple[str, ...] = FILES) -> Path:
    for seed, name in enumerate(files):
        save(root / name, seed)
    return root


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def test_order_classes_and_pixels(tmp_path: Path) -> None:
    root = make(tmp_path / "data" / "val").parent
    for stray in ("val/readme.txt", "val/n01/notes.txt", "val/n01/.hidden.png", "val/.git/x.png"):
        (root / stray).parent.mkdir(exist_ok=True)
        (root / stray).write_text("no image")
    folder = ClassFolder(root, "val")
    assert folder.classes == ("n01", "n02", "n10")
    assert [path.name for path in folder.paths] == [
        "c.bmp", "a.png", "b.JPEG", "d.webp", "e.jpg", "f.PNG", "g.jpeg"]  # fmt: skip
    assert folder.targets == (0, 1, 1, 2, 2, 2, 2)
    assert len(folder) == 7
    image, target = folder[1]
    assert (image.mode, target) == ("RGB", 1)
    assert np.array_equal(np.array(image), noise(FILES.index("n02/a.png")))
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(folder.paths[1])  # a gray image
    assert np.array(folder.read(1)).tolist() == np.full((4, 4, 3), 9).tolist()


def test_fingerprint_is_of_content_and_place_only(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    other = shutil.copytree(one, tmp_path / "other" / "val")
    (other / "notes.txt").write_text("not an image")
    mark = ClassFolder(one).fingerprint()
    assert ClassFolder(other.parent, "val").fingerprint() == mark
    save(other / "n02" / "a.png", seed=99)
    assert ClassFolder(other).fingerprint() != mark
    (one / "n02" / "a.png").rename(one / "n02" / "z.png")
    assert ClassFolder(one).fingerprint() != mark


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ((), "no such folder; give one that holds a folder a class"),
        (("a.png",), "has no class folders"),
        (("cat/a.png",), r"one class folder only \(cat\)"),
        (("cat/a.png", "dog/notes.txt"), r"class folder \S+dog has no images \(.*\)$"),
        (
            ("train/cat/a.png", "train/dog/a.png", "val/cat/a.png"),
            r"data holds splits \(train, val\): give the folder of one",
        ),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, files: tuple[str, ...], line: str) -> None:
    root = tmp_path / "data"
    for name in files:
        save(root / name)
    with pytest.raises(UserError, match=line):
        ClassFolder(root)


def test_classes_of_two_splits(tmp_path: Path) -> None:
    one = ClassFolder(make(tmp_path / "one"))
    other = ClassFolder(make(tmp_path / "other", ("n01/a.png", "n02/a.png", "n11/a.png")))
    check_same_classes(one, one)
    with pytest.raises(UserError, match=r"other lacks n10; .*one lacks n11"):
        check_same_classes(one, other)


def test_numbered_folders_are_in_natural_order(tmp_path: Path) -> None:
    # torchvision 714, timm 222: sorted as text, 10 and 11 come before 2.
    for number in range(12):
        save(tmp_path / str(number) / "a.png", number)
    folder = ClassFolder(tmp_path)
    assert folder.classes == tuple(map(str, range(12)))
    assert [path.parent.name for path in folder.paths] == [*folder.classes]
    assert folder.targets == (*range(12),)
    names = ("Zebra", "ant", "img10", "img9", "01", "1")
    mixed = ClassFolder(make(tmp_path / "mixed", tuple(f"{name}/a.png" for name in names)))
    assert mixed.classes == ("01", "1", "ant", "img9", "img10", "Zebra")  # as timm sorts them
    # The order is part of what is read; where it is the alphabet's, records of before hold.
    assert folder.fingerprint() != fingerprint_folder(tmp_path, folder.paths)
    plain = ClassFolder(make(tmp_path / "plain"))
    assert plain.fingerprint() == fingerprint_folder(tmp_path / "plain", plain.paths)


def test_images_below_a_class_are_read_and_others_counted(tmp_path: Path) -> None:
    # The tree in which timm finds six images and torchvision eight.
    images = ("cat/a.png", "cat/b.JPG", "cat/c.jpeg", "cat/indoors/d.png", "cat/indoors/e.png",
              "dog/f.png", "dog/g.tif", "dog/far/below/h.ppm")  # fmt: skip
    root = make(tmp_path, (*images, "loose.png"))
    for stray in ("cat/notes.txt", "dog/far/boxes.csv", "dog/LICENSE", "cat/.hidden/x.txt"):
        (root / stray).parent.mkdir(exist_ok=True)
        (root / stray).write_text("no image")
    folder = ClassFolder(root)
    assert [path.relative_to(root).as_posix() for path in folder.paths] == sorted(images)
    assert folder.targets == (0,) * 5 + (1,) * 3
    assert folder.counts() == (
        f"{root}: 2 classes, 8 images; passed over: 1 .png outside class folders, 1 .txt, "
        "1 without ending, 1 .csv"
    )
    assert folder.order() == "0 = cat, 1 = dog"
    assert np.array_equal(np.array(folder.read(7)), noise(6))  # the .tif


def test_a_class_map_numbers_the_folders(tmp_path: Path) -> None:
    root = make(tmp_path)
    folder = ClassFolder(root, class_map={"n10": 0, "n02": 4, "n03": 7, "n01": 9})
    assert (folder.classes, folder.numbers) == (("n10", "n02", "n03", "n01"), (0, 4, 7, 9))
    assert folder.targets == (0,) * 4 + (1,) * 2 + (3,)
    assert folder.order() == "0 = n10, 4 = n02, 7 = n03, 9 = n01"
    assert folder.counts() == f"{root}: 4 classes, 7 images, classes without images: 1"
    assert folder.fingerprint() != ClassFolder(root).fingerprint()
    shared = ClassFolder(root, class_map={"n01": 0, "n02": 0, "n10": 1})
    assert (shared.classes, shared.targets) == (("n01 / n02", "n10"), (0,) * 3 + (1,) * 4)
    same = ClassFolder(root, class_map={"n01": 0, "n02": 1, "n10": 2})
    assert same.fingerprint() == ClassFolder(root).fingerprint()
    with pytest.raises(UserError, match="the class map lacks n02, n10"):
        ClassFolder(root, class_map={"n01": 0})
    many = ClassFolder(root, class_map={f"n{n:02}": n for n in range(1000)})
    assert many.order() == ", ".join(f"{n} = n{n:02}" for n in range(11)) + ", ..., 999 = n999"


def test_names_in_another_encoding_can_be_printed(tmp_path: Path) -> None:
    root = make(tmp_path, ("a/a.png", os.fsdecode(b"caf\xe9/a.png")))
    folder = ClassFolder(root)
    assert folder.order() == "0 = a, 1 = caf\\udce9"
    check(root).encode()
    assert len(folder.fingerprint()) == 64


def test_usual_names_of_splits_are_found(tmp_path: Path) -> None:
    make(tmp_path, ("Train/cat/a.png", "valid/cat/a.png", "test/cat/a.png", "val/a.png"))
    assert find_split(tmp_path, TRAIN) == "Train"
    assert find_split(tmp_path, SCORED) == "valid"  # `val` has no class folders
    assert find_split(tmp_path / "nowhere", SCORED) == ""


def test_check_counts_each_split(tmp_path: Path) -> None:
    make(tmp_path / "train")
    make(tmp_path / "valid", ("n01/a.png", "n02/a.png", "n10/a.png"))
    first, details, second, further, order = check(tmp_path).splitlines()
    mark = ClassFolder(tmp_path, "train").fingerprint()
    assert first == f"{tmp_path / 'train'}: 3 classes, 7 images"
    assert details == f"  all readable, 1 (n01) to 4 (n10) a class, sha256 {mark}"
    assert second == f"{tmp_path / 'valid'}: 3 classes, 3 images"
    assert further.startswith("  all readable, 1 (n01) to 1 (n01) a class")
    assert order == "classes: 0 = n01, 1 = n02, 2 = n10"
    assert check(tmp_path / "valid").startswith(f"{tmp_path / 'valid'}: 3 classes")
    # A folder `train` that holds images is a class: of vehicles, say.
    make(tmp_path / "vehicles", ("train/a.png", "bus/a.png"))
    assert check(tmp_path / "vehicles").startswith(f"{tmp_path / 'vehicles'}: 2 classes")
    shutil.rmtree(tmp_path / "valid" / "n10")
    with pytest.raises(UserError, match="valid lacks n10"):
        check(tmp_path)


def test_check_names_unreadable_files(tmp_path: Path) -> None:
    make(tmp_path)
    damaged = tmp_path / "n10" / "f.PNG"
    damaged.write_bytes(damaged.read_bytes()[:60])
    (tmp_path / "n02" / "a.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"2 of 7 images cannot be read: .*a\.png: empty.*f\.PNG: trunc"
    ):
        check(tmp_path)
    with pytest.raises(UserError, match="2 of 7 images cannot be read"):
        check_readable([ClassFolder(tmp_path)], threads=3)


def test_batches_are_the_folder_in_order(tmp_path: Path) -> None:
    folder = ClassFolder(make(tmp_path))
    loader = batches(folder, Seeded(to_tensor), batch_size=3, workers=2)
    assert [len(targets) for _, targets in loader] == [3, 3, 1]
    assert len(loader) == 3
    for _ in range(2):  # it can be gone through again
        images, targets = (torch.cat(part) for part in zip(*loader, strict=True))
        assert targets.tolist() == [0, 1, 1, 2, 2, 2, 2]
        for image, path in zip(images, folder.paths, strict=True):
            with Image.open(path) as opened:
                assert torch.equal(image, to_tensor(opened.convert("RGB")))


def test_a_broken_file_among_batches_is_one_line(tmp_path: Path) -> None:
    folder = ClassFolder(make(tmp_path))
    folder.paths[4].write_bytes(hashlib.sha256(b"noise").digest())
    loader = readable(batches(folder, Seeded(to_tensor), batch_size=3, workers=2))
    next(loader)
    with pytest.raises(
        UserError, match=r"^\S+e\.jpg: not an 8- or 16-bit PNG, JPEG, WEBP, BMP, TIFF or PPM image$"
    ):
        next(loader)
