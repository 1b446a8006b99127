"""What does not fit is said in one line before an image is made, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from cg_augment.use.classifiers import of_timm, save_classifier
from cg_augment.use.generate_command import generate
from repro_shared.runtime.cli import run as command_line

Prepare = Callable[[Path, Path, Any], list[object]]


def scheduler(folder: Path, models: Path, own: Any) -> Path:
    """The pixel model with another scheduler."""
    shutil.copytree(models / "unet", folder / "unet")
    own.save_pretrained(folder / "unet")
    return folder / "unet"


def zero_snr(folder: Path, models: Path, tiny: Any) -> list[object]:
    own = diffusers.DDIMScheduler(
        **tiny.vp, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    return [scheduler(folder, models, own)]


def unknown_scheduler(folder: Path, models: Path, tiny: Any) -> list[object]:
    shutil.copytree(models / "unet", folder / "unet")
    file = folder / "unet" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": "PNDMScheduler"}))
    return [folder / "unet"]


def no_scheduler(folder: Path, models: Path, tiny: Any) -> list[object]:
    shutil.copytree(models / "unet", folder / "unet")
    (folder / "unet" / "scheduler_config.json").unlink()
    return [folder / "unet"]


def pickled(folder: Path, models: Path, tiny: Any) -> list[object]:
    shutil.copytree(models / "unet", folder / "unet")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    return [folder / "unet"]


def lacking_weights(folder: Path, models: Path, tiny: Any) -> list[object]:
    shutil.copytree(models / "unet", folder / "unet")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["conv_out.bias"]
    save_file(state, file)
    return [folder / "unet"]


def three_classes(folder: Path, models: Path, tiny: Any) -> list[object]:
    tiny.unet(classes=3).save_pretrained(folder / "unet")
    diffusers.DDIMScheduler(**tiny.vp).save_pretrained(folder / "unet")
    return [folder / "unet"]


def no_samples(folder: Path, models: Path, tiny: Any) -> list[object]:
    (folder / "names").write_text("cat\ncow\n")
    return [models / "unet", "--diffusion-classes", folder / "names"]


def other_teacher(folder: Path, models: Path, tiny: Any) -> list[object]:
    save_classifier(of_timm("test_resnet", ("cat", "cow"), 32), folder / "teacher")
    return [models / "unet", "--teacher", folder / "teacher"]


def broken_training(folder: Path, models: Path, tiny: Any) -> list[object]:
    (folder / "train").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train" / "a.png")
    (folder / "train" / "b.png").write_bytes((folder / "train" / "a.png").read_bytes()[:40])
    return [models / "unet", "--train-folder", folder / "train"]


def start(folder: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for name in names:
        (folder / "start" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "start" / name / "0.png")
    return folder / "start"


def few_steps(folder: Path, models: Path, tiny: Any) -> list[object]:
    return [models / "unet", "--start", start(folder), "--strength", 0.1]


def broken_start(folder: Path, models: Path, tiny: Any) -> list[object]:
    (start(folder) / "dog" / "0.png").write_bytes(b"")
    return [models / "unet", "--start", folder / "start"]


def start_without_dogs(folder: Path, models: Path, tiny: Any) -> list[object]:
    return [models / "unet", "--start", start(folder, ("cat", "cow"))]


def plain(*words: object) -> Prepare:
    return lambda folder, models, tiny: [models / str(words[0]), *words[1:]]


CASES: list[tuple[Prepare, str]] = [
    (plain("nowhere"), "nowhere: no such folder, and no such name in the hub's cache"),
    (plain("teacher"), "neither model_index.json nor config.json is here"),
    (zero_snr, "zero signal-to-noise ratio), and x0 does not follow from a predicted noise"),
    (unknown_scheduler, "unet has a PNDMScheduler, which is not known here: give --scheduler"),
    (no_scheduler, "a network without scheduler_config.json; save the scheduler"),
    (pickled, "diffusion_pytorch_model.safetensors"),
    (lacking_weights, "weights do not fit: missing keys: conv_out.bias"),
    (three_classes, "unet knows 3 classes, and 2 have a name; give --diffusion-classes"),
    (no_samples, "unet has no samples of dog; it knows cat, cow"),
    (other_teacher, "does not know dog of the pictures"),
    (broken_training, "1 of 2 images cannot be read: "),
    (few_steps, "4 steps x strength 0.1 leave no step: strength must be from 0.25 to 1"),
    (broken_start, "dog/0.png: empty file (0 bytes)"),
    (start_without_dogs, "has cow, which is no class here and lacks dog"),
    (plain("unet", "--size", 16), "makes images of 8 x 8 pixels and no others"),
    (plain("sd", "--size", 15), "height and width must be multiples of 2"),
    (plain("sd", "--prompt", "a <sks> {}"), "does not know the token <sks>"),
    (plain("sd", "--prompt", "a dog"), "has no {} where the class's name goes"),
    (plain("sd", "--scheduler", "flow"), "sd was trained for DDIMScheduler"),
    (plain("unet", "--only", "cow"), "--only cow: no such class; there are cat, dog"),
    (plain("unet", "--classes", "dog", "cat"), "--classes has dog, cat, the student cat, dog"),
    (plain("unet", "--parts", "both"), "--parts both needs --teacher"),
    (plain("unet", "--least-teacher", 0.5), "--least-teacher needs --teacher"),
    (plain("unet", "--shard", "2/2"), "--shard must be i/n with i from 0 to n - 1"),
    (plain("unet", "--each", 0), "--each must be at least 1"),
]


@pytest.mark.parametrize(("prepare", "said"), CASES, ids=[said[:24] for _, said in CASES])
def test_one_line(
    models: Path, tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Prepare,
    said: str,
) -> None:  # fmt: skip
    words = prepare(tmp_path, models, tiny)
    out = tmp_path / "out"
    every = ["generate", *words, "--student", models / "student", "--out", out, "--steps", 4]
    code = command_line("cg-augment", "", {"generate": generate, "other": generate},
                        [str(word) for word in every], version="1")  # fmt: skip
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    assert said in errors[0]
    assert not out.exists()
