"""The paper's recipes on small folders of Cityscapes' and ADE20K's form, with narrow networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.study.paper import Study
from repro_shared.study.plan import plan
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session
from seg_kd.cli import PAPER
from seg_kd.study import estimate, lineage
from seg_kd.study.arms import students, teacher
from seg_kd.train import Optimiser
from seg_kd.use import adapter
from seg_kd.use.data import LabelMaps, View
from seg_kd.use.models import Model
from seg_kd.use.weights import load_start

NARROW = {
    "pspnet_r18": Model(base_channels=8, head_channels=8, auxiliary_channels=8),
    "pspnet_r101": Model(base_channels=8, head_channels=16, auxiliary_channels=8),
}


def picture(path: Path, array: np.ndarray, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).convert(mode).save(path)


def cityscapes(root: Path) -> None:
    """Frames of 64 x 128 in folders by city, with labelIds, as the data set comes."""
    rng = np.random.default_rng(0)
    ids = np.array([0, 7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "lindau")):
        frame = f"{city}_000000_000019"
        label = np.kron(rng.permutation(np.resize(ids, 32)).reshape(4, 8), np.ones((16, 16)))
        image = np.repeat(7 * label[..., None], 3, axis=2)
        picture(root / f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png", image, "RGB")
        picture(root / f"gtFine/{split}/{city}/{frame}_gtFine_labelIds.png", label, "L")
        picture(root / f"gtFine/{split}/{city}/{frame}_gtFine_instanceIds.png", label, "L")
        (root / f"gtFine/{split}/{city}/{frame}_gtFine_polygons.json").write_text("{}")


def ade20k(root: Path) -> None:
    """JPEG images of several sizes, annotations 0 to 150 of which 0 is unlabelled."""
    rng = np.random.default_rng(0)
    for split, sizes in (("training", ((64, 96), (96, 64))), ("validation", ((48, 72),))):
        for index, (height, width) in enumerate(sizes):
            rows, columns = height // 4, width // 4
            label = np.kron(np.resize(rng.permutation(151), (rows, columns)), np.ones((4, 4)))
            name = f"ADE_{split[:-3]}_{index:08d}"
            image = np.repeat(label[..., None], 3, axis=2)
            picture(root / f"images/{split}/{name}.jpg", image, "RGB")
            picture(root / f"annotations/{split}/{name}.png", label, "L")
    (root / "objectInfo150.txt").write_text("Idx\tRatio\n")


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch's hub, and recipes of narrow networks, a step and no GPU."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(lineage, "BUILT_IN", NARROW)
    monkeypatch.setattr(lineage, "SCHEDULES", (2,))
    monkeypatch.setattr(lineage, "ELABORATE", lineage.ELABORATE[:1])
    monkeypatch.setattr(lineage, "Optimiser", lambda **_: Optimiser(batch_size=2))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def keep(state: dict[str, Any], folder: Path, name: str) -> str:
    """Write weights as the zoo does: the digest in the name; returns it."""
    torch.save({"state_dict": state, "meta": {}}, folder / "x.pth")
    path = folder / f"{name}-{sha256_file(folder / 'x.pth')[:8]}.pth"
    (folder / "x.pth").rename(path)
    return path.name


def files(zoo: Path, classes: int) -> tuple[str, str]:
    torch.manual_seed(1)
    taught, own = (adapter.build_model(NARROW[n].config(classes, (32, 64)))
                   for n in ("pspnet_r101", "pspnet_r18"))  # fmt: skip
    backbone = {**own.backbone.state_dict(), "fc.weight": torch.zeros(1000, 64)}
    return keep(taught.state_dict(), zoo, "teacher"), keep(backbone, zoo, "imagenet")


def study_of(maps: LabelMaps, names: tuple[str, str]) -> Study:
    source = lineage.WithWeights(replace(maps, absent=True), names)
    view = View((32, 64), fit=(128, 64))
    made = lineage.lineage(f"equal_time_{maps.name}", "paper", source, view, 2)
    return replace(made, prepare=None, tables=(), figures=())


@pytest.mark.parametrize("make", [cityscapes, ade20k])
def test_recipes_run_on_data_in_their_original_layout(
    make: Any, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "data")
    maps = {cityscapes: lineage.CITYSCAPES_MAPS, ade20k: lineage.ADE20K_MAPS}[make]
    study = study_of(maps, files(zoo, len(maps.classes)))
    kept = tuple(a for a in study.arms if a == teacher(study) or "iterations" in a.name)
    arms = tuple(replace(a, config=replace(a.config, iterations=1)) if a in students(study) else a
                 for a in kept)  # fmt: skip
    study = replace(study, arms=arms)
    started: list[torch.Tensor] = []

    def noted(model: Any, state: Any, origin: str) -> None:
        load_start(model, state, origin)
        started.append(model.backbone.layer1[0].conv1.weight.detach().clone())

    monkeypatch.setattr("seg_kd.train.load_start", noted)
    session = Session(PAPER, study, tmp_path / "out", tmp_path / "data")
    assert run_missing(session, (0,)) == len(arms) == 5
    found = {r.arm: r for r in session.records.read()}
    assert all(record.status == "complete" for record in found.values())
    assert 0 <= found["teacher"].metrics["miou"] <= 100
    (path,) = zoo.glob("imagenet-*")
    backbone = torch.load(path)["state_dict"]["layer1.0.conv1.weight"]
    assert len(started) == 4
    assert all(torch.equal(each, backbone) for each in started)


def test_files_that_are_missing_or_others_are_named(zoo: Path, tmp_path: Path) -> None:
    cityscapes(tmp_path / "data")
    names = files(zoo, 19)
    study = study_of(lineage.CITYSCAPES_MAPS, ("teacher-0123abcd.pth", names[1]))
    (missing,) = study.data.missing(tmp_path / "data")
    assert missing.startswith("teacher-0123abcd.pth of mmsegmentation's model zoo in ")
    session = Session(PAPER, study, tmp_path / "out", tmp_path / "data")
    assert "lacks teacher-0123abcd.pth" in plan(session, (0,), controls=False)
    (zoo / "teacher-0123abcd.pth").write_bytes(b"other")
    with pytest.raises(UserError, match=r"teacher-0123abcd.pth is not that file: its sha256 begi"):
        study.data.open(tmp_path / "data")


def test_the_papers_recipes_are_the_zoos() -> None:
    for name, crop, batch, classes in (
        ("equal_time_cityscapes", (512, 1024), 8, 19),
        ("equal_time_ade20k", (512, 512), 16, 150),
    ):
        (study,) = PAPER.chosen((name,), "paper")
        made = students(study)
        assert {arm.config.view.crop for arm in made} == {crop}
        assert {arm.config.budget for arm in made} == {80_000, 160_000, 320_000, 640_000}
        optimiser = made[0].config.optimiser
        assert (optimiser.batch_size, optimiser.amp, optimiser.learning_rate) == (batch, True, 0.01)
        assert (optimiser.weight_decay, optimiser.minimum_rate, optimiser.power) == (
            5e-4,
            1e-4,
            0.9,
        )
        assert isinstance(study.data, lineage.WithWeights)
        assert made[0].config.classes == classes == len(study.data.classes)
        assert teacher(study).config.given.sha256 in teacher(study).config.given.path
        assert {arm.config.start.sha256 for arm in made} == {"b5776b93"}


def test_the_plan_estimates_hours_and_memory(zoo: Path) -> None:
    study = study_of(lineage.CITYSCAPES_MAPS, ("a-1.pth", "b-2.pth"))
    lines, twice = (estimate.estimate(study, tflops) for tflops in (1e-4, 2e-4))
    assert "estimate from shapes, not measured: 0.0001 TFLOPS sustained" in lines[0]
    methods = {line.split()[0]: line for line in lines[1:-1]}
    assert [*methods] == ["plain", "logit", "feature", "feature+logit", "skd-as-published"]

    def numbers(line: str) -> list[float]:
        return [float(word) for word in line.replace(",", "").split() if word[0].isdigit()]

    (_, hours, steps, _), (_, half, _, _) = (numbers(each[2]) for each in (lines, twice))
    assert hours == pytest.approx(2 * half, abs=0.11)
    assert steps == 2
    like, taught = students(study)[0].config, teacher(study).config
    made = estimate.card(("x", (32, 64), 2, 19), [estimate.objectives(study)[1]])
    assert estimate.step_macs(made, "plain") == made.student
    assert estimate.step_macs(made, "logit") >= made.student + made.teacher
    held = estimate.held(like, taught)
    # The stem's third convolution alone keeps what it makes: 2 x 8 x 16 x 32 numbers.
    assert held.activations > 4 * 2 * 8 * 16 * 32
    whole = estimate.memory(made, held, "logit", amp=False)
    assert whole > estimate.memory(made, held, "logit", amp=True)
    assert estimate.memory(made, held, "plain", amp=False) == held.networks + held.activations
