"""CelebA at the paper's scale, on tiny models and a small copy: every stage, and what it costs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cg_augment.cli import PAPER
from cg_augment.study import paper_recipes
from cg_augment.study.paper_plan import estimate, sd_macs, sd_on_meta
from cg_augment.study.paper_recipes import Sizes, study_of
from cg_augment.study.paper_world import WORDS, Faces
from cg_augment.use.distillation import Distillation
from repro_shared.runtime.errors import UserError
from repro_shared.study.results import load_results
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session

CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
STEP = Distillation(1, 4)
SMALL = Sizes(STEP, STEP, "test_resnet", 32, each=2, steps=2, views=1, rounds=1, least=0.0, batch=2)


@pytest.fixture(scope="module")
def data(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the form that the study asks for: two faces of each group in each split."""
    folder = tmp_path_factory.mktemp("data")
    faces = folder / "celeba"
    (faces / "img_align_celeba").mkdir(parents=True)
    lines, parts, g = ["image_id,Blond_Hair,Male"], ["image_id,partition"], np.random.default_rng(0)
    for number in range(16):
        name, (blond, male, split) = f"{number:06d}.jpg", (number & 1, number >> 1 & 1, number >> 3)
        pixels = g.integers(0, 256, (44, 36, 3), np.uint8)
        Image.fromarray(pixels).save(faces / "img_align_celeba" / name)
        lines.append(f"{name},{2 * blond - 1},{2 * male - 1}")
        parts.append(f"{name},{2 * split}")
    (faces / "list_attr_celeba.csv").write_text("\n".join(lines) + "\n")
    (faces / "list_eval_partition.csv").write_text("\n".join(parts) + "\n")
    (folder / "teacher").mkdir()
    form = {"model_cfg": CLIP, "preprocess_cfg": {"size": 32}}
    (folder / "teacher/open_clip_config.json").write_text(json.dumps(form))
    torch.manual_seed(0)
    weights = dict(open_clip.CLIP(**CLIP).state_dict())
    save_file(weights, folder / "teacher/open_clip_model.safetensors")
    shutil.copytree(models / "sd", folder / "diffusion")
    return folder


def test_all_rows_run_and_stand_beside_what_is_reported(data: Path, tmp_path: Path) -> None:
    study = study_of(SMALL)
    assert run_missing(Session(PAPER, study, tmp_path, data), (0,)) == len(study.arms)
    results = load_results(PAPER, study, tmp_path)
    assert all(record.status == "complete" for record in results.records)
    assert len(results.records) == len(study.arms) == len({*study.arms})
    table = paper_recipes.beside_reported(results)
    rows = {row[0]: row[1:] for row in table.rows}
    assert {name: row[0] for name, row in rows.items()} == {
        "teacher (CLIP)": 66.7, "distillation alone": 15.2, "CutMix, relabelled": 38.9,
        "unguided": None, "ConfiG": 66.1,
    }  # fmt: skip
    assert all(row[1] is not None for row in rows.values())
    (run,) = results.runs(study.arm("config"))
    (begun,) = results.runs(study.arm("the-biased-student"))
    assert (run.samples, begun.samples) == (4, 4)
    assert {key for key in run.metrics if key.startswith("group/")} == {
        f"group/{words}/{kind}" for words in WORDS for kind in ("male", "not male")
    }
    made = results.runs(study.arm("images-config"))[0].metrics
    assert made == {"images": 4.0, "asked": 4.0}


def test_training_lacks_the_group_and_the_test_split_has_it(data: Path) -> None:
    opened = Faces().open(data)
    assert len(opened.train) == 6
    assert opened.train.classes == WORDS
    assert opened.test.sizes == (2, 2, 2, 2)
    assert opened.test.names[3] == "blond hair/male"
    with pytest.raises(UserError, match="no group"):
        Faces(("blond hair/tall",)).open(data)


def test_what_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    assert Faces().missing(data) == []
    assert Faces().missing(tmp_path) == [
        "celeba", "teacher/open_clip_config.json", "diffusion/model_index.json"
    ]  # fmt: skip
    assert "(--data DIR)" in Faces().missing(None)[0]


def test_the_arithmetic_is_stable_diffusions() -> None:
    unet, vae = sd_on_meta()
    counts = [sum(p.numel() for p in each.parameters()) for each in (unet, vae)]
    assert counts == [859_520_964, 83_653_863]  # as its published weights have
    network, decoder = sd_macs()
    # The number that is often quoted for the UNet, 0.34, leaves out the products of attention.
    assert network == pytest.approx(0.402e12, rel=0.01)
    assert decoder == pytest.approx(1.24e12, rel=0.05)


def test_the_plan_says_how_long_images_take() -> None:
    plain, guided = estimate(study_of(Sizes()), 60.0)
    assert "images, unguided: 16,000 images" in plain
    hours = [float(line.split(" h of")[0].split()[-1].replace(",", "")) for line in (plain, guided)]
    assert hours[0] > 1
    assert hours[1] > 30 * hours[0]
    half = estimate(study_of(replace(Sizes(), each=4000)), 60.0)
    assert float(half[0].split(" h of")[0].split()[-1]) == pytest.approx(hours[0] / 2, abs=1)
