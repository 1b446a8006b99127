"""The paper's own scale: all cells are arms, and its stages run on files of the right form."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image
from safetensors.torch import save_file

from clip_distill.cli import PAPER
from clip_distill.study.paper_recipes import ROWS, Lengths, beside_reported, study_of, teaser
from clip_distill.study.paper_world import Domain
from clip_distill.use.steps import Training
from repro_shared.evidence.cells import read_cells
from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main
from repro_shared.study.results import load_results
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session

CLASSES = ("banded", "knitted")


def _pixels(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 44, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _pixels(number).save(path)


@pytest.fixture
def folder(tmp_path: Path, clip_config: dict[str, Any], model_of: Callable[..., Any]) -> Path:
    """Everything that DTD's arms need, and nothing of the other sets."""
    root = tmp_path / "data"
    teacher = root / "teacher"
    teacher.mkdir(parents=True)
    form = {"model_cfg": clip_config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (teacher / "open_clip_config.json").write_text(json.dumps(form))
    save_file(dict(model_of().state_dict()), teacher / "open_clip_model.safetensors")
    (root / "web").mkdir()
    with webdataset.TarWriter(str(root / "web" / "00.tar")) as writer:
        for number in range(6):
            made = io.BytesIO()
            _pixels(number).save(made, "PNG")
            writer.write({"__key__": f"{number:04d}", "png": made.getvalue()})
    dtd = root / "real" / "dtd" / "dtd"
    (dtd / "labels").mkdir(parents=True)
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        names = [f"{name}/{name}_000{number}.jpg" for name in reversed(CLASSES)]
        (dtd / "labels" / f"{split}1.txt").write_text("\n".join(names) + "\n")
        for name in names:
            _picture(dtd / "images" / name, number)
    for label, name in enumerate(CLASSES):
        for number in range(2):
            path = root / "synthetic" / "textures" / "images" / name / f"{number}.png"
            _picture(path, 10 * label + number)
            path.with_suffix(".txt").write_text(f"a {name}++ texture, number {number}")
    return root


def test_every_accuracy_of_the_teaser_is_an_arm() -> None:
    study = teaser("paper")
    cells = {(c.row, c.dataset) for c in read_cells(PAPER.source / "tables" / "reported.csv")
             if c.table == "teaser"}  # fmt: skip
    arms = {tuple(arm.name.split(", ")) for arm in study.arms if arm.name.split(", ")[0] in ROWS}
    assert arms == cells
    assert len(arms) == 12
    assert all(
        arm.config.training.learning_rate == 5e-4
        for arm in study.arms
        if hasattr(arm.config, "training")
    )


def test_the_plan_says_what_is_missing_and_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", "--scale", "paper", "--table", "teaser", "--plan"]
    assert main(PAPER, [*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "web/*.tar" in said
    assert "synthetic/pets/images" in said
    assert "154,495 synthetic ones" in said
    assert "GMAC an image" in said


def test_its_stages_run_on_a_small_copy(folder: Path, tmp_path: Path) -> None:
    short = Training(2, 4)
    study = study_of(Lengths(short, short, "test_efficientnet", 32))
    session = Session(PAPER, study, tmp_path / "out", folder)
    # The web's cache and stage 1; DTD's teacher, cache and two students.
    assert run_missing(session, (0,)) == 6
    results = load_results(PAPER, study, tmp_path / "out")
    rows = {row[:2]: row for row in beside_reported(results).rows}
    for row in ROWS:
        found = rows["DTD", row]
        for measured in found[3:]:
            assert isinstance(measured, Interval)
            assert measured.mean in (0, 50, 100)
    assert rows["DTD", "feature distillation"][2] == 47.4
    assert rows["Oxford Pets", "feature distillation"][3] is None
    assert len(list((tmp_path / "out" / "work").rglob("student.safetensors"))) == 3


def test_other_classes_than_the_sets_are_refused(folder: Path) -> None:
    world = Domain("textures").open(folder)
    # Test images lie in the order of their list, classes in that of the folders.
    assert sorted(world.classes[target] for target in world.targets) == list(CLASSES)
    shown = [world.classes[target] in name for name, target in
             zip(world.real.ids, world.targets, strict=True)]  # fmt: skip
    assert all(shown)
    images = folder / "synthetic" / "textures" / "images"
    (images / "banded").rename(images / "striped")
    with pytest.raises(UserError, match="striped"):
        Domain("textures").open(folder)
