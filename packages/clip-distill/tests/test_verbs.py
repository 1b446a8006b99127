"""The command line from a folder of pictures to an ONNX file, as a user goes through it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import pytest
import webdataset
from safetensors.torch import save_file

from clip_distill.cli import PAPER
from repro_shared.study.command import main


@dataclass(frozen=True)
class World:
    """Files that the tests share; nothing in it is changed."""

    root: Path
    teacher: str

    def run(self, *words: object) -> int:
        return main(PAPER, [str(word) for word in words])


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: Callable[..., Path],
    clip_config: dict[str, Any],
    model_of: Callable[..., Any],
) -> World:
    root = tmp_path_factory.mktemp("world")
    pictures(root / "train")
    pictures(root / "test", seed=1)
    folder = root / "teacher"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": clip_config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    ))  # fmt: skip
    save_file(dict(model_of().state_dict()), folder / "open_clip_model.safetensors")
    made = World(root, f"open_clip:{folder}")
    assert made.run(
        "cache", root / "train", "--out", root / "cache", "--teacher", made.teacher, "--views", 2,
        "--batch", 4, "--no-teacher-check", "--pixels",
    ) == 0  # fmt: skip
    assert made.run(*_distill(made, root / "student")) == 0
    return made


def _distill(world: World, out: Path, *more: object) -> list[object]:
    return ["distill", world.root / "train", "--out", out, "--cache", world.root / "cache",
            "--backbone", "test_efficientnet", "--epochs", 2, "--batch-size", 4, *more]  # fmt: skip


def test_what_distill_leaves(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads((world.root / "student" / "student.json").read_text())
    assert about["teacher"] == "open_clip:teacher"
    assert about["preprocessing"]["mean"] == [0.5] * 3  # C1: from the teacher to the student
    assert about["run"]["objective"]["loss"] == "l2"
    assert about["overlap"] is None
    before = (world.root / "student" / "student.safetensors").stat().st_mtime_ns
    assert world.run(*_distill(world, world.root / "student")) == 0
    said = capsys.readouterr()
    assert "holds this student already" in said.err
    assert "fewer than the whole teacher" in said.out
    assert (world.root / "student" / "student.safetensors").stat().st_mtime_ns == before
    assert world.run(*_distill(world, world.root / "student", "--seed", 1)) == 2
    assert "holds another run (seed is 0 there and 1 here)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--objective", "class"), "needs a temperature"),
        (("--objective", "class", "--temperature", 0), "must be positive"),
        (("--objective", "triplet"), "unknown; known are feature"),
        (("--objective", "vision-language", "--batch-size", 1), "at least 2 pictures"),
        (("--init", "nothing.pth"), "no weights at nothing.pth"),
        (("--backbone", "resnet_18"), "timm knows no model"),
        (("--epochs", 0), "--epochs must be above 0"),
        (("--teacher-features", "x.npy"), "give --cache FOLDER or"),
        (("--objective", "l2", "--mix-with", "class", "--alpha", 0.5), "needs a temperature"),
        (("--objective", "l2", "--mix-with", "l3", "--alpha", 0.5), "--objective l3: unknown"),
        (("--multi-positive",), "a setting of the loss"),
        (("--learn-temperature",), "has no temperature"),
    ],
)
def test_distill_refuses(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: Any, said: str
) -> None:
    out = tmp_path / "out"
    assert world.run(*_distill(world, out, *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (out / "student.json").exists()
    assert not (out / "run.json").exists()


def test_c10_a_test_image_among_the_training_images(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    test = tmp_path / "test"
    shutil.copytree(world.root / "test", test)
    shutil.copy(world.root / "train" / "class 1" / "2.png", test / "class 0" / "copy.png")
    assert world.run(*_distill(world, tmp_path / "a", "--test", test)) == 2
    assert "1 test images are among the training images, such as class 0/copy.png = class 1/2.png" \
        in capsys.readouterr().err  # fmt: skip
    assert world.run(*_distill(world, tmp_path / "a", "--test", test, "--allow-overlap")) == 0
    about = json.loads((tmp_path / "a" / "student.json").read_text())
    assert about["overlap"] == [["class 1/2.png", "class 0/copy.png", "same"]]


def test_c14_from_a_feature_file_without_any_teacher(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    np.save(tmp_path / "f.npy", rows)
    command = ["distill", world.root / "train", "--out", tmp_path / "s", "--teacher-features",
               tmp_path / "f.npy", "--backbone", "test_vit", "--image-size", 32, "--epochs", 1,
               "--batch-size", 4]  # fmt: skip
    assert world.run(*command) == 0
    assert json.loads((tmp_path / "s" / "student.json").read_text())["width"] == 5
    assert world.run("evaluate", world.root / "test", "--student", tmp_path / "s") == 2
    assert "keeps no text vectors of classes: give --teacher" in capsys.readouterr().err


def test_another_stage_starts_from_a_student(world: World, tmp_path: Path) -> None:
    more = ("--init", world.root / "student", "--objective", "vision-language", "--amp")
    assert world.run(*_distill(world, tmp_path / "two", *more)) == 0
    about = json.loads((tmp_path / "two" / "student.json").read_text())
    assert about["run"]["objective"]["temperature"] == 0.01


def test_c3_two_sets_with_two_caches(
    world: World, tmp_path: Path, pictures: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = pictures(tmp_path / "more", each=2, seed=9)
    cache = ["cache", more, "--teacher", world.teacher, "--views", 2, "--batch", 4, "--pixels",
             "--no-teacher-check", "--out"]  # fmt: skip
    assert world.run(*cache, tmp_path / "a") == 0
    assert world.run(*cache, tmp_path / "b", "--storage", "float32") == 0
    both = ["distill", world.root / "train", more, "--backbone", "test_efficientnet", "--epochs",
            1, "--batch-size", 4, "--objective", "l2", "--mix-with", "vision-language", "--alpha",
            0.5, "--temperature", 0.1, "--multi-positive", "--out", tmp_path / "s",
            "--cache", world.root / "cache"]  # fmt: skip
    assert world.run(*both) == 2
    assert "2 sets of pictures and 1 caches" in capsys.readouterr().err
    assert world.run(*both, tmp_path / "b") == 2
    assert "differ in storage: float16 and float32" in capsys.readouterr().err
    assert world.run(*both, tmp_path / "a") == 0
    about = json.loads((tmp_path / "s" / "student.json").read_text())
    assert about["run"]["objective"] | {"type": ""} == {
        "type": "", "loss": "l2", "temperature": 0.1, "targets": "multi-positive",
        "other": "vision-language", "alpha": 0.5, "learned": False,
    }  # fmt: skip
    assert len(about["losses"]) == 4  # 18 pictures in fours


def test_flags_that_would_be_without_effect(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ("--init", world.root / "student")
    command = _distill(world, tmp_path / "x", *start, "--image-size", 48)
    assert world.run(*command) == 2
    assert "--image-size 48: the student of" in capsys.readouterr().err
    command[command.index("test_efficientnet")] = "test_vit"
    assert world.run(*command) == 2
    assert "--backbone test_vit: the student of" in capsys.readouterr().err
    student, test = world.root / "student", world.root / "test"
    for command, said in {
        ("evaluate", test, "--student", student, "--template", "pets"): "give both or neither",
        ("classify", test, "--student", student, "--template", "pets"): "give both or neither",
        ("evaluate", test, "--teacher", world.teacher, "--texts", student): "give one",
        ("export", student, "--onnx", "x.onnx", "--template", "pets"): "--template would be with",
        ("export", student, "--onnx", "x.onnx", "--text-input", "--classes", "n"): "--classes wo",
        ("export", student, "--open-clip", "x", "--text-input"): "--text-input would be without",
        ("evaluate", test, "--student", student, "--workers", -1): "--workers must be 0 or more",
    }.items():
        assert world.run(*command) == 2
        assert said in capsys.readouterr().err
    flat = world.root / "train" / "class 0"
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    command = ["cache", flat, "--out", tmp_path / "c", "--teacher", world.teacher]
    assert world.run(*command, "--classes", names) == 2
    assert "has no class folders; leave it out" in capsys.readouterr().err
    np.save(tmp_path / "f.npy", np.ones((12, 5), np.float32))
    command = ["distill", world.root / "train", "--out", tmp_path / "x", *start,
               "--teacher-features", tmp_path / "f.npy"]  # fmt: skip
    assert world.run(*command) == 2
    assert "spaces of other widths: 16 and 5" in capsys.readouterr().err


def test_shards_with_captions(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((world.root / "train").rglob("*.png"))
    with webdataset.TarWriter(str(tmp_path / "s-000.tar")) as writer:
        for number, file in enumerate(files):
            sample = {"__key__": f"{number:03d}", "png": file.read_bytes()}
            writer.write({**sample, "txt": f"caption {number % 5}"})
    shard, kept = tmp_path / "s-000.tar", tmp_path / "cache"
    more = ["--views", 2, "--batch", 4, "--no-teacher-check", "--captions"]
    cache = ["cache", shard, "--out", kept, "--teacher", world.teacher, *more]
    assert world.run(*cache) == 0
    assert "caption" in capsys.readouterr().out
    broken = tmp_path / "broken"
    shutil.copytree(kept, broken)
    rows = np.lib.format.open_memmap(broken / "features.npy", mode="r+")
    rows[5:] = 0  # as a copy that was not finished
    rows.flush()
    assert world.run("distill", shard, "--out", tmp_path / "s", "--cache", broken) == 2
    assert "features.npy: row 5 (s-000.tar/005) is zeros only" in capsys.readouterr().err
    command = ["distill", shard, "--out", tmp_path / "s", "--cache", kept,
               "--backbone", "test_efficientnet", "--stage", 1, "--batch-size", 4,
               "--objective", "tinyclip-affinity"]  # fmt: skip
    assert world.run(*command) == 0
    assert world.run("distill", world.root / "train", "--out", tmp_path / "t", *command[4:]) == 2
    assert "made of other pictures" in capsys.readouterr().err


def test_shards_with_classes(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard, kept, names = tmp_path / "s.tar", tmp_path / "cache", tmp_path / "names.txt"
    with webdataset.TarWriter(str(shard)) as writer:
        for number, file in enumerate(sorted((world.root / "test").rglob("*.png"))):
            label = int(file.parent.name[-1])
            writer.write({"__key__": str(number), "png": file.read_bytes(), "cls": label})
    names.write_text("class 0\nclass 1\nclass 2\tclass 2\n")
    more = ["--classes", names, "--no-teacher-check", "--views", 1]
    assert world.run("cache", shard, "--out", kept, "--teacher", world.teacher, *more) == 0
    command = ["distill", shard, "--out", tmp_path / "s", "--cache", kept, "--backbone",
               "test_efficientnet", "--epochs", 1, "--batch-size", 4]  # fmt: skip
    assert world.run(*command, "--objective", "class", "--temperature", 0.1) == 0
    student = ("--student", world.root / "student")
    assert world.run("evaluate", shard, *student) == 2
    assert "needs class folders, or .cls and --classes" in capsys.readouterr().err
    said = []
    for data in (shard, world.root / "test"):
        assert world.run("evaluate", data, *student, "--classes", names) == 0
        said.append(
            [line for line in capsys.readouterr().out.splitlines() if "student" in line][-1]
        )
    assert said[0] == said[1]


def test_the_teacher_is_checked(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cache", world.root / "train", "--out", tmp_path / "c", "--teacher", world.teacher]
    assert world.run(*command) == 2
    assert "the teacher looks untrained" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_evaluate(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["evaluate", world.root / "test", "--student", world.root / "student"]
    assert world.run(*command) == 0
    said = capsys.readouterr().out
    assert "3 classes from the folders' names, 1 prompt a class" in said
    assert "mean per class" in said
    more = ["--teacher", world.teacher, "--set", "pets", "--per-class"]
    assert world.run(*command, *more) == 0
    said = capsys.readouterr().out
    assert "reported: feature distillation" in said
    assert "87.50" in said
    assert "Cosine of student and teacher on these images: " in said
    assert "Share of the teacher's top-1 kept: " in said
    assert "class 2" in said
    (world.root / "test" / "class 2").rename(world.root / "test" / "emu")
    try:
        assert world.run(*command) == 2
        assert "has no text vectors of 1 classes, such as 'emu'" in capsys.readouterr().err
    finally:
        (world.root / "test" / "emu").rename(world.root / "test" / "class 2")
    assert world.run("evaluate", world.root / "test") == 2
    assert "nothing to evaluate" in capsys.readouterr().err
    assert world.run("evaluate", tmp_path / "none", "--student", world.root / "student") == 2
    assert "no such folder" in capsys.readouterr().err


def test_text_vectors_once_a_class_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = open_clip.CLIP.encode_text

    def counting(self: Any, text: Any, *more: Any) -> Any:
        seen.append(len(text))
        return real(self, text, *more)

    monkeypatch.setattr(open_clip.CLIP, "encode_text", counting)
    command = ["evaluate", world.root / "test", "--student", world.root / "student", "--teacher",
               world.teacher, "--template", "a {}", "photo"]  # fmt: skip
    assert world.run(*command) == 0
    assert seen == [6]  # three classes, two prompts each, for student and teacher together


def test_classify_with_names_of_ones_own(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("emu\ncassowary\nclass 1\n")
    command = ["classify", world.root / "test", "--student", world.root / "student",
               "--classes", names]  # fmt: skip
    assert world.run(*command) == 2
    said = capsys.readouterr().err
    assert "the student has no text vectors of 2 classes, such as 'emu': give --teacher" in said
    more = ["--teacher", world.teacher, "--sheet", tmp_path / "sheet.png", "--top", 2]
    assert world.run(*command, *more) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(said.out.partition("written")[0])))
    assert len(rows) == 12
    assert rows[0]["picture"] == "class 0/0.png"
    assert {row["class1"] for row in rows} <= {"emu", "cassowary", "class 1"}
    assert float(rows[0]["share1"]) >= float(rows[0]["share2"])
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert "M MACs an image" in said.err
    assert world.run("classify", world.root / "test") == 2


def test_export(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", world.root / "student", "--teacher", world.teacher]
    assert world.run(*command, "--open-clip", tmp_path / "oc", "--onnx", tmp_path / "s.onnx") == 0
    said = capsys.readouterr().out
    assert "more than its image tower" in said  # such a small one
    names = tmp_path / "names.txt"
    names.write_text("class 1\n")
    assert world.run(*command[:2], "--classes", names, "--onnx", tmp_path / "one.onnx") == 0
    one = onnxruntime.InferenceSession(tmp_path / "one.onnx").get_modelmeta()
    assert json.loads(one.custom_metadata_map["class_names"]) == ["class 1"]
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx")
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["class_names"]) == ["class 0", "class 1", "class 2"]
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'oc'}")
    assert model.visual.image_size == (32, 32)
    assert world.run("export", world.root / "student") == 2
    assert "nothing to write" in capsys.readouterr().err
    assert world.run("export", world.root / "student", "--open-clip", tmp_path / "x") == 2
    assert "needs the text tower" in capsys.readouterr().err


def test_another_teachers_texts_are_refused(
    world: World, tmp_path: Path, clip_config: dict[str, Any], model_of: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = tmp_path / "other"
    shutil.copytree(world.root / "teacher", other)
    save_file(dict(model_of(seed=8).state_dict()), other / "open_clip_model.safetensors")
    names = tmp_path / "names.txt"
    names.write_text("emu\n")
    student, teacher = world.root / "student", ("--teacher", f"open_clip:{other}")
    cache = ["cache", world.root / "train", "--out", tmp_path / "cache", "--views", 1]
    assert world.run(*cache, *teacher, "--no-teacher-check") == 0
    for command in (
        ("evaluate", world.root / "test", "--student", student),
        ("classify", world.root / "test", "--student", student, "--classes", names),
        ("export", student, "--open-clip", tmp_path / "oc"),
        ("evaluate", world.root / "test", "--student", student, "--texts", tmp_path / "cache"),
        ("export", student, "--onnx", tmp_path / "s.onnx", "--classes", names),
    ):
        assert world.run(*command, *(() if "--texts" in command else teacher)) == 2
        assert "texts of one are no texts of the other" in capsys.readouterr().err


def test_c12_export_of_a_backbone_that_open_clip_cannot_hold(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mobile"
    command = _distill(world, out, "--epochs", 0.1)
    command[command.index("test_efficientnet")] = "mobilenetv3_small_050"
    assert world.run(*command) == 0
    command = ["export", out, "--teacher", world.teacher, "--open-clip", tmp_path / "oc"]
    assert world.run(*command) == 2
    assert "1x1024 and 288x16" in capsys.readouterr().err


def test_torchrun(world: World, tmp_path: Path) -> None:
    words = [*_distill(world, tmp_path / "two", "--objective", "vision-language")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               "--master-port", "29533", "-m", "clip_distill.cli", *map(str, words)]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert said.returncode == 0, said.stderr[-2000:]
    assert said.stdout.count("student: ") == 1
    assert (tmp_path / "two" / "student.safetensors").is_file()
