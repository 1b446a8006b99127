"""From predicted label maps to a pool that `ofds select` reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from ofds.cli import PAPER
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from repro_shared.study.command import main


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Two images of 40 x 30, one in a folder; road below, sky above, a pole of 2 x 5 in one."""
    for name in ("a.png", "sub/b.jpg"):
        labels = np.zeros((30, 40), np.uint8)
        labels[:10] = 1
        labels[:3, :3] = 255
        if name == "a.png":
            labels[5:10, 20:22] = 2
        for kind, file in (("images", name), ("maps", Path(name).with_suffix(".png"))):
            path = tmp_path / kind / file
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = labels if kind == "maps" else np.stack([labels] * 3, axis=2)
            Image.fromarray(pixels).save(path)
    (tmp_path / "names.txt").write_text("road\nsky\npole\n")
    return tmp_path


def command(given: Path, *more: str) -> list[str]:
    return [
        "parts", "--folder", str(given / "images"), "--label-maps", str(given / "maps"),
        "--classes", str(given / "names.txt"), "--out", str(given / "pool"), "--side", "32", *more,
    ]  # fmt: skip


def test_a_pool_of_parts_is_selected_by_pixels(
    given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(PAPER, command(given, "--smallest", "10")) == 0
    assert "5 parts on 2 images" in capsys.readouterr().out
    files, repairs = PoolFiles(pool=str(given / "pool")), Repairs()
    dataset = files.dataset(repairs)
    objects, total = files.objects(dataset, repairs)
    assert [image.name for image in dataset.images] == ["a.png", "sub/b.jpg"]
    assert (total, repairs.lines()) == (5, [])
    assert objects.area.tolist() == [800, 400 - 9 - 10, 10, 800, 400 - 9]
    assert [int(coco_masks.area(each["segmentation"])) for each in objects.entries] == [
        int(area) for area in objects.area
    ]
    features = np.load(given / "pool" / "features.npy")
    assert (features.shape, features.dtype) == ((5, 1280), np.float16)
    manifest = json.loads((given / "pool" / "manifest.json").read_text())
    assert manifest["pool"]["proposals"] == 5
    pool, out = str(given / "pool"), str(given / "chosen")
    select = ["select", "--pool", pool, "--unit", "pixels", "--budget", "1300", "--out", out]
    assert main(PAPER, select) == 0
    assert (given / "chosen" / "selection.txt").read_text() == "a.png\n"


def test_small_parts_are_counted(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PAPER, command(given, "--smallest", "20")) == 0
    assert re.search(r"pole +0 +0 +1\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "maps" / "a.png").unlink(), "1 of 2 images have no label map"),
        (lambda root: (root / "names.txt").write_text("road\nsky\n"), "value 2 is no class"),
        (lambda root: Image.new("L", (4, 4)).save(root / "maps" / "a.png"), "the same size"),
        (lambda root: (root / "pool").mkdir() or (root / "pool" / "x").touch(), "not empty"),
    ],
)
def test_refusals_write_nothing(given, change, said, capsys) -> None:  # type: ignore[no-untyped-def]
    change(given)
    assert main(PAPER, command(given)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (given / "pool" / "images.json").exists()
