"""Sets of images: the same bytes however they are made, damaged ones named, caps kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from torch import Tensor

from clip_distill.cli import PAPER
from clip_distill.use.pictures import Folder
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.shards import Shards
from clip_distill.use.synthetic.attempts import Item, Log, accepted, damage, items_of, read_logs
from clip_distill.use.synthetic.generate import Judge, Maker, missing
from clip_distill.use.synthetic.generate_command import _domain_template, part_of
from clip_distill.use.synthetic.manifest import account, settle
from clip_distill.use.synthetic.prompt_list import Prompt
from clip_distill.use.teachers import Teacher
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main


def run(*words: object) -> int:
    return main(PAPER, [str(word) for word in words])


def items(classes: int = 2, rows: int = 4) -> list[Item]:
    names = ["red", "green", "blue"][:classes]
    return items_of(
        [Prompt(n, n, row, f"a {n} thing {row}") for n in names for row in range(rows)], 1
    )


def noise(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
    """A painter of seeded noise, tinted as the prompt says."""
    images = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed)) / 2
        image[["red", "green", "blue"].index(prompt.split()[1])] += 0.5
        images.append(image)
    return torch.stack(images)


def make(out: Path, paint: Any, wanted: Sequence[Item], **more: Any) -> int:
    (out / "log").mkdir(parents=True, exist_ok=True)
    settings = {"seed": 0, "cap": 3, "batch": 4, "judge": None, **more}
    log = Log(out / "log" / "0-of-1.jsonl")
    try:
        return Maker(out, paint, **settings).make(wanted, read_logs(out / "log"), log)
    finally:
        log.close()


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_damage_is_seen_before_rounding() -> None:
    sound = torch.rand(3, 8, 8)
    assert damage(sound) is None
    broken = sound.clone()
    broken[1, 2, 3] = float("nan")
    assert damage(broken) == "not finite"
    red = torch.zeros(3, 8, 8)
    red[0] = 1.0
    assert damage(red) == "constant"
    assert damage(torch.zeros(3, 8, 8)) == "constant"
    assert damage(red + 0.003 * torch.rand(3, 8, 8)) == "constant"  # under a grey level
    assert damage(red / 2 + 0.1 * torch.rand(3, 8, 8)) is None


def test_one_image_in_four_is_not_finite_for_ever(tmp_path: Path) -> None:
    wanted = items(2, 2)
    bad = {wanted[2].seed(0, number) for number in range(3)}

    def paint(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        images = noise(prompts, seeds)
        images[[seed in bad for seed in seeds]] = float("nan")
        return images

    assert make(tmp_path, paint, wanted) == 6  # 4, and 2 more tries at the broken one
    there = [path.stem for path in sorted((tmp_path / "images").rglob("*.png"))]
    assert len(there) == 3
    form = account(wanted, read_logs(tmp_path / "log"), {}, 3, 0)
    assert form["given_up"] == [
        {"image": "red/0001", "last": "not finite", "seed": wanted[2].seed(0, 2)}
    ]
    assert form["verdicts"] == {"accepted": 3, "rejected": 0, "not finite": 3, "constant": 0}
    assert form["rejection_rate"] == 0.0
    assert form["classes"]["red"]["damaged"] == 3


def test_a_black_image_is_made_again_with_another_seed(tmp_path: Path) -> None:
    wanted = items(2, 1)
    black = wanted[0].seed(0, 0)

    def paint(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        images = noise(prompts, seeds)
        images[[seed == black for seed in seeds]] = 0
        return images

    make(tmp_path, paint, wanted)
    tries = read_logs(tmp_path / "log")["red/0000"]
    assert [each.verdict for each in tries] == ["constant", "accepted"]
    assert len({wanted[0].seed(0, number) for number in range(9)}) == 9


@pytest.mark.parametrize("error", ["gpu", "cpu"])
def test_out_of_memory_halves_the_batch_and_changes_no_image(
    error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tight(most: int) -> Callable[[Sequence[str], Sequence[int]], Tensor]:
        def paint(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
            if len(prompts) > most:
                if error == "gpu":
                    raise torch.OutOfMemoryError("CUDA out of memory")
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
            return noise(prompts, seeds)

        return paint

    wanted = items(3, 3)
    make(tmp_path / "a", noise, wanted, batch=8)
    make(tmp_path / "b", tight(2), wanted, batch=8)
    assert files(tmp_path / "a" / "images") == files(tmp_path / "b" / "images")
    said = capsys.readouterr().err
    assert "out of memory: on with batches of 4" in said
    assert "out of memory: on with batches of 2" in said
    with pytest.raises(UserError, match="not enough memory for one image"):
        make(tmp_path / "c", tight(0), wanted, batch=8)

    def broken(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        raise RuntimeError("another fault")

    with pytest.raises(RuntimeError, match="another fault"):
        make(tmp_path / "d", broken, wanted)


def colour_judge(teacher: Teacher, check: bool = True) -> Judge:
    """A judge whose features are the mean colour, and whose texts are the pure ones."""
    import dataclasses

    seer = dataclasses.replace(
        teacher, width=3, encode=lambda images: images.mean(dim=(2, 3)) + 2.0
    )
    texts = ClassTexts(("red", "green", "blue"), ("{}",), "a test", np.eye(3, dtype=np.float32))
    return Judge(seer, texts, ("red", "green", "blue"), 4, check)


def test_the_filter_rejects_what_looks_like_another_class(teacher: Teacher, tmp_path: Path) -> None:
    wanted = items(3, 4)
    wrong = {wanted[0].seed(0, 0), wanted[0].seed(0, 1)} | {
        wanted[1].seed(0, number) for number in range(3)
    }

    def paint(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        shown = ["a blue one" if s in wrong else p for p, s in zip(prompts, seeds, strict=True)]
        return noise(shown, seeds)

    make(tmp_path, paint, wanted, judge=colour_judge(teacher), keep_rejected=True)
    logs = read_logs(tmp_path / "log")
    assert [(a.verdict, a.taken_for) for a in logs["red/0000"]] == [
        ("rejected", "blue"), ("rejected", "blue"), ("accepted", "red"),
    ]  # fmt: skip
    assert accepted(logs["green/0000"]) is None
    form = account(wanted, logs, {}, 3, 0)
    assert form["images"] == 11
    assert form["tried"] == 16
    assert form["rejection_rate"] == round(5 / 16, 6)
    assert form["classes"]["red"] == {
        "name": "red", "images": 4, "given_up": 0, "tried": 6, "rejection_rate": round(2 / 6, 6),
        "damaged": 0, "taken_for": {"blue": 2},
    }  # fmt: skip
    assert [each["image"] for each in form["given_up"]] == ["green/0000"]
    kept = sorted(path.name for path in (tmp_path / "rejected").rglob("*.png"))
    assert len(kept) == 5
    assert kept[0] == "0000-attempt-0.png"
    # A higher cap goes on with what was given up.
    assert [(i.key, n) for i, n in missing(tmp_path, wanted, logs, 5)] == [("green/0000", 3)]
    make(tmp_path, paint, wanted, judge=colour_judge(teacher), cap=5)
    assert accepted(read_logs(tmp_path / "log")["green/0000"]) is not None


def test_a_filter_that_knows_nothing_is_refused_early(teacher: Teacher, tmp_path: Path) -> None:
    def blue(prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return noise(["a blue one"] * len(prompts), seeds)

    wanted = items(3, 40)
    with pytest.raises(UserError, match=r"the filter accepts 21 of 64 images, guessing 33\.3%"):
        make(tmp_path / "a", blue, wanted, judge=colour_judge(teacher))
    make(tmp_path / "b", blue, wanted, judge=colour_judge(teacher, check=False))
    assert len(list((tmp_path / "b" / "images").rglob("*.png"))) == 40


def test_a_log_survives_a_kill_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    wanted = items(2, 3)
    make(tmp_path, noise, wanted)
    before = files(tmp_path)
    log = tmp_path / "log" / "0-of-1.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:4]) + lines[4][:9])  # torn
    (tmp_path / "images" / "red" / "0000.png").unlink()  # removed by hand
    assert make(tmp_path, noise, wanted) == 3
    after = files(tmp_path)
    assert {n: v for n, v in after.items() if "log" not in n} == {
        n: v for n, v in before.items() if "log" not in n
    }
    assert account(wanted, read_logs(tmp_path / "log"), {}, 3, 0)["tried"] == 6
    for line in ('{"a": 1}', '["red/0000", 0, "acepted", ""]', '["red/0000", 0, [], ""]',
                 '["red/0000", -3, "accepted", ""]'):  # fmt: skip
        log.write_text(line + "\n")
        with pytest.raises(UserError, match=r"0-of-1.jsonl: line 1 is damaged"):
            read_logs(tmp_path / "log")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    lines = [{"folder": f"class_{c}", "name": f"class {c}", "row": row, "prompt": f"a {c} in {row}"}
             for c in range(2) for row in range(3)]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_same_bytes_in_one_process_in_several_and_after_a_kill(
    prompts: Path, pipeline_folder: Path, teacher_folder: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ["generate", prompts, "--pipeline", pipeline_folder, "--steps", 2, "--batch", 4,
               "--teacher", teacher_folder, "--attempts", 4, "--tar", 2, "--out"]  # fmt: skip
    one = tmp_path / "one"
    code = run(*command, one)
    assert code in (0, 1)  # a random teacher may accept nothing of a class
    manifest = json.loads((one / "manifest.json").read_text())
    assert manifest["wanted"] == 6
    assert 0 < manifest["rejection_rate"] < 1  # it rejects, or this test shows little
    assert manifest["tried"] > 6
    # Two parts by --shard: the second to end writes the manifest.
    two = tmp_path / "two"
    capsys.readouterr()
    assert run(*command, two, "--shard", "1/2") == 0
    assert "of 6 images" in capsys.readouterr().out
    assert not (two / "manifest.json").exists()
    assert run(*command, two, "--shard", "0/2") == code
    # Three processes as torchrun names them.
    three = tmp_path / "three"
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (2, 0, 1):
        monkeypatch.setenv("RANK", str(rank))
        assert run(*command, three) in (0, code)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    # Killed while it paints the second batch, then gone on with.
    from clip_distill.use.synthetic.painters import Painter

    real, calls = Painter.paint, []

    def killed(self: Painter, *given: Any) -> Tensor:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *given)

    four = tmp_path / "four"
    monkeypatch.setattr(Painter, "paint", killed)
    assert run(*command, four) == 130
    monkeypatch.undo()
    assert run(*command, four) == code

    def whole(folder: Path) -> dict[str, bytes]:
        return {name: data for name, data in files(folder).items() if not name.startswith("log/")}

    assert whole(one) == whole(two) == whole(three) == whole(four)
    # Nothing is painted again, and other settings are refused.
    before = files(one)
    assert run(*command, one) == code
    assert files(one) == before
    assert run(*command, one, "--seed", 1) == 2
    assert "holds another set (seed is 0 there and 1 here)" in capsys.readouterr().err
    assert files(one) == before
    # A caption that was removed is in the shards all the same.
    next((one / "images").rglob("*.txt")).unlink()
    assert run(*command, one) == code
    # What `cache` reads: shards with captions and the numbers of classes.txt.
    shards = Shards(one / "shards", classes=("class_0", "class_1"))
    assert len(shards) == manifest["images"]
    assert shards.caption(0).startswith("a ")
    with (one / "shards" / "000000.tar").open("rb") as file:
        source = [{"url": "000000.tar", "stream": file}]
        files_in = webdataset.tariterators.tar_file_expander(source)
        seen = list(webdataset.tariterators.group_by_keys(files_in))
    assert set(seen[0]) >= {"png", "txt", "cls"}


def test_from_prompts_to_a_cache(
    prompts: Path, pipeline_folder: Path, teacher_folder: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "set"
    command = ["generate", prompts, "--pipeline", pipeline_folder, "--steps", 2, "--out", out,
               "--copies", 2]  # fmt: skip
    assert run(*command, "--plan", "--rate", 0.001) == 0
    said = capsys.readouterr().out
    assert "12 images of 2 classes, 2 passes of the network each" in said
    assert "still to make in all: 12" in said
    assert "at 0.001 images a second: 3.3 hours a process" in said
    assert not out.exists()
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert "12 of 12 images of 2 classes" in said
    assert run(*command, "--plan") == 0
    assert "still to make in all: 0" in capsys.readouterr().out
    folder = Folder(out / "images")
    assert folder.classes == ("class_0", "class_1")
    assert folder.read(0).shape == (32, 32, 3)
    assert folder.caption(0) == "a 0 in 0"
    assert (out / "classes.txt").read_text() == "class_0\tclass 0\nclass_1\tclass 1\n"
    assert run("cache", out / "images", "--classes", out / "classes.txt", "--out", tmp_path / "c",
               "--teacher", teacher_folder, "--views", 2, "--captions",
               "--no-teacher-check") == 0  # fmt: skip


def test_what_generate_refuses(
    prompts: Path, pipeline_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "set"
    command = ["generate", prompts, "--pipeline", pipeline_folder, "--out", out]
    for more, said in (
        (("--shard", "2/2"), "--shard must be i/n"), (("--batch", 0), "--batch must be at least 1"),
        (("--compute", "float16"), "needs --device cuda"), (("--size", 33), "multiples of 2"),
        (("--template", "pets"), "is read by --teacher"), (("--steps", 99), "50 at most"),
        (("--adapter", tmp_path / "none"), "a .safetensors file"),
        (("--pipeline", tmp_path), "model_index.json"), (("--rate", 0), "--rate must be positive"),
    ):  # fmt: skip
        assert run(*command, *more) == 2
        assert said in capsys.readouterr().err
        assert not out.exists()
    long = tmp_path / "long.jsonl"
    line = {"folder": "a", "name": "a", "row": 0, "prompt": "very " * 80 + "red cat"}
    other = {**line, "folder": "b", "name": "b", "prompt": "a b"}
    long.write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    assert run("generate", long, "--pipeline", pipeline_folder, "--out", out) == 2
    error = capsys.readouterr().err
    assert "1 of 2 prompts have more than the 77 tokens of tiny-sd: 'very" in error
    assert "red cat' would be cut" in error
    assert not out.exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert part_of("") == (1, 2)
    with pytest.raises(UserError, match="both part the work"):
        part_of("0/2")
    monkeypatch.undo()
    assert "WORLD_SIZE" not in os.environ
    out.mkdir()
    shutil.copytree(tmp_path, out / "images", ignore=lambda *_: os.listdir(tmp_path))
    assert run(*command, "--steps", 1) == 2
    assert "holds images without settings.json" in capsys.readouterr().err


def test_a_set_is_not_gone_on_with_under_another_filter(tmp_path: Path) -> None:
    filtered = {"filter": {"teacher": "a", "sha256": "b"}, "seed": 0}
    for one, two in ((filtered, {**filtered, "filter": None}),
                     ({**filtered, "filter": None}, filtered),
                     (filtered, {**filtered, "filter": {"teacher": "a"}})):  # fmt: skip
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        out.mkdir()
        settle(out, one, {"a": "a"})
        settle(out, one, {"a": "a"})
        with pytest.raises(UserError, match=r"holds another set .filter"):
            settle(out, two, {"a": "a"})


def test_the_domain_is_known_by_the_folder_and_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"domain": "pets"}')
    (tmp_path / "prompts.jsonl").write_text("")
    for given in (tmp_path, tmp_path / "prompts.jsonl"):
        assert _domain_template(str(given)) == ("pets",)
