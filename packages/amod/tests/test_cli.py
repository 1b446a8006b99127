"""The command: the FLOP table, a cell, its trip, what is refused, and what is generated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import amod
from amod.cli import PAPER
from amod.study.flop_table import computed, flop_table, reported, rows
from amod.use.hub import from_pretrained
from amod.use.metadata import names_in, stored
from repro_shared.study.command import main
from repro_shared.study.results import load_results, shipped

Call = Callable[..., int]


def test_flop_table_reproduces_what_it_can_and_says_what_not() -> None:
    found = {row.cell.id: row.agreement for row in rows()}
    assert not [cell for cell, agreement in found.items() if agreement == "differs"]
    exact = [cell for cell in found if cell.startswith(("table4", "table5"))]
    assert len(exact) == 24
    assert {found[cell] for cell in exact} == {"equal"}
    assert found["figure8/deit-small-isoflop/gflops/stanford-cars"].startswith("read off a plot")
    assert found["table9/detr/gflops/coco"].startswith("DETR")
    assert len(flop_table().rows) == len(found)


def test_reproduce_writes_the_table(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("reproduce", "--table", "flops", "--out", str(tmp_path)) == 0
    assert "closed form" in capsys.readouterr().out
    assert (tmp_path / "tables" / "flops.csv").is_file()
    assert call("reproduce", "--plan", "--out", str(tmp_path / "none")) == 0
    assert not (tmp_path / "none").exists()
    assert "fine-tuned, attention, 12.5 %, 40 steps: 3 of 3 runs to make" in capsys.readouterr().out


def test_cite_gives_the_cell_the_trip_and_bibtex(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = "table3/deit-small-a-mod/top-1-at-50/imagenet-1k"
    assert call("cite", cell) == 0
    printed = capsys.readouterr().out
    assert "13.49 percent" in printed
    claims = [row for row in shipped(PAPER) if cell in row.cells]
    assert claims
    for row in claims:
        after = printed.split(f"claim      {row.statement} ({row.data})")[1].split("claim  ")[0]
        assert f"verdict    {row.verdict}" in after
    for hop in ("amod/study/recipes.py", "converted, amod/study/stages.py",
                "AttentionRouter, amod/method/routers.py"):  # fmt: skip
        assert hop in printed
    assert "eprint = {2412.20875v1}" in printed


def test_a_table_is_printed_with_its_trip(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("table", "conversion-digits") == 0
    printed = capsys.readouterr().out
    assert "Seeds: 0 1 2 3 4" in printed
    assert "row        converted, attention, 70 %" in printed
    assert call("table", "flops") == 0  # arithmetic: needs no records


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("reproduce", "--table", "table1"), "table1 exists at scale paper, not at cpu"),
        (("reproduce", "--table", "routing_cifar10"), "routing_cifar10 needs CIFAR-10: a folder"),
        (("reproduce", "--seeds", "0", "0"), "distinct"),
        (("reproduce", "--data", "."), "read no data"),
        (("reproduce", "--retrain"), "no committed weights"),
        (("table", "table9"), "no table"),
        (("train", "--data", "nowhere"), "no such folder"),
        (("train",), "--data DIR"),
        (("transfer",), "--data DIR"),
        (("evaluate", "--data", "nowhere"), "no such folder"),
        (("evaluate",), "--data DIR"),
        (("bench", "--batch", "0"), "at least 1"),
        (("reproduce", "--device", "gpu"), "device"),
        (("data", "check", "nowhere"), "no such folder"),
        (("show", "nowhere.png"), "nowhere.png"),
        (("export", "resnet18", "x.onnx"), "ResNet cannot be routed"),
        (("cite", "table1/x/y"), "of 237 the nearest: table"),
        (("convert", "test_vit", "out"), "give --weights FILE or --pretrained"),
        (("convert", "test_vit", "out", "--weights", "nowhere.pth"), "no weights at nowhere.pth"),
        (("convert",), "required"),
        (("export", "test_vit", "x.onnx", "--first", "0"), "block 0 cannot be routed"),
        (("evaluate", "--pretrained", "--data", "."), "nothing is downloaded"),
        (("data", "check", ".", "--class-map", "nowhere.txt"), "class map nowhere.txt"),
    ],
)
def test_refusals(
    call: Call,
    arguments: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.strip().count("\n") <= 1  # flops is written before what follows it is refused


def test_convert_writes_a_model_that_is_read_again(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = timm.create_model("test_vit", num_classes=2)
    names = stored(("cat", "dog"))
    save_file(dense.state_dict(), tmp_path / "dense.safetensors", names)
    arguments = ("--weights", str(tmp_path / "dense.safetensors"), "--capacity", "0.25",
                 "--score", "cls-row", "--protect-prefix", "--first", "2", "--every", "3",
                 "--img-size", "96")  # fmt: skip
    out = tmp_path / "made"
    assert call("convert", "test_vit", str(out), *arguments) == 0
    assert "25 % of the tokens in routed blocks" in capsys.readouterr().out
    assert names_in(out / "model.safetensors") == ("cat", "dog")
    made = from_pretrained(out)
    assert made.routing == amod.Routing(0.25, 2, 3, "cls-row", protect_prefix=True)
    assert made.patch_embed.img_size == (96, 96)
    assert torch.equal(made.head.weight, dense.head.weight)
    assert call("convert", "test_vit", str(out), *arguments) == 2
    assert "holds a model already" in capsys.readouterr().err


def test_flags_of_routing_are_everywhere(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("train", "transfer", "evaluate", "show", "export", "convert"):
        assert call(verb, "--help") == 0
        told = capsys.readouterr().out
        for flag in ("--router", "--preset", "--first", "--every", "--score", "--protect-prefix",
                     "--k-align", "--weights", "--pretrained", "--img-size"):  # fmt: skip
            assert f"{flag} " in told, (verb, flag)


def test_every_option_has_a_help_text(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in PAPER.verbs:
        assert call(*verb.split(), "--help") == 0
        told = " ".join(capsys.readouterr().out.replace("│", " ").split())
        empty = re.findall(r"(--[a-z-]+) (?:\{[^}]*\}\|?)?(?:STR|INT|FLOAT)? ?\(default", told)
        assert not empty, verb


def test_generated_files_are_fresh(call: Call) -> None:
    assert call("report", "--check") == 0


def test_every_committed_run_is_current() -> None:
    seeds = {"routing_digits": 5, "routing_cifar10": 5, "routing_cifar10_tuning": 1}
    for _, study in PAPER.every_study():
        if study.name in seeds:
            results = load_results(PAPER, study, PAPER.results)
            assert results.stale == 0
            assert len(results.records) == len(study.arms) * seeds[study.name]


def test_a_flop_cell_is_cited_with_what_the_closed_form_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cell = next(c for c in reported() if c.unit == "GFLOPs" and computed(c).endswith("equal"))
    assert main(PAPER, ["cite", cell.id]) == 0
    said = capsys.readouterr().out
    assert "computed   " in said
    assert "not run" not in said


def test_a_table_shows_the_trip_of_its_own_rows(capsys: pytest.CaptureFixture[str]) -> None:
    for table, row in (
        ("transfer-digits", "transferred, attention, 12.5 %"),
        ("scratch-digits", "from scratch, attention, 50 %"),
        ("verdicts-cifar10", "converted, attention, 50 %"),
    ):
        assert main(PAPER, ["table", table]) == 0
        assert f"row        {row}\n" in capsys.readouterr().out


def test_data_check_counts_classes_and_names_what_is_wrong(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / part / name / f"{i}.png")
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    assert call("data", "check", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    for said in ("train", "2 classes", "6 images", "sha256", "1 .txt", "0 = cat, 1 = dog"):
        assert said in shown
    (tmp_path / "train" / "dog" / "0.png").write_bytes(b"\x89PNG")
    assert call("data", "check", str(tmp_path)) == 2
    assert "0.png" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["flops", "routing_digits", "routing_digits_tuning"])
def test_data_that_no_table_reads_are_refused_before_anything_runs(
    call: Call, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("reproduce", "--table", table, "--data", str(tmp_path), "--out", str(out)) == 2
    assert f"{table} reads no data" in capsys.readouterr().err
    assert not out.exists()
