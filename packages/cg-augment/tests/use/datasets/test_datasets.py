"""Each data set in its original layout, and what may be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cg_augment.use.datasets.celeba import celeba
from cg_augment.use.datasets.elpv import elpv
from cg_augment.use.datasets.generated import generated
from cg_augment.use.datasets.spuco_birds import spuco_birds
from cg_augment.use.datasets.spurious_imagenet import (
    read_class_index,
    read_class_names,
    spurious_imagenet,
)
from repro_shared.runtime.errors import UserError


def image(path: Path, value: int = 100, size: tuple[int, int] = (12, 15)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


# Name, blond, male, split: two of each group in training, one in test.
FACES = [
    (f"{number + 1:06d}.jpg", blond, male, part)
    for number, (blond, male, part) in enumerate(
        [(b, m, p) for b in (-1, 1) for m in (-1, 1) for p in (0, 0, 1, 2)]
    )
]


def faces(root: Path, form: str) -> Path:
    images = {"kaggle": "img_align_celeba/img_align_celeba", "wilds": "img_align_celeba",
              "authors": "Img/img_align_celeba", "torchvision": "img_align_celeba"}  # fmt: skip
    for name, blond, _, _ in FACES:
        image(root / images[form] / name, 100 + 50 * blond, (178, 218))
    header = ["5_o_Clock_Shadow", "Blond_Hair", "Male", "Young"]
    rows = [(name, [-1, blond, male, 1]) for name, blond, male, _ in FACES]
    parts = [(name, part) for name, _, _, part in reversed(FACES)]  # in another order
    if form in ("kaggle", "wilds"):
        lines = [",".join(["image_id", *header])]
        lines += [",".join([name, *map(str, row)]) for name, row in rows]
        (root / "list_attr_celeba.csv").write_text("\n".join(lines) + "\n")
        lines = ["image_id,partition", *(f"{name},{part}" for name, part in parts)]
        (root / "list_eval_partition.csv").write_text("\n".join(lines) + "\n")
        return root
    for place in ("Anno", "Eval") if form == "authors" else ():
        (root / place).mkdir()
    places = ("Anno", "Eval") if form == "authors" else ("", "")
    lines = [str(len(rows)), " ".join(header) + " "]
    lines += [f"{name} " + " ".join(f"{value:2d}" for value in row) for name, row in rows]
    (root / places[0] / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{name} {part}" for name, part in parts]
    (root / places[1] / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("form", ["kaggle", "wilds", "authors", "torchvision"])
def test_celeba_in_every_layout(tmp_path: Path, form: str) -> None:
    found = celeba(faces(tmp_path, form), "train")
    assert found.pictures.classes == ("not blond hair", "blond hair")
    assert found.names == (
        "not blond hair/not male", "not blond hair/male", "blond hair/not male", "blond hair/male",
    )  # fmt: skip
    assert found.sizes == (2, 2, 2, 2)
    assert celeba(tmp_path, "val").sizes == celeba(tmp_path, "test").sizes == (1, 1, 1, 1)
    for index in range(8):
        name = found.pictures.name(index)
        _, blond, male, part = next(row for row in FACES if row[0] == name)
        assert found.pictures.targets[index] == (blond == 1)
        assert found.groups[index] == 2 * (blond == 1) + (male == 1)
        assert part == 0
        assert found.pictures.read(index).shape == (218, 178, 3)


def test_a_removed_group_of_celeba(tmp_path: Path) -> None:
    found = celeba(faces(tmp_path, "wilds"), "train").without(["blond hair/male"])
    assert found.sizes == (2, 2, 2, 0)
    with pytest.raises(UserError, match="no group 'blond men': not blond hair/not male"):
        found.without(["blond men"])
    with pytest.raises(UserError, match=r"without blond hair/.*: no pictures of blond hair"):
        found.without(["blond hair/not male", "blond hair/male"])


def test_celeba_that_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CelebA here"):
        celeba(tmp_path, "train")
    root = faces(tmp_path, "wilds")
    with pytest.raises(UserError, match="no attribute 'Bald'"):
        celeba(root, "train", "Bald")
    (root / "img_align_celeba" / FACES[0][0]).unlink()
    with pytest.raises(UserError, match=r"lacks 1 images of train: 000001.jpg"):
        celeba(root, "train")
    attributes = root / "list_attr_celeba.csv"
    attributes.write_text(attributes.read_text().replace("000002.jpg,-1,-1", "000002.jpg,-1,7"))
    image(root / "img_align_celeba" / FACES[0][0])
    with pytest.raises(UserError, match="attributes are 1 and -1, not 7"):
        celeba(root, "train")


def test_spuco_birds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"landbirds/land": 4, "landbirds/water": 1, "waterbirds/land": 1, "waterbirds/water": 3}
    for name, count in sizes.items():
        for number in range(count):
            image(tmp_path / "spuco_birds" / "train" / name / f"{number}.jpg")
    found = spuco_birds(tmp_path, "train")
    assert found.names == tuple(sizes)
    assert found.sizes == (4, 1, 1, 3)
    assert found.pictures.targets.tolist() == [0] * 5 + [1] * 4
    assert "the published set has (10000, 500, 500, 10000)" in capsys.readouterr().err
    assert spuco_birds(tmp_path / "spuco_birds", "train").fingerprint() == found.fingerprint()
    assert found.without(["landbirds/water", "waterbirds/land"]).sizes == (4, 0, 0, 3)
    with pytest.raises(UserError, match=r"test/landbirds/land: no such folder; SpuCo Birds has"):
        spuco_birds(tmp_path, "test")


def spurious(root: Path) -> Path:
    for folder, count in (("spurious_imagenet_99_component_3", 2), ("x_y_7_1", 1)):
        for number in range(count):
            image(root / "spurious_imagenet" / "images" / folder / f"{number}.jpg")
    (root / "spurious_imagenet" / "images" / "timestamp.txt").write_text("1\n")
    return root


def test_spurious_imagenet(tmp_path: Path) -> None:
    for wnid, count in (("n01514668", 2), ("n01855672", 3), ("n01440764", 1)):
        for number in range(count):
            image(tmp_path / "val" / wnid / f"ILSVRC2012_val_{number:08d}.JPEG")
    index = {"0": ["n01440764", "tench"], "7": ["n01514668", "cock"], "99": ["n01855672", "goose"]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    classes = read_class_index(tmp_path / "index.json")
    found = spurious_imagenet(spurious(tmp_path), tmp_path / "val", classes)
    assert found.classes == (7, 99)
    assert sorted(found.spurious.targets.tolist()) == [7, 99, 99]
    assert sorted(found.components.tolist()) == [1, 3, 3]
    assert sorted(found.validation.targets.tolist()) == [7, 7, 99, 99, 99]
    with pytest.raises(UserError, match="has 3 class folders: without all 1000"):
        spurious_imagenet(tmp_path, tmp_path / "val")
    other = {"n01440764": 0, "n01514668": 8, "n01855672": 99}
    with pytest.raises(UserError, match="no validation images of class 7"):
        spurious_imagenet(tmp_path, tmp_path / "val", other)


def test_a_folder_whose_name_has_no_class(tmp_path: Path) -> None:
    image(tmp_path / "images" / "class_tench" / "0.jpg")
    with pytest.raises(UserError, match="class_tench: the third part of the name"):
        spurious_imagenet(tmp_path, tmp_path, {})
    (tmp_path / "index.json").write_text("[1]")
    with pytest.raises(UserError, match=r"index\.json: no class index"):
        read_class_index(tmp_path / "index.json")


def test_names_of_the_classes_of_imagenet(tmp_path: Path) -> None:
    index = {str(n): [f"n{n:08d}", f"great_thing_{n}"] for n in range(1000)}
    (tmp_path / "index.json").write_text(json.dumps(index))
    names = read_class_names(tmp_path / "index.json")
    assert (len(names), names[0], names[999]) == (1000, "great thing 0", "great thing 999")
    del index["7"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"index\.json has 999 classes: a teacher that knows"):
        read_class_names(tmp_path / "index.json")


def test_elpv(tmp_path: Path) -> None:
    lines = []
    for number in range(32):
        place = image(tmp_path / "images" / f"cell{number:04d}.png").relative_to(tmp_path)
        lines.append(
            f"{place}  {(0, 1 / 3, 2 / 3, 1)[number % 4]:.16f}  {['mono', 'poly'][number % 8 // 4]}"
        )
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    train, test = elpv(tmp_path, "train"), elpv(tmp_path, "test")
    assert train.sizes == (6, 6, 6, 6)
    assert test.sizes == (2, 2, 2, 2)
    names = [{each.pictures.name(i) for i in range(len(each.pictures))} for each in (train, test)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 32
    (tmp_path / "labels.csv").write_text(lines[0] + "\nimages/cell0001.png 0.5\n")
    with pytest.raises(UserError, match="line 2: needs file, probability and mono or poly"):
        elpv(tmp_path, "train")


def test_elpv_without_package_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cg_augment.use.datasets.elpv.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cg-augment\[elpv\]'"):
        elpv(None, "train")
    with pytest.raises(UserError, match=r"labels\.csv: no such file"):
        elpv(tmp_path, "train")


def written(root: Path, records: list[dict[str, object]], torn: str = "") -> Path:
    root.mkdir(exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (root / "metadata.jsonl").write_text(lines + torn)
    return root


def test_generated_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/left.png"):
        image(tmp_path / name)
    records: list[dict[str, object]] = [
        {"file_name": "cat/0.png", "seed": 1, "accepted": True},
        {"file_name": "cat/1.png", "accepted": "duplicate of cat/0.png"},
        {"file_name": "dog/0.png"},
    ]
    found = generated(written(tmp_path, records, torn='{"file_name": "dog/1'), ("dog", "cat"))
    assert [found.name(index) for index in range(len(found))] == ["cat/0.png", "dog/0.png"]
    assert found.targets.tolist() == [1, 0]
    assert "1 image files that metadata.jsonl does not name" in capsys.readouterr().err
    assert np.array_equal(found.read(0), np.full((15, 12, 3), 100, np.uint8))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"file_name": "../cat/0.png"}, "is no CLASS/FILE below the folder"),
        ({"file_name": "/etc/0.png"}, "is no CLASS/FILE below the folder"),
        ({"file_name": "0.png"}, "is no CLASS/FILE below the folder"),
        ({"file_name": "cat/7.png"}, "lacks 1 images of metadata.jsonl, such as cat/7.png"),
        ({"file_name": "cow/0.png"}, "has cow, which the student does not know"),
        ({"file": "cat/0.png"}, "line 1: damaged"),
        ({"file_name": "cat/0.png", "accepted": "blank"}, "no image was accepted, of 1"),
    ],
)
def test_generated_images_that_cannot_be_used(tmp_path: Path, record: dict, said: str) -> None:
    image(tmp_path / "g" / "cow" / "0.png")
    with pytest.raises(UserError, match=said):
        generated(written(tmp_path / "g", [record]), ("cat",))


def test_no_metadata(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a folder that `cg-augment generate` wrote"):
        generated(tmp_path, ("cat",))
