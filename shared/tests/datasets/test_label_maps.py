"""The label-map folder: what it reads, and one clear line for each thing that can be wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.datasets.label_maps import LabelMapFolder
from repro_shared.runtime.errors import UserError

RNG = np.random.default_rng(0)
NAMES = ("seq1_a", "seq1_b", "seq2_a")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three 7 x 5 images of classes 0 to 3; 11 is not labelled."""
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind / "train").mkdir(parents=True)
    for name in NAMES:
        write(tmp_path / "set", "images", name, RNG.integers(0, 256, (7, 5, 3)))
        write(tmp_path / "set", "labels", name, RNG.choice([0, 1, 2, 3, 11], (7, 5)))
    return tmp_path / "set"


def write(root: Path, kind: str, name: str, pixels: np.ndarray) -> Path:
    path = root / kind / "train" / f"{name}.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def open_set(root: Path, **options: object) -> LabelMapFolder:
    return LabelMapFolder(root, "train", 4, **{"ignore_values": (11,), **options})


def test_reads_pairs_in_order_of_names(root: Path) -> None:
    (root / "images" / "train" / ".hidden.png").touch()
    (root / "images" / "train" / "README.txt").touch()
    data = open_set(root)
    data.check()
    assert data.names == NAMES
    assert len(data) == len(list(data)) == 3
    for name, (image, label) in zip(NAMES, data, strict=True):
        np.testing.assert_array_equal(image, Image.open(root / "images/train" / f"{name}.png"))
        values = np.asarray(Image.open(root / "labels/train" / f"{name}.png"))
        np.testing.assert_array_equal(label, np.where(values == 11, 255, values))
        assert image.dtype == label.dtype == np.uint8
    np.testing.assert_array_equal(data[-1][0], data[2][0])


def test_jpeg_images(root: Path) -> None:
    folder = root / "images" / "train"
    Image.open(folder / "seq1_a.png").save(folder / "seq1_a.JPG", "JPEG")
    (folder / "seq1_a.png").unlink()
    data = open_set(root)
    assert data[0][0].shape == (7, 5, 3)


def test_subset_by_name(root: Path) -> None:
    data = open_set(root)
    part = data.subset(lambda name: name.startswith("seq1"))
    assert part.names == ("seq1_a", "seq1_b")
    assert data.names == NAMES
    np.testing.assert_array_equal(part[1][1], data[1][1])
    assert part.fingerprint() != data.fingerprint()
    # Bad files outside the subset do not matter to it.
    (root / "labels/train/seq2_a.png").write_bytes(b"")
    part.check()
    with pytest.raises(UserError, match="no image of split 'train' has a wanted name"):
        data.subset(lambda name: False)


def test_fingerprint(root: Path, tmp_path: Path) -> None:
    reference = open_set(root).fingerprint()
    copy = shutil.copytree(root, tmp_path / "copy")
    assert open_set(copy).fingerprint() == reference
    assert open_set(root, ignore_values=(11, 255)).fingerprint() != reference
    write(copy, "labels", "seq1_a", np.zeros((7, 5)))
    assert open_set(copy).fingerprint() != reference


def test_a_relative_folder_is_the_same_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_set(root).fingerprint()
    monkeypatch.chdir(root.parent)
    data = open_set(Path(root.name))
    data.check()
    assert data.fingerprint() == expected
    monkeypatch.chdir(root)
    assert open_set(Path("../set")).fingerprint() == expected


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / path) if path.endswith("n") else (root / path).unlink()


def empty(kind: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        for path in (root / kind / "train").iterdir():
            path.unlink()

    return damage


def twin(root: Path) -> None:
    shutil.copy(root / "images/train/seq1_a.png", root / "images/train/seq1_a.jpg")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "set: no such folder; give the folder of the data set"),
        (remove("images/train"), "images/train: no such folder"),
        (remove("labels/train"), "labels/train: no such folder"),
        (empty("images"), "images/train: holds no image"),
        (empty("labels"), "labels/train: holds no image"),
        (remove("labels/train/seq1_b.png"), r"images/train/seq1_b.png: image without label map.*1"),
        (remove("images/train/seq2_a.png"), r"labels/train/seq2_a.png: label map without image.*1"),
        (twin, "seq1_a.png: same name as seq1_a.jpg"),
    ],
)
def test_folders_that_are_refused(root: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(root)
    with pytest.raises(UserError, match=message):
        open_set(root)


def truncate(kind: str) -> Callable[[Path], None]:
    shape = (99, 99, 3) if kind == "images" else (99, 99)

    def damage(root: Path) -> None:
        path = write(root, kind, "seq1_b", RNG.integers(0, 256, shape))
        path.write_bytes(path.read_bytes()[:5000])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate("images"), "images/train/seq1_b.png: truncated or damaged"),
        (truncate("labels"), "labels/train/seq1_b.png: truncated or damaged"),
        (
            lambda root: write(root, "labels", "seq1_b", np.full((7, 5), 4)),
            r"labels/train/seq1_b.png: value 4 \(35 pixels\) is neither a class \(0 to 3\) nor "
            r"ignored \(11\)",
        ),
        (
            lambda root: write(root, "labels", "seq1_b", np.full((7, 5), 255)),
            "seq1_b.png: value 255",
        ),
        (
            lambda root: write(root, "labels", "seq1_b", np.zeros((5, 7))),
            "seq1_b.png: label map is 7 x 5 pixels, its image 5 x 7",
        ),
        (
            lambda root: write(root, "labels", "seq1_b", np.zeros((7, 5, 3))),
            "seq1_b.png: label map is a colour image",
        ),
        (
            lambda root: (root / "images/train/seq1_b.png").write_bytes(b""),
            "images/train/seq1_b.png: empty file",
        ),
        (
            lambda root: (root / "labels/train/seq1_b.png").write_bytes(b""),
            "labels/train/seq1_b.png: empty file",
        ),
    ],
)
def test_bad_files_are_named_when_read_and_when_checked(
    root: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(root)
    data = open_set(root)
    assert len(data[0]) == 2
    with pytest.raises(UserError, match=message):
        data[1]
    with pytest.raises(UserError, match=f"1 of 3 images cannot be used: .*{message}") as caught:
        data.check()
    assert "\n" not in str(caught.value)


def test_check_names_all_and_explains_ten(root: Path) -> None:
    for i in range(20):
        write(root, "images", f"x{i:02}", np.zeros((7, 5, 3)))
        write(root, "labels", f"x{i:02}", np.full((7, 5), 9))
    data = open_set(root)
    with pytest.raises(UserError, match=r"20 of 23 .*x00\.png.*x09\.png") as caught:
        data.check()
    line = str(caught.value)
    others = ", ".join(f"x{i}" for i in range(10, 20))
    assert line.endswith(f"; and 10 more: {others}")
    assert line.count("value 9") == 10
    assert "seq" not in line.partition("cannot be used")[2]  # the sound ones


@pytest.mark.parametrize(
    ("num_classes", "ignore_values", "message"),
    [
        (0, (255,), "number of classes must be 1 to 255"),
        (256, (255,), "number of classes must be 1 to 255"),
        (4, (3,), "ignore value 3 must be above the classes 0 to 3"),
        (4, (256,), "at most 255"),
    ],
)
def test_classes_and_ignored_values_are_checked(
    root: Path, num_classes: int, ignore_values: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        LabelMapFolder(root, "train", num_classes, ignore_values)
