"""Class folders: what is read in which order, and what is refused."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from repro_shared.datasets.class_folders import ClassFolder, check, check_same_classes
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
            "train has no images .*of one split",
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


def test_check_counts_each_split(tmp_path: Path) -> None:
    make(tmp_path / "train")
    make(tmp_path / "val", ("n01/a.png", "n02/a.png", "n10/a.png"))
    first, second = check(tmp_path).splitlines()
    mark = ClassFolder(tmp_path, "train").fingerprint()
    assert first == (
        f"train: 3 classes, 7 images, 1 (n01) to 4 (n10) a class, all readable, sha256 {mark}"
    )
    assert second.startswith("val: 3 classes, 3 images, 1 (n01) to 1 (n01) a class")
    assert check(tmp_path / "val").startswith("all: 3 classes")
    # A folder `train` that holds images is a class: of vehicles, say.
    make(tmp_path / "vehicles", ("train/a.png", "bus/a.png"))
    assert check(tmp_path / "vehicles").startswith("all: 2 classes")
    shutil.rmtree(tmp_path / "val" / "n10")
    with pytest.raises(UserError, match="val lacks n10"):
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
