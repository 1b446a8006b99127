"""Sets of images: the same bytes however they are made, and nothing bad among the good ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from cg_augment.method.guided import Task
from cg_augment.use.classifiers import load_classifier
from cg_augment.use.datasets.generated import generated
from cg_augment.use.generate_command import generate
from cg_augment.use.generating.tasks import Tasks
from repro_shared.runtime.cli import run as command_line
from repro_shared.runtime.errors import UserError

CLASSES = ("cat", "dog")
# A sampler that draws noise at every step.
SHORT: dict[str, Any] = {"each": 3, "steps": 2, "batch": 4, "eta": 1.0, "share": 0.5}
PLAIN: dict[str, Any] = {"engine": "select", "candidates": 1, "share": None}


def make(models: Path, out: Path, kind: str = "unet", **more: Any) -> int:
    given = {"student": str(models / "student"), "teacher": str(models / "teacher"), **SHORT}
    return generate(str(models / kind), out=str(out), **{**given, **more}) or 0


def pictures(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.png"))
    }


def lines(folder: Path, times: bool = False) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    return found if times else [{**line, "seconds": 0} for line in found]


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that one process made at once: six images in batches of four."""
    out = tmp_path_factory.mktemp("whole") / "set"
    assert make(models, out) == 0
    return out


def test_any_trainer_reads_a_set(models: Path, whole: Path) -> None:
    assert ImageFolder(str(whole / "images")).classes == list(CLASSES)
    for folder in (whole, whole / "images"):
        found = generated(folder, ("dog", "cat"))
        assert found.targets.tolist() == [1, 1, 1, 0, 0, 0]
    student, teacher = (load_classifier(models / who)[0] for who in ("student", "teacher"))
    for line in lines(whole / "images", times=True):
        image = np.asarray(Image.open(whole / "images" / line["file_name"]))
        images = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
        for who, model in (("student", student), ("teacher", teacher)):
            own = model(images).softmax(dim=1)[0, CLASSES.index(line["class"])]
            assert line[who] == pytest.approx(float(own), abs=5e-3)  # of the rounded picture
        value = line["teacher"] ** 2 + (1 - line["student"]) ** 2
        assert line["objective"] == pytest.approx(value, rel=1e-5)
        assert line["objective_before"] is not None
        assert line["accepted"] is True
        assert (line["forward"], line["backward"], line["guided"]) == (4, 1, 1)
        assert line["evaluations"] == 5
        assert line["seconds"] > 0
    report = json.loads((whole / "report.json").read_text())
    assert report["counts"]["cat"]["accepted"] == 3
    assert report["mean_per_image"] == {"forward": 4, "backward": 1, "decodes": 3, "guided": 1}
    assert not (whole / "made").exists()


def test_parts_and_growth_give_the_same_bytes(models: Path, whole: Path, tmp_path: Path) -> None:
    make(models, tmp_path / "parts", shard="1/2")
    assert not (tmp_path / "parts" / "images").exists()
    make(models, tmp_path / "parts", shard="0/2")
    make(models, tmp_path / "grown", each=2)
    first = pictures(tmp_path / "grown")
    make(models, tmp_path / "grown")
    for name in ("parts", "grown"):
        assert pictures(tmp_path / name) == pictures(whole)
        assert lines(tmp_path / name / "images") == lines(whole / "images")
    assert first.items() < pictures(whole).items()


def test_a_picture_depends_on_its_seed_alone(models: Path, whole: Path, tmp_path: Path) -> None:
    make(models, tmp_path / "single", batch=1)
    make(models, tmp_path / "dogs", only=("dog",), batch=2)
    for name in ("single", "dogs"):
        for file, content in pictures(tmp_path / name).items():
            own, other = (
                np.asarray(Image.open(folder / file)).astype(int)
                for folder in (tmp_path / name, whole)
            )
            assert np.abs(own - other).max() <= 1  # how batches are rounded
            assert content


