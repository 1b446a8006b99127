"""evaluate, probe, corruptions, cue-swap and classify, as a user calls them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from clip_distill.cli import PAPER
from clip_distill.use import scored, seen
from repro_shared.study.command import main


@dataclass(frozen=True)
class World:
    """Files that the tests share; nothing in it is changed."""

    root: Path
    teacher: str

    def run(self, *words: object) -> int:
        return main(PAPER, [str(word) for word in words])

    def scored(self, *more: object) -> list[object]:
        return ["--student", self.root / "second", "--teacher", self.teacher, *more]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: Callable[..., Path],
    clip_config: dict[str, Any],
    model_of: Callable[..., Any],
) -> World:
    root = tmp_path_factory.mktemp("world")
    pictures(root / "train", classes=2)  # class 0 and class 1 alone
    pictures(root / "real", classes=3, seed=1)
    pictures(root / "drawn", classes=3, seed=2)
    folder = root / "teacher"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": clip_config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    ))  # fmt: skip
    save_file(dict(model_of().state_dict()), folder / "open_clip_model.safetensors")
    made = World(root, f"open_clip:{folder}")
    assert made.run("cache", root / "train", "--out", root / "cache", "--teacher", made.teacher,
                    "--views", 1, "--batch", 4, "--no-teacher-check") == 0  # fmt: skip
    for out, more in (("first", []), ("second", ["--init", root / "first"])):
        assert made.run("distill", root / "train", "--out", root / out, "--cache", root / "cache",
                        "--backbone", "test_efficientnet", "--epochs", 1, "--batch-size", 4,
                        *more) == 0  # fmt: skip
    return made


def test_the_student_remembers_its_names(world: World) -> None:
    kept = [json.loads((world.root / n / "student.json").read_text())["stages"]
            for n in ("first", "second")]  # fmt: skip
    stage = {"images": 8, "classes": ["class 0", "class 1"], "captions": False}
    assert kept == [[stage], [stage, stage]]


def test_unseen_classes_before_and_after(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[Any, Any]]()
    real = seen.by_seen

    def watching(cosines: Any, targets: Any, unseen: Any) -> Any:
        asked.append((targets, list(unseen)))
        return real(cosines, targets, unseen)

    monkeypatch.setattr("clip_distill.use.evaluate_command.by_seen", watching)
    more = ("--before", world.root / "first")
    assert world.run("evaluate", world.root / "real", *world.scored(*more)) == 0
    said = capsys.readouterr().out
    assert "Classes with and without images in training" in said
    assert "trained with the names of 2 of these classes" in said
    assert "of 1, such as 'class 2'" in " ".join(said.split())
    assert asked == [((0,) * 4 + (1,) * 4 + (2,) * 4, [False, False, True])] * 3
    rows = [line for line in said.splitlines() if line.startswith(("student", "teacher"))]
    assert len(rows) == 6  # two tables of student, student before and teacher
    assert world.run("evaluate", world.root / "train", *world.scored()) == 0
    assert "without images in training" not in capsys.readouterr().out  # all were seen


def test_c2_both_numbers_with_prompts_and_source_of_names(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, count in (("class 0", 90), ("class 1", 10)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.fromarray(np.full((8, 8, 3), number, np.uint8))
            picture.save(tmp_path / "set" / name / f"{number:02d}.png")
    real = scored.Model.encode

    def planned(self: Any, pictures: Any, *more: Any, **other: Any) -> Any:
        texts = np.load(world.root / "second" / "classes.npz")["vectors"]
        right = [n < (81 if t == 0 else 5) for t, n in
                 zip(pictures.targets, [*range(90), *range(10)], strict=True)]  # fmt: skip
        wanted = [t if ok else 1 - t for t, ok in zip(pictures.targets, right, strict=True)]
        return texts[wanted]

    assert real is not None
    monkeypatch.setattr(scored.Model, "encode", planned)
    (tmp_path / "names.txt").write_text("class 0\nclass 1\n")
    assert world.run("evaluate", tmp_path / "set", "--student", world.root / "second",
                     "--classes", tmp_path / "names.txt") == 0  # fmt: skip
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("student"))
    assert "86.00" in row
    assert "70.00" in row
    assert "1 prompt a class" in said
    assert "2 classes from" in said


def test_synthetic_beside_real(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--synthetic", world.root / "drawn", "--per-class")
    assert world.run("evaluate", world.root / "real", *world.scored(*more)) == 0
    said = capsys.readouterr().out
    for words in ("student and teacher on real images: ", "student and teacher on synthetic im"):
        assert f"Cosine of {words}" in said
    rows = [line.split() for line in said.splitlines() if line.startswith("student ")]
    assert [row[1] for row in rows[:2]] == ["real", "synthetic"]
    assert [row[4] for row in rows[:2]] == ["12", "12"]
    assert "Synthetic minus real, student: " in said
    assert "Synthetic minus real, teacher: " in said
    assert world.run("evaluate", world.root / "real", *world.scored("--synthetic",
                     world.root / "train")) == 2  # fmt: skip
    assert "1 without a folder, such as 'class 2'" in capsys.readouterr().err


def test_a_set_of_the_paper(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "dtd" / "dtd"
    (place / "labels").mkdir(parents=True)
    names = ["banded/1.jpg", "knitted/2.jpg"]
    for name in names:
        (place / "images" / name).parent.mkdir(parents=True)
        Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(place / "images" / name)
    (place / "labels" / "test1.txt").write_text("".join(f"{name}\n" for name in names))
    assert world.run("evaluate", f"textures:{tmp_path}", *world.scored()) == 0
    said = capsys.readouterr().out
    assert "2 classes from torchvision, 1 prompt a class" in said
    rows = [line for line in said.splitlines() if line.startswith("reported: ")]
    assert len(rows) == 2
    assert "47.40" in said
    assert "38.80" in said
    assert world.run("evaluate", f"food:{tmp_path}", *world.scored()) == 2
    assert "no folder food-101 here; nothing is downloaded" in capsys.readouterr().err


def test_probe(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["probe", world.root / "drawn", world.root / "real", *world.scored()]
    assert world.run(*command, "--shots", 1, 2, "--seeds", 0, 1) == 0
    said = capsys.readouterr().out
    head = next(line for line in said.splitlines() if line.startswith("model"))
    assert all(word in head for word in ("zero-shot", "1 shot (%)", "2 shots (%)", "all (%)"))
    row = next(line for line in said.splitlines() if line.startswith("student"))
    assert row.count("[") == 2  # intervals of both draws
    assert "12 training images, the penalty chosen on 20% of them" in said
    # A student that keeps no texts of these classes has no zero-shot column, and is probed still.
    alone = ["probe", world.root / "drawn", world.root / "real", "--student", world.root / "second"]
    assert world.run(*alone, "--shots", 1, "--seeds", 0, "--no-full") == 0
    assert "no text vectors of these classes" in capsys.readouterr().out
    assert world.run(*command, "--shots", 9) == 2
    assert "--shots 9: class 'class 0' of" in capsys.readouterr().err
    assert world.run("probe", world.root / "train", world.root / "real", *world.scored()) == 2
    assert "classes differ" in capsys.readouterr().err
    assert world.run(*command, "--held-out", 1) == 2
    assert "--held-out must be between 0 and 1" in capsys.readouterr().err


def test_corruptions(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["corruptions", world.root / "real", *world.scored()]
    out = tmp_path / "found.csv"
    assert world.run(*command, "--kinds", "contrast", "fog", "--severities", 1, 5,
                     "--out", out) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "student on " in said
    assert "teacher on " in said
    assert "against clean" in said
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["model"], r["kind"], r["severity"]) for r in rows[:5]] == [
        ("student", "clean", "0"), ("student", "contrast", "1"), ("student", "contrast", "5"),
        ("student", "fog", "1"), ("student", "fog", "5"),
    ]  # fmt: skip
    assert len(rows) == 10
    clean = next(r for r in rows if r["model"] == "teacher")
    assert f"Clean images: {float(clean['top-1 (%)']):.2f} % top-1" in said
    assert world.run(*command, "--kinds", "frost") == 2
    assert "--kinds frost: unknown; known are gaussian-noise" in capsys.readouterr().err
    assert world.run(*command, "--severities", 6) == 2
    assert "--severities must be among 1 to 5" in capsys.readouterr().err


def test_cue_swap_tells_who_follows(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An encoder that looks at the corner alone follows a border; one at the middle does not."""
    for label, (middle, corner) in enumerate(((30, 40), (120, 130), (210, 220))):
        (tmp_path / "set" / f"class {label}").mkdir(parents=True)
        for number in range(4):
            pixels = np.full((40, 40, 3), corner, np.uint8)
            pixels[8:32, 8:32] = middle + number
            Image.fromarray(pixels).save(tmp_path / "set" / f"class {label}" / f"{number}.png")

    def looking(self: Any, pictures: Any, workers: int, change: Any = None, label: str = "") -> Any:
        made = list[Any]()
        for index in range(len(pictures)):
            seen_ = self.preprocessing.centre(pictures.read(index))
            seen_ = seen_ if change is None else change(seen_, index)
            at = 0 if self.name == "student" else len(seen_) // 2
            made.append(TEXTS[int(seen_[at, at, 0]) // 85])
        return np.array(made)

    TEXTS = np.eye(16, dtype=np.float32)[:3]  # noqa: N806
    monkeypatch.setattr(scored.Model, "encode", looking)
    monkeypatch.setattr("clip_distill.use.scored.class_texts",
                        lambda teacher, names, *more: type("T", (), {
                            "vectors": TEXTS, "names": names, "teacher": "",
                            "__str__": lambda self: "texts"})())  # fmt: skip
    sheet = tmp_path / "sheet.png"
    command = ["cue-swap", tmp_path / "set", *world.scored("--cues", "border")]
    assert world.run(*command, "--sheet", sheet) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if "border " in line}
    assert rows["student"] == ["border", "100.0", "100.0", "0.0", "-100.0", "100.0", "0.0"]
    assert rows["teacher"] == ["border", "100.0", "100.0", "100.0", "0.0", "0.0", "0.0"]
    with Image.open(sheet) as shown:
        assert shown.size == (3 * 32, 8 * 32)


def test_cue_swap_with_real_models_and_its_refusals(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cue-swap", world.root / "real", *world.scored()]
    assert world.run(*command, "--donors", world.root / "drawn") == 0
    said = capsys.readouterr().out
    assert "12 images, cues from " in said
    assert sum("colours" in line for line in said.splitlines()) == 2
    for more, words in (
        (("--cues", "background"), "needs --masks FOLDER"),
        (("--cues", "smell"), "--cues smell: give border, colours, background"),
        (("--masks", "x"), "--masks are read for the cue `background`"),
        (("--share", 0.5), "--share must be above 0 and below 0.5"),
        (("--donors", world.root / "train"), "classes differ"),
    ):
        assert world.run(*command, *more) == 2
        assert words in capsys.readouterr().err


def test_the_cost_card(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.run("classify", world.root / "real", "--student", world.root / "second") == 0
    said = capsys.readouterr().err
    for words in ("M parameters, ", "M MACs an image, ", " images/s (", "threads, batch 16)",
                  "pictures/s with reading them", "than the whole teacher"):  # fmt: skip
        assert words in said


def test_before_needs_a_student(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", world.root / "real", "--teacher", world.teacher]
    assert world.run(*command, "--before", world.root / "first") == 2
    assert "--before is compared with --student" in capsys.readouterr().err
