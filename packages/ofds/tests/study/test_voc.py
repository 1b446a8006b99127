"""Pascal VOC's study on a folder made here: two steps of Faster R-CNN from end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ofds.method.budget import Budget
from ofds.study.annotations import targets
from ofds.study.detection_voc import (
    DescribeImages,
    DetectVoc,
    by_annotators,
    describe_images,
    detect_voc,
    mirrored,
)
from ofds.study.detection_voc_recipes import detection_voc
from ofds.study.voc import BACKBONE, Voc
from ofds.train import Training
from ofds.use.mean_ap import mean_ap
from repro_shared.runtime.errors import UserError
from repro_shared.study.paper import Arm, Context, Start

XML = """<annotation><filename>{name}.jpg</filename><size><width>60</width><height>40</height>
<depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin>
<ymin>{y}</ymin><xmax>{right}</xmax><ymax>{down}</ymax></bndbox></object>"""
CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photographs in `train`, two in `val`; proposals on all ten but one."""
    root = tmp_path_factory.mktemp("voc")
    voc, generator = root / "VOC2012", np.random.default_rng(0)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (voc / part).mkdir(parents=True)
    names = [f"2008_{place:06d}" for place in range(10)]
    results, images = list[dict[str, Any]](), list[dict[str, Any]]()
    for place, name in enumerate(names):
        picture = generator.integers(0, 255, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(picture).save(voc / "JPEGImages" / f"{name}.jpg")
        label, x = place % 2, 4 + place
        whole = OBJECT.format(label=CLASSES[label], x=x, y=5, right=x + 20, down=30)
        (voc / "Annotations" / f"{name}.xml").write_text(XML.format(name=name, objects=whole))
        images.append({"id": place + 1, "file_name": f"{name}.jpg", "width": 60, "height": 40})
        if place:
            results.append({"image_id": place + 1, "category_id": label + 1, "score": 0.9,
                            "bbox": [x, 5, 20, 25]})  # fmt: skip
    (voc / "ImageSets/Main/train.txt").write_text("\n".join(names[:8]) + "\n")
    (voc / "ImageSets/Main/val.txt").write_text("\n".join(names[8:]) + "\n")
    pool = root / "pool"
    pool.mkdir()
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
    (pool / "images.json").write_text(json.dumps({"images": images, "categories": categories}))
    columns: dict[str, Any] = {
        "image": np.array([r["image_id"] - 1 for r in results]),
        "label": np.array([r["category_id"] - 1 for r in results]),
        "score": np.full(9, 0.9, np.float32),
        "box": np.array([r["bbox"] for r in results], np.float32),
        "area": np.full(9, 500, np.float32),
    }
    np.savez(pool / "proposals.npz", **columns)
    np.save(pool / "features.npy", generator.normal(size=(9, 16)).astype(np.float16))
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), root / BACKBONE)
    return root


def test_what_is_read(folder: Path) -> None:
    assert Voc().missing(folder) == []
    assert len(Voc().missing(None)) == 1
    opened = Voc().open(folder)
    assert len(opened.train) == 8
    assert len(opened.test) == 2
    assert opened.train.classes == CLASSES
    assert opened.train.box[0].tolist() == [3, 4, 21, 26]  # VOC counts from 1, ends included
    found = opened.proposed()
    assert found.image.tolist() == list(range(1, 8))  # none on the first, none of `val`
    assert opened.read(opened.train, 0).shape == (40, 60, 3)
    assert opened.fingerprint == Voc().open(folder).fingerprint


def test_difficult_objects_are_neither_paid_nor_scored_nor_learned(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in ("2008_000002", "2008_000008"):  # of train and of val
        file = copy / "VOC2012/Annotations" / f"{name}.xml"
        hard = OBJECT.format(label="dog", x=41, y=21, right=50, down=30).replace(">0<", ">1<")
        file.write_text(file.read_text().replace("</annotation>", f"{hard}</annotation>"))
    plain, opened = Voc().open(folder), Voc().open(copy)
    assert opened.train.box.tolist() == plain.train.box.tolist()
    assert opened.fingerprint != plain.fingerprint
    made = targets(by_annotators(opened, [1, 2]), 0.4)
    assert [len(each["boxes"]) for each in made] == [1, 1]
    assert [each["ignored"].tolist() for each in made] == [[], [[40, 20, 50, 30]]]
    assert opened.scored.crowd.tolist() == [False, False, True]
    truth = opened.scored
    found = SimpleNamespace(image=truth.image, label=truth.label, box=truth.box,
                            score=np.array([0.5, 0.5, 0.9]))  # fmt: skip
    assert mean_ap(truth, found, 2, 2).ap50 == pytest.approx([100, 100])
    missed = SimpleNamespace(**{name: getattr(found, name)[:2] for name in vars(found)})
    assert mean_ap(truth, missed, 2, 2).ap50 == pytest.approx([100, 100])


def test_missing_parts_are_named(tmp_path: Path) -> None:
    assert any("pool/proposals.npz" in each for each in Voc().missing(tmp_path))


def test_a_listed_image_without_annotation_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "VOC2012/Annotations/2008_000003.xml").unlink()
    with pytest.raises(UserError, match="1 images of train are missing"):
        Voc().open(copy)


def test_two_steps_from_end_to_end(folder: Path, tmp_path: Path) -> None:
    opened, starts = Voc().open(folder), tuple[Start, ...]()
    (tmp_path / "a").mkdir()
    describe = Arm("images", DescribeImages(), describe_images, seed=0)
    describe_images(describe.config, Context(opened, 0, "cpu", tmp_path / "a", "k", "images"))
    starts = (Start(describe, tmp_path / "a"),)
    made = Training(2, batch_size=2, optimiser="SGD", learning_rate=1e-3)
    config = DetectVoc(made, "OFDS", Budget(4.0), autolabels=0.5, backbone="resnet18",
                       min_size=40, max_size=60)  # fmt: skip
    (tmp_path / "b").mkdir()
    found = detect_voc(config, Context(opened, 0, "cpu", tmp_path / "b", "k", "detect", starts))
    assert found.metrics["objects"] == 4
    assert found.metrics["covered"] == 2
    assert found.samples == 4
    assert 0 <= found.metrics["ap50"] <= 100


def test_mirrored_boxes() -> None:
    target = {"boxes": torch.tensor([[2.0, 1.0, 5.0, 4.0]]), "ignored": torch.zeros(0, 4)}
    assert mirrored(target, 10)["boxes"].tolist() == [[5, 1, 8, 4]]


def test_recipe() -> None:
    study = detection_voc("paper")
    assert study.name == "detection_voc"
    assert len({arm.id for arm in study.arms}) == len(study.arms)
