"""Forms of folders: which images and label maps belong together, and what is passed over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.runtime.errors import UserError
from seg_kd.use.data import LabelMaps
from seg_kd.use.formats import changed, find_form, list_pairs

IDS = np.array([[7, 8, 0, 33], [3, 26, 11, 255]], np.uint8)


def write(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image.putpalette(list(range(256)) * 3)
    image.save(path)


def picture(values: np.ndarray = IDS) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def cityscapes(root: Path) -> None:
    """One training frame in each of two cities, with the files that come beside."""
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "lindau")):
        frame = f"{city}_000000_000019"
        write(root / f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png", picture())
        gt = root / f"gtFine/{split}/{city}"
        write(gt / f"{frame}_gtFine_labelIds.png", IDS)
        write(gt / f"{frame}_gtFine_instanceIds.png", IDS)
        write(gt / f"{frame}_gtFine_color.png", picture())
        (gt / f"{frame}_gtFine_polygons.json").write_text("{}")


def ade20k(root: Path) -> None:
    for split in ("training", "validation"):
        write(root / f"images/{split}/ADE_{split}_1.jpg", picture())
        write(root / f"annotations/{split}/ADE_{split}_1.png", np.array([[0, 1, 2, 150]] * 2))


def voc(root: Path) -> None:
    for name in ("2007_2", "2007_1", "2008_3", "2008_4"):
        write(root / f"JPEGImages/{name}.jpg", picture())
    for name in ("2007_2", "2007_1", "2008_3"):
        write(root / f"SegmentationClass/{name}.png", np.array([[0, 15, 255, 2]] * 2), palette=True)
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_2\n2007_1\n\n")
    (lists / "val.txt").write_text("2008_3\r\n")


def mmseg(root: Path) -> None:
    for split in ("train", "val"):
        write(root / f"img_dir/{split}/a/1.tif", picture())
        write(root / f"ann_dir/{split}/a/1.png", np.array([[0, 1, 1, 0]] * 2))


def split_first(root: Path) -> None:
    for split in ("train", "val"):
        write(root / f"{split}/images/1.bmp", picture())
        write(root / f"{split}/masks/1.png", np.array([[0, 1, 1, 0]] * 2))


@pytest.mark.parametrize(
    ("make", "classes", "names", "labels", "passed_over"),
    [
        (
            cityscapes, 19, ["aachen/aachen_000000_000019", "bochum/bochum_000000_000019"],
            [[0, 1, 255, 18], [255, 13, 2, 255]], "2 .json, 4 .png of other names",
        ),
        (ade20k, 150, ["ADE_training_1"], [[255, 0, 1, 149]] * 2, "nothing"),
        (voc, 21, ["2007_1", "2007_2"], [[0, 15, 255, 2]] * 2, "2 images that the list lacks"),
        (mmseg, 0, ["a/1"], [[0, 1, 1, 0]] * 2, "nothing"),
        (split_first, 0, ["1"], [[0, 1, 1, 0]] * 2, "nothing"),
    ],
)  # fmt: skip
def test_public_forms_are_found_and_read(
    tmp_path: Path,
    make: Callable[[Path], None],
    classes: int,
    names: list[str],
    labels: list[list[int]],
    passed_over: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path)
    form = find_form(tmp_path)
    name = "split/masks" if make is split_first else make.__name__
    assert (form.name, form.num_classes) == (name, classes)
    listing = list_pairs(tmp_path, form, "train")
    assert [pair.name for pair in listing.pairs] == names
    assert (
        listing.sentence()
        == f"{len(names)} image{'s' * (len(names) > 1)}; passed over: {passed_over}"
    )
    source = LabelMaps("x", tuple(map(str, range(classes or 2))), absent=True)
    data = source.open(tmp_path)
    assert data.train[0][1].tolist() == labels
    assert data.train.sizes == ((2, 4),) * len(names)
    assert len(data.test) == 1
    assert f"train ({form.name}): {listing.sentence()}\n" in capsys.readouterr().err


def test_train_ids_of_cityscapes_are_classes(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    for path in list(tmp_path.rglob("*_gtFine_labelIds.png")):
        write(path.with_name(path.name.replace("labelIds", "labelTrainIds")), IDS % 19)
    form = changed(find_form(tmp_path), label_suffix="_gtFine_labelTrainIds.png")
    source = LabelMaps("x", tuple(map(str, range(19))), absent=True, form=form)
    np.testing.assert_array_equal(source.open(tmp_path).train[0][1], IDS % 19)


def test_folders_in_folders_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    # One image beside a folder of three: all four belong to the set.
    names = ["f0", "seq1/f0", "seq1/f1", "seq1/deeper/f2"]
    for name in names:
        write(tmp_path / f"images/train/{name}.png", picture())
        write(tmp_path / f"labels/train/{name}.png", IDS)
    write(tmp_path / "images/train/.ipynb_checkpoints/f0-checkpoint.png", picture())
    (tmp_path / "images/train/.DS_Store").touch()
    (tmp_path / "labels/train/seq1/README").touch()
    (tmp_path / "labels/train/notes.TXT").touch()
    (tmp_path / "images/train/again").symlink_to(tmp_path / "images/train")  # without end
    listing = list_pairs(tmp_path, find_form(tmp_path), "train")
    assert [pair.name for pair in listing.pairs] == sorted(names)
    assert listing.passed_over == {"hidden": 2, ".txt": 1, "files without an ending": 1}


@pytest.mark.parametrize(("image", "label"), [("_rgb", "_mask"), ("_rgb.png", "_mask.png")])
def test_suffixes(tmp_path: Path, image: str, label: str) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"images/train/{name}_rgb.png", picture())
        write(tmp_path / f"images/train/{name}_depth.png", picture())
        write(tmp_path / f"labels/train/{name}_mask.png", IDS)
    form = changed(find_form(tmp_path), image, label)
    assert [pair.name for pair in list_pairs(tmp_path, form, "train").pairs] == ["a", "b"]


def labelled(root: Path) -> None:
    for kind, values in (("images", picture()), ("labels", IDS)):
        write(root / kind / "train" / "a.png", values)
        write(root / kind / "train" / "b.png", values)


def unlink(path: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / path) if path.endswith("n") else (root / path).unlink()


def suffixed(root: Path) -> None:
    for name in "ab":
        path = root / "labels/train" / f"{name}.png"
        path.rename(path.with_stem(f"{name}_mask"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder; give the folder of the data set"),
        (
            lambda root: shutil.rmtree(root / "labels"),
            r"known form: cityscapes: leftImg8bit/.*labels/",
        ),
        (unlink("images/train"), "images/train: no such folder"),
        (unlink("labels/train"), "labels/train: no such folder"),
        (lambda root: [p.unlink() for p in root.glob("images/*/*")], "train: holds no image"),
        (lambda root: [p.unlink() for p in root.glob("labels/*/*")], "train: holds no image"),
        (unlink("labels/train/b.png"), r"images/train/b.png: image without label map.*1 of 2"),
        (unlink("images/train/a.png"), r"labels/train/a.png: label map without image.*1 of 2"),
        (
            lambda root: shutil.copy(root / "images/train/a.png", root / "images/train/a.jpg"),
            "a.png: same name as a.jpg",
        ),
        (suffixed, r"2 of 2 images lack one\); perhaps --label-suffix _mask$"),
    ],
)
def test_folders_that_are_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    labelled(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        list_pairs(tmp_path / "set", find_form(tmp_path / "set"), "train")


def test_a_split_that_is_not_there_is_told_from_those_that_are(tmp_path: Path) -> None:
    labelled(tmp_path / "set")
    with pytest.raises(UserError, match=r"images/val: no such folder; splits found: train\. Name"):
        list_pairs(tmp_path / "set", find_form(tmp_path / "set"), "val", ". Name")
    split_first(tmp_path / "first")
    with pytest.raises(UserError, match="test/images: no such folder; splits found: train, val"):
        list_pairs(tmp_path / "first", find_form(tmp_path / "first"), "test")
    voc(tmp_path / "voc")
    with pytest.raises(UserError, match=r"test.txt: no such list; splits found: train, val"):
        list_pairs(tmp_path / "voc", find_form(tmp_path / "voc"), "test")
    (tmp_path / "voc/ImageSets/Segmentation/val.txt").write_text("2008_3\n2008_4\n")
    with pytest.raises(UserError, match=r"2008_4 is not in .*SegmentationClass \(1 of 2 are not"):
        list_pairs(tmp_path / "voc", find_form(tmp_path / "voc"), "val")