KILLED = """
import os, signal, sys
from cg_augment.use.generating import making
from cg_augment.use.generate_command import generate

write, count = making.write_png, [0]
def deadly(path, pixels):
    write(path, pixels)
    count[0] += 1
    if count[0] == 5:  # in the second batch: a picture without a line in the log
        os.kill(os.getpid(), signal.SIGKILL)
making.write_png = deadly
models, out = sys.argv[1:]
generate(f"{models}/unet", out=out, student=f"{models}/student", teacher=f"{models}/teacher",
         each=3, steps=2, batch=4, eta=1.0, share=0.5)
"""


def test_killed_and_resumed_gives_the_same_bytes(models: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    done = subprocess.run([sys.executable, "-c", KILLED, str(models), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(pictures(out / "made")) == 5
    assert not (out / "images").exists()
    log = next((out / "log").glob("*.jsonl"))
    log.write_text(log.read_text() + '{"key": "cat/0000')  # as a kill tears a line off
    assert make(models, out) == 0
    assert pictures(out) == pictures(whole)
    assert lines(out / "images") == lines(whole / "images")
    # A picture that somebody removed is made again, and no other one.
    gone = out / "images" / "dog" / "000001.png"
    gone.unlink()
    times = {line["file_name"]: line["seconds"] for line in lines(out / "images", times=True)}
    assert make(models, out) == 0
    assert pictures(out) == pictures(whole)
    again = {line["file_name"]: line["seconds"] for line in lines(out / "images", times=True)}
    assert [name for name in times if again[name] != times[name]] in ([], ["dog/000001.png"])


def test_other_settings_are_refused_and_lose_nothing(
    models: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pictures(whole)
    with pytest.raises(UserError, match=r"holds another run \(sampling steps is 2 there and 3"):
        make(models, whole, steps=3)
    with pytest.raises(UserError, match="holds another run"):
        make(models, whole, engine="select", share=None)
    assert pictures(whole) == before
    make(models, whole)
    assert "0 images made by this process" in capsys.readouterr().out


@pytest.mark.parametrize("limit", [1, 3])
def test_out_of_memory_goes_on_with_the_same_images(
    models: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, limit: int,
) -> None:  # fmt: skip
    own, sizes = Tasks.of, list[int]()

    def step(self: Tasks, items: Any) -> Task:
        sizes.append(len(items))
        if len(items) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, items)

    monkeypatch.setattr(Tasks, "of", step)
    assert make(models, tmp_path / "set") == 0
    said = capsys.readouterr().err
    assert "out of memory: on with batches of 2; the seeds stay the same" in said
    assert sizes == ([1, 4, 2, 2, 2] if limit == 3 else [1, 4, 2, 1, 1, 1, 1, 1, 1])
    for file in pictures(whole):
        both = [np.asarray(Image.open(each / file)).astype(int)
                for each in (whole, tmp_path / "set")]  # fmt: skip
        assert np.abs(both[0] - both[1]).max() <= 1
    monkeypatch.setattr(Tasks, "of", lambda self, items: own(self, items) if not sizes else lack())

    def lack() -> Task:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    sizes.clear()
    monkeypatch.setattr(Tasks, "check", lambda self, named: None)
    monkeypatch.setattr(Tasks, "of", lambda self, items: lack() if sizes else sizes.append(1))
    with pytest.raises(UserError, match=r"not enough memory for one image \(cat/000000\)"):
        make(models, tmp_path / "none")


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], Any]) -> None:
    """Change what decoders give."""
    own = Tasks.of

    def of(self: Tasks, items: Any) -> Task:
        task = own(self, items)
        decode = task.sampler.decode
        sampler = replace(task.sampler, decode=lambda x: spoil(decode(x)))
        return replace(task, sampler=sampler)

    monkeypatch.setattr(Tasks, "of", of)


