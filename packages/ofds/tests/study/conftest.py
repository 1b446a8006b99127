"""Folders of the same form as the data sets that users bring, made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks are so small here that threads would only wait for each other."""
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs of 64 x 48 in the form of Pascal VOC; one has a box of zero size."""
    root, g = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    names = [f"cell_{n:02d}" for n in range(12)]
    for n, name in enumerate(names):
        picture = g.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(picture).save(root / "JPEGImages" / f"{name}.jpg")
        found = [("RBC", 1, 1, 32, 24), ("WBC", 33, 25, 64, 48)]
        found += [("Platelets", 5, 5, 5, 5)] if n == 3 else [("Platelets", 9, 9, 16, 16)]
        objects = "".join(OBJECT.format(*each) for each in found)
        size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)
    for split, own in (("train", names[:9]), ("val", names[9:])):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(own) + "\n")
    return root


def stripes(g: np.random.Generator, values: int, size: tuple[int, int]) -> np.ndarray:
    """A label map of upright stripes, with 11 (no class) in a corner."""
    height, width = size
    columns = np.sort(g.permutation(values)[: values // 2])
    labels = np.repeat(columns, -(-width // len(columns)))[:width]
    found = np.broadcast_to(labels, (height, width)).astype(np.uint8).copy()
    found[:4, :4] = 11
    return found


@pytest.fixture(scope="session")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames to train on, two to score, with label maps of the 11 classes."""
    root, g = tmp_path_factory.mktemp("roads"), np.random.default_rng(1)
    for split, count in (("train", 8), ("val", 2)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for n in range(count):
            name = f"{'0006R0' if n % 2 else '0001TP'}_{n:02d}.png"
            labels = stripes(g, 11, (45, 60))
            picture = np.stack([labels * 20] * 3, axis=2) + g.integers(0, 9, (45, 60, 3))
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(
                root / "images" / split / name
            )
            Image.fromarray(labels).save(root / "labels" / split / name)
    return root


@pytest.fixture(scope="session")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Four frames of train and one of val as Cityscapes ships them, of 128 x 64, with a pool."""
    from ofds.study.cityscapes import CLASSES, IDS
    from ofds.use.coco import dataset_of
    from ofds.use.dataset import Objects
    from ofds.use.repairs import Repairs
    from ofds.use.table import write_table
    from repro_shared.runtime.files import atomic_write_json

    root, g = tmp_path_factory.mktemp("cityscapes"), np.random.default_rng(2)
    names = list[str]()
    for split, count in (("train", 4), ("val", 1)):
        for n in range(count):
            city, stem = "aachen", f"aachen_{n:06d}_000019"
            for kind in ("leftImg8bit", "gtFine"):
                (root / kind / split / city).mkdir(parents=True, exist_ok=True)
            ids = np.array([*IDS, 0])[g.integers(0, 20, (8, 16))].repeat(8, 0).repeat(8, 1)
            picture = np.stack([ids * 7] * 3, axis=2).astype(np.uint8)
            image = root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
            Image.fromarray(picture).save(image)
            Image.fromarray(ids.astype(np.uint8)).save(
                root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png"
            )
            if split == "train":
                names.append(f"{city}/{image.name}")

    def with_pool() -> Path:
        pool = root / "pool"
        pool.mkdir(exist_ok=True)
        content = {
            "images": [{"id": n, "file_name": name, "width": 128, "height": 64}
                       for n, name in enumerate(names)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(sorted(CLASSES))],
        }  # fmt: skip
        atomic_write_json(pool / "images.json", content)
        dataset = dataset_of(content, pool, Repairs())
        assert len(dataset.images) == 4
        owner = np.repeat(np.arange(4), 6)
        box = np.tile([4.0, 4.0, 20.0, 20.0], (24, 1)) + np.arange(24)[:, None] / 10
        objects = Objects(
            owner, g.integers(0, 19, 24), g.uniform(0.4, 1, 24), box, np.full(24, 400.0),
            np.zeros(24, bool), np.arange(24), (), (),
        )  # fmt: skip
        write_table(pool / "proposals.npz", objects)
        np.save(pool / "features.npy", g.normal(size=(24, 8)).astype(np.float16))
        return root

    return with_pool
