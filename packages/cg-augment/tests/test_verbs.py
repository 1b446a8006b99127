"""`train` and `evaluate` as a user has them, and one clear line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cg_augment.cli import PAPER
from cg_augment.study.train_command import train
from cg_augment.use.check_command import data_check
from cg_augment.use.classifiers import load_classifier, of_timm, save_classifier
from cg_augment.use.evaluate_command import evaluate
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import save_weights
from repro_shared.study.command import main as command_line

MODEL = "test_resnet"  # timm's, of 0.5 M parameters
CLASSES = ("bar", "cross")
Make = Callable[..., Any]
SHORT: dict[str, Any] = {"model": MODEL, "image_size": 32, "steps": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, grouped_of: Make, folders_of: Make) -> Path:
    """train/ of two groups, test/ of four, each with group folders; and a teacher."""
    folder = tmp_path_factory.mktemp("data")
    folders_of(folder / "set" / "train", grouped_of((6, 2, 2, 6)), True)
    folders_of(folder / "set" / "test", grouped_of((3, 3, 3, 3), seed=1), True)
    save_classifier(of_timm(MODEL, CLASSES, 32, seed=5), folder / "teacher")
    return folder


def run(root: Path, out: Path, **more: Any) -> Path:
    given = {"teacher": str(root / "teacher"), "out": str(out), **SHORT, **more}
    train(str(root / "set"), **given)
    return out


def file_of(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "model.json").read_text()))


@pytest.mark.parametrize(
    "recipe", ["kd", "feature-kd", "randaugment", "mixup", "cutmix", "adversarial", "tab"]
)
def test_every_recipe_trains(root: Path, tmp_path: Path, recipe: str) -> None:
    out = run(root, tmp_path / "student", recipe=recipe, set="groups")
    student, about = load_classifier(out)
    assert student.classes == CLASSES
    assert about["recipe"] == recipe
    assert about["training"]["steps"] == 3
    assert about["images"] == 24
    before = of_timm(MODEL, CLASSES, 32)
    assert not torch.equal(student.head.weight, before.head.weight)


def test_the_map_of_features_goes_on_with_its_student(root: Path, tmp_path: Path) -> None:
    first = run(root, tmp_path / "first", recipe="feature-kd")
    more: dict[str, Any] = {"recipe": "feature-kd", "init": str(first), "model": None}
    assert file_of(first)["start_map"] == ""
    one = run(root, tmp_path / "one", **more)
    assert file_of(one)["start_map"] == sha256_file(first / "feature-map.safetensors")
    (first / "feature-map.safetensors").unlink()
    other = run(root, tmp_path / "other", **more)
    assert file_of(other)["start_map"] == ""
    assert (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_a_finished_student_is_not_trained_again_and_another_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(root, tmp_path / "student")
    first = (out / "model.safetensors").read_bytes()
    run(root, out)
    assert "holds this student already" in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == first
    with pytest.raises(UserError, match=r"holds another run \(seed is 0 there and 1 here\)"):
        run(root, out, seed=1)
    with pytest.raises(UserError, match="holds another run"):
        run(root, out, set="groups", drop=("bar/blue",))


def made(folder: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    g = np.random.default_rng(0)
    lines = []
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(3):
            pixels = g.integers(0, 255, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            lines.append(json.dumps({"file_name": f"{name}/{number}.png", "accepted": True}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_biased_student_then_generated_images(root: Path, tmp_path: Path) -> None:
    first = run(root, tmp_path / "biased")
    images = made(tmp_path / "images")
    out = run(
        root, tmp_path / "further", init=str(first), generated=(str(images),), model=None,
        image_size=None,
    )  # fmt: skip
    about = file_of(out)
    assert about["training"]["generated"] == 0.5
    assert len(about["generated"]) == 1
    assert about["start"] == load_classifier(first)[0].sha256


def test_dropped_groups_leave_training(root: Path, tmp_path: Path) -> None:
    out = run(root, tmp_path / "s", set="groups", drop=("bar/blue", "cross/red"), epochs=1.0,
              steps=None)  # fmt: skip
    about = file_of(out)
    assert about["training"]["steps"] == 2  # 12 pictures are left, 8 a step: 1.5 passes rounded
    assert about["dropped"] == ["bar/blue", "cross/red"]


def test_evaluation_by_group(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(root, tmp_path / "student")
    capsys.readouterr()
    evaluate(str(root / "set"), student=str(out), teacher=str(root / "teacher"), set="groups",
             training=str(root / "set"), dropped=("bar/blue",))  # fmt: skip
    said = capsys.readouterr().out
    for name in ("worst-group accuracy", "mean-group accuracy", "adjusted accuracy", "bar/blue"):
        assert name in said
    assert "adjusted accuracy: undefined, not in training: bar/blue." in said
    evaluate(str(root / "set"), student=str(out), set="groups", training=str(root / "set"))
    assert "undefined" not in capsys.readouterr().out
    evaluate(str(root / "set"), student=str(out))  # classes as groups
    assert "training sizes are not known" in capsys.readouterr().out


def test_spurious_scores_of_a_classifier_of_1000(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(str(number) for number in range(1000))
    save_classifier(of_timm(MODEL, names, 32, seed=1), tmp_path / "student")
    g = np.random.default_rng(0)
    for folder, count in (("val/n1", 3), ("val/n2", 3), ("s/images/a_b_4_1", 2),
                          ("s/images/a_b_8_2", 2)):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
        for number in range(count):
            pixels = g.integers(0, 255, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "index.json").write_text('{"4": ["n1", "a"], "8": ["n2", "b"]}')
    given = {"validation": str(tmp_path / "val"), "class_index": str(tmp_path / "index.json")}
    evaluate(
        str(tmp_path / "s"), student=str(tmp_path / "student"), set="spurious-imagenet", **given
    )
    said = capsys.readouterr().out
    assert "spurious mAP" in said
    assert "computes the average precision" in " ".join(said.split())
    with pytest.raises(UserError, match="give --validation"):
        evaluate(str(tmp_path / "s"), student=str(tmp_path / "student"), set="spurious-imagenet")
    # A folder is a teacher as it is; one of texts needs names, since "a photo of a 4" is nothing.
    own = str(tmp_path / "student")
    evaluate(str(tmp_path / "s"), teacher=own, set="spurious-imagenet", **given)
    table = capsys.readouterr().out.replace("teacher", "student")
    assert table.split("model")[1].split() == said.split("model")[1].split()
    texts = "open_clip:ViT-B-32:x"
    with pytest.raises(UserError, match=f"{texts} knows classes by name: give their names"):
        evaluate(str(tmp_path / "s"), teacher=texts, set="spurious-imagenet",
                 validation=given["validation"])  # fmt: skip
    with pytest.raises(UserError, match="has 2 classes: a teacher that knows classes by name"):
        evaluate(str(tmp_path / "s"), teacher=texts, set="spurious-imagenet", **given)


def test_a_teacher_of_ones_own(root: Path, tmp_path: Path) -> None:
    own = run(root, tmp_path / "own", teacher="", recipe="labels")
    assert file_of(own)["teacher"] is None
    out = run(root, tmp_path / "student", teacher=str(own))
    assert file_of(out)["teacher_sha256"] == load_classifier(own)[0].sha256


def test_a_teacher_of_timm_by_file(root: Path, tmp_path: Path) -> None:
    teacher = of_timm(MODEL, ("cross", "ring", "bar"), 160, seed=3)
    save_weights(teacher.network, tmp_path / "t.safetensors")
    (tmp_path / "names.txt").write_text("cross\nring\nbar\n")
    out = run(root, tmp_path / "s", teacher=f"timm:{MODEL}:{tmp_path / 't.safetensors'}",
              teacher_classes=str(tmp_path / "names.txt"))  # fmt: skip
    assert file_of(out)["teacher"] == f"timm:{MODEL}"


def test_bad_input_is_one_clear_line_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    save_classifier(of_timm(MODEL, ("bar", "ring"), 32), tmp_path / "ring")
    save_weights(of_timm(MODEL, ("a", "b", "c"), 32).network, tmp_path / "three.safetensors")
    lone = tmp_path / "lone" / "train"
    for name in CLASSES:
        (lone / name).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(lone / "bar" / "0.png")
    for said, more in (
        ("--recipe kd needs --teacher", {"teacher": ""}),
        ("--recipe labels needs no --teacher", {"recipe": "labels"}),
        ("classes differ: timm:test_resnet does not know cross", {"teacher": f"{tmp_path}/ring"}),
        ("is for another number of classes than the 2 here",
         {"teacher": f"timm:{MODEL}:{tmp_path}/three.safetensors"}),
        ("unknown teacher 'clip'", {"teacher": "clip"}),
        ("needs a file of weights", {"teacher": f"timm:{MODEL}"}),
        ("timm has no model 'resnet17'", {"model": "resnet17"}),
        ("no group 'bar/green'", {"set": "groups", "drop": ("bar/green",)}),
        ("--drop needs groups", {"drop": ("bar/blue",)}),
        ("two lengths", {"epochs": 1.0}),
        ("give a folder that `cg-augment generate` wrote", {"generated": (f"{tmp_path}/other",)}),
        ("has cow", {"generated": (str(made(tmp_path / "cows", ("bar", "cow"))),)}),
        ("no CelebA here", {"set": "celeba"}),
        ("--batch-size must be", {"batch_size": 0}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            run(root, tmp_path / "out", **more)
    with pytest.raises(UserError, match=r"class folder .*cross has no images"):
        train(str(tmp_path / "lone"), teacher=str(root / "teacher"), out=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "run.json").exists()


def test_unreadable_images_are_named_before_training(
    root: Path, tmp_path: Path, grouped_of: Make, folders_of: Make
) -> None:
    folder = folders_of(tmp_path / "set" / "train", grouped_of((2, 2, 2, 2)))
    (folder / "bar" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"1 of 9 images cannot be read: .*broken\.png"):
        train(
            str(tmp_path / "set"), teacher=str(root / "teacher"), out=str(tmp_path / "o"), **SHORT
        )
    assert not (tmp_path / "o" / "run.json").exists()


def test_a_damaged_student_is_named(root: Path, tmp_path: Path) -> None:
    out = run(root, tmp_path / "student")
    (out / "model.json").write_text("{")
    with pytest.raises(UserError, match=r"model\.json: damaged"):
        evaluate(str(root / "set"), student=str(out))
    with pytest.raises(UserError, match=r"no model\.json here"):
        evaluate(str(root / "set"), student=str(tmp_path))


def test_data_check(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_check(str(root / "set"), set="groups")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["bar/blue", "2", "3"] in lines
    assert sum(line[:2] == ["sha256", "of"] for line in lines) == 2
    with pytest.raises(UserError, match="no such folder"):
        data_check(str(tmp_path / "nowhere"))


def test_the_command_line_has_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(PAPER, ["evaluate", "/nowhere", "--student", "/nowhere"]) == 2
    assert "no model.json here; give a folder that `train` wrote" in capsys.readouterr().err
    assert command_line(PAPER, ["train", "--help"]) == 0
    assert "--generated" in capsys.readouterr().out