def test_damaged_images_are_named_and_never_black_pictures(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def spoil(images: torch.Tensor) -> torch.Tensor:  # the second not finite, the third black
        factor = torch.tensor([1.0, torch.nan, 0.0, 1.0])[: len(images)]
        return images * factor[:, None, None, None]

    spoiled(monkeypatch, spoil)
    out = tmp_path / "set"
    assert make(models, out, each=2, **PLAIN) == 1
    assert sorted(pictures(out)) == [
        "images/cat/000000.png", "images/dog/000001.png", "set-apart/constant/cat/000001.png",
    ]  # fmt: skip
    apart = {line["class"] + str(line["number"]): line for line in lines(out / "set-apart")}
    assert apart["dog0"]["file_name"] is None
    assert apart["dog0"]["accepted"].startswith("not finite: candidate 1")
    assert apart["dog0"]["teacher"] is None
    said = capsys.readouterr().out
    seed = apart["dog0"]["seed"]
    assert f"set apart: dog/000000, not finite (candidate 1), seed {seed}" in said
    assert "set apart: cat/000001, constant" in said
    report = json.loads((out / "report.json").read_text())
    assert report["set_apart_share"] == 0.5
    assert report["rules"]["alike"] == 4.0


def test_guidance_that_is_no_number_stops_that_image_alone(
    models: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(images: torch.Tensor) -> torch.Tensor:
        bad = torch.zeros(len(images), dtype=torch.bool)
        bad[1:2] = torch.is_grad_enabled()  # the gradient of the second alone
        return torch.where(bad[:, None, None, None], torch.nan, images)

    spoiled(monkeypatch, spoil)
    assert make(models, tmp_path / "set", each=2) == 1
    (line,) = lines(tmp_path / "set" / "set-apart")
    assert (line["class"], line["number"], line["stopped"]) == ("dog", 0, "not finite: step 2 of 2")
    assert line["objective_before"] is not None
    for file, content in pictures(tmp_path / "set").items():
        other = np.asarray(Image.open(whole / file)).astype(int)
        assert np.abs(np.asarray(Image.open(tmp_path / "set" / file)) - other).max() <= 1
        assert content


def test_repeats_and_copies_are_set_apart(
    models: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = tmp_path / "train" / "birds"
    train.mkdir(parents=True)
    plain = tmp_path / "plain"
    make(models, plain, each=2, **PLAIN)
    first = Image.open(plain / "images" / "cat" / "000000.png")
    first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((64, 64), 0).save(train / "a.png")
    Image.new("RGB", (32, 32), (250, 0, 0)).save(train / "b.png")

    def spoil(images: torch.Tensor) -> torch.Tensor:  # the fourth is the third
        return images[[0, 1, 2, 2]] if len(images) == 4 else images

    spoiled(monkeypatch, spoil)
    out = tmp_path / "set"
    more = {"each": 2, "train_folder": str(tmp_path / "train"), **PLAIN}
    assert make(models, out, **more) == 0
    assert sorted(pictures(out)) == [
        "images/cat/000001.png", "images/dog/000000.png", "set-apart/duplicate/dog/000001.png",
        "set-apart/memorised/cat/000000.png",
    ]  # fmt: skip
    copy, repeat = lines(out / "set-apart")
    assert copy["accepted"] == "memorised: like birds/a.png, 0.00 grey levels apart"
    assert copy["train_distance"] == 0
    assert repeat["accepted"] == "duplicate: like cat/000001, 0.00 grey levels apart"
    assert all(line["train_distance"] > 4 for line in lines(out / "images"))
    # Rules may change later: nothing is made again.
    make(models, out, **{**more, "train_folder": None, "alike": 0.0})
    assert len(pictures(out / "images")) == 3
    assert make(models, out, **{**more, "least_teacher": 0.99}) == 1
    reasons = {line["accepted"].split(":")[0] for line in lines(out / "set-apart")}
    assert reasons == {"teacher unsure"}
    with pytest.raises(UserError, match="no image was accepted"):
        generated(out, CLASSES)


def test_whole_pipelines_with_text(models: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"each": 1, "prompt": ("a {} on grass", "a {} on sand")}
    out = tmp_path / "set"
    small = str(models / "small")
    chain: dict[str, Any] = {"engine": "chain", "rounds": 1, "share": None}
    assert make(models, out, "sd", **more, **chain, preview=small) == 0
    assert [line["prompt"] for line in lines(out / "images")] == [
        "a cat on grass", "a dog on grass",
    ]  # fmt: skip
    # In half precision gradients come from a copy of the decoder, images from itself.
    make(models, tmp_path / "half", "sd", each=1, only=("cat",), compute="bfloat16")
    report = json.loads((tmp_path / "half" / "report.json").read_text())
    assert report["diffusion"]["compute"] == "bfloat16"
    (line,) = lines(tmp_path / "half" / "images")
    assert (line["class"], line["backward"]) == ("cat", 1)


def test_images_to_begin_from(models: Path, tmp_path: Path) -> None:
    for place, name in enumerate(CLASSES):
        (tmp_path / "start" / name).mkdir(parents=True)
        Image.new("RGB", (40, 30), (90 * place, 40, 200)).save(tmp_path / "start" / name / "0.png")
    more = {"start": str(tmp_path / "start"), "strength": 0.3, "steps": 10, "each": 1}
    make(models, tmp_path / "set", **more, **PLAIN)
    found = [np.asarray(Image.open(tmp_path / "set" / "images" / name / "000000.png")).mean((0, 1))
             for name in CLASSES]  # fmt: skip
    assert found[1][0] > found[0][0] + 30
    assert all(line["forward"] == 3 for line in lines(tmp_path / "set" / "images"))


def test_pixels_in_channels_and_names_in_the_cache(
    models: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    snapshot = tmp_path / "models--someone--blocks" / "snapshots" / "abc"
    tiny.unet(in_channels=12, out_channels=12).save_pretrained(snapshot)
    diffusers.DDIMScheduler(**tiny.vp).save_pretrained(snapshot)
    (tmp_path / "models--someone--blocks" / "refs").mkdir()
    (tmp_path / "models--someone--blocks" / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in CLASSES:
        (tmp_path / "start" / name).mkdir(parents=True)
        across = np.linspace(0, 255, 16).astype(np.uint8)[None, :, None]
        picture = np.broadcast_to(across, (16, 16, 3)).copy()
        Image.fromarray(picture).save(tmp_path / "start" / name / "0.png")
    given = {"student": str(models / "student"), "only": ("cat",), **SHORT, **PLAIN, "each": 1}
    started = {"start": str(tmp_path / "start"), "strength": 0.05, "steps": 20, "eta": 0.0}
    generate("someone/blocks", out=str(tmp_path / "set"), **{**given, **started})
    image = np.asarray(Image.open(tmp_path / "set" / "images" / "cat" / "000000.png")).mean((0, 2))
    assert image.shape == (16,)
    assert np.corrcoef(image, picture[0, :, 0])[0, 1] > 0.95  # little noise: the picture is there


def test_the_plan(models: Path, whole: Path, tmp_path: Path, capsys: Any) -> None:
    make(models, tmp_path / "none", plan=True, sustained_tflops=1e-6)
    said = capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    assert "4 evaluations of the network forward, 1 backward; 3 decodes forward, 1 backward" in said
    assert "still to make in all: 6" in said
    numbers = [float(word) for word in said.split() if word.replace(".", "").replace("e+", "")
               .isdigit() and "e+" in word]  # fmt: skip
    network, decode = numbers[-2:]
    hours = 6 * 2 * (5 * network + 4 * decode) / 1e6 / 3600
    assert f"estimate, by arithmetic at 1e-06 TFLOPS: {hours:.2g}"[:-2] in said
    make(models, tmp_path / "none", plan=True, each=1)
    assert "from a measured pair of steps" in capsys.readouterr().out
    make(models, whole, plan=True, each=5, shard="1/2")
    said = capsys.readouterr().out
    assert "measured on the 6 images there" in said
    assert "still to make of this process (1 of 2): 2" in said


def test_the_command_line_says_one_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", models / "unet", "--student", models / "student", "--out", tmp_path / "o",
             "--engine", "chain", "--scale", 2]  # fmt: skip
    assert command_line("cg-augment", "", {"generate": generate, "x": generate},
                        [str(word) for word in words], version="1") == 2  # fmt: skip
    said = capsys.readouterr()
    assert said.err == "error: --scale is for --engine stepwise, not for chain\n"
