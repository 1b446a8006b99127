"""The command: the FLOP table, a cell, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amod.method.flops import Shape, dense_macs, routed_macs
from amod.study.bench import bench
from amod.study.flop_table import flop_table, rows
from amod.study.generate import speed_block
from amod.study.results import committed
from amod.study.timings import Timing, read_timings, write_timing
from amod.use.evaluate import evaluate
from amod.use.own_data import paper_schedule, train_own
from repro_shared.runtime.errors import UserError
from repro_shared.timing.calibrate import Calibration


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
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("reproduce", "--table", "flops", "--out", str(tmp_path)) == 0
    assert "closed form" in capsys.readouterr().out
    assert (tmp_path / "tables" / "flops.csv").is_file()
    assert call("reproduce", "--plan", "--out", str(tmp_path / "none")) == 0
    assert not (tmp_path / "none").exists()


def test_cite_gives_the_cell_and_bibtex(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    cell = "table3/deit-small-a-mod/top-1-at-50/imagenet-1k"
    assert call("cite", cell) == 0
    printed = capsys.readouterr().out
    assert "13.49 percent" in printed
    claims = [row for row in committed() if cell in row.cells]
    assert claims
    for row in claims:
        after = printed.split(f"claim      {row.claim}:")[1].split("claim  ")[0]
        assert f"verdict    {row.verdict}" in after
    assert "eprint = {2412.20875v1}" in printed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("reproduce", "--table", "table1"), "unknown table"),
        (("reproduce", "--table", "cifar10"), "needs its data"),
        (("reproduce", "--table", "digits", "--data", "x", "--seeds", "0", "0"), "distinct"),
        (("table", "table9"), "no table"),
        (("train", "--data", "nowhere"), "no such folder"),
        (("train",), "--data DIR"),
        (("evaluate", "--data", "nowhere"), "no such folder"),
        (("evaluate",), "--data DIR"),
        (("bench", "--batch", "0"), "at least 1"),
        (("reproduce", "--device", "gpu"), "device"),
        (("data", "check", "nowhere"), "no such folder"),
        (("show", "nowhere.png"), "no such file"),
        (("export", "resnet18", "x.onnx"), "ResNet cannot be routed"),
        (("cite", "table1/x/y"), "of 237 the nearest: table"),
        (("convert",), "unknown command"),
    ],
)
def test_refusals(
    call: Callable[..., int],
    arguments: tuple[str, ...],
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(*arguments) == 2
    assert line in capsys.readouterr().err


def test_bench_gives_ratios_beside_the_ceiling(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timing = bench("vit_tiny_patch16_224", 2, 2, img_size=64, embed_dim=48, depth=4)
    table = timing.table()
    by_name = {row[0]: row[1:] for row in table.rows}
    assert list(by_name)[:4] == ["dense", "dense with scores", "A-MoD 0.5", "linear 0.5"]
    assert {"fixed tokens 0.5", "fixed tokens 0.125"} <= set(by_name)
    assert len(by_name) == 2 + 2 * 5
    assert "over fixed tokens" in table.notes[2]
    assert by_name["dense"] == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert by_name["dense with scores"][3] == 1.0
    for speed, low, high, top, realised in by_name.values():
        assert isinstance(speed, float)
        assert isinstance(top, float)
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert 0 < low <= speed <= high
        assert 1 <= top < 2
        assert realised == pytest.approx(speed / top)
    shape = Shape(48, 4, image_size=64)
    top = dense_macs(shape) / routed_macs(shape, 0.125)
    assert by_name["A-MoD 0.125"][3] == pytest.approx(top)
    path = write_timing(tmp_path, timing)
    assert path.name == "vit-tiny-patch16-224-batch-2.json"
    assert [each.table() for each in read_timings(tmp_path)] == [table]
    with pytest.raises(UserError, match="is there already"):
        write_timing(tmp_path, timing)
    one = timing.model_copy(update={"calibration": replace(timing.calibration, threads=1)})
    assert write_timing(tmp_path, one).name == "vit-tiny-patch16-224-batch-2-threads-1.json"
    (tmp_path / "bench" / f"{one.name}.json").unlink()
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match=r"batch-2\.json: damaged"):
        read_timings(tmp_path)
    table = bench("vit_tiny_patch16_224", 2, 1, routed_only=True, img_size=64, embed_dim=48).table()
    assert not any("layers" in str(row[0]) or "merging" in str(row[0]) for row in table.rows)
    assert len(table.rows) == 2 + 2 * 3
    for model, line in (
        ("no_such_model", "timm has no model"),
        ("hf-hub:timm/vit_tiny", "timm has no model"),
        ("resnet18", "ResNet cannot be routed"),
        ("eva02_tiny_patch14_224", "counts plain MLPs only"),
        ("amod_deit_small_patch16_224", "give the dense model's name, deit_small"),
    ):
        assert call("bench", "--model", model) == 2
        assert line in capsys.readouterr().err
    assert call("bench", "--threads", "0") == 2
    with pytest.raises(UserError, match="square images"):
        bench("vit_tiny_patch16_224", 1, 1, img_size=(32, 64), embed_dim=48, depth=4)


def test_committed_timings_become_the_speed_block(
    timing: Timing, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_timing(tmp_path, timing)
    assert call("report", "--out", str(tmp_path)) == 0
    made = tmp_path / "tables" / f"bench-{timing.name}.md"
    assert made.read_text() == timing.table().to_markdown()
    assert speed_block([flop_table(), timing.table()]) == made.read_text()
    assert "No timings" in speed_block([flop_table()])
    (tmp_path / "tables" / "old.md").write_text("of an older version")
    assert call("report", "--out", str(tmp_path)) == 0
    assert "old.md is no longer generated: delete it" in capsys.readouterr().err
    assert call("report", "--out", str(tmp_path), "--check") == 1
    (tmp_path / "tables" / "old.md").unlink()
    assert call("report", "--out", str(tmp_path), "--check") == 0
    assert call("report", "--out", str(tmp_path / "none")) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("lost", ["dense", "A-MoD 0.5", "linear 0.5"])
def test_timings_that_lack_a_model_are_refused(timing: Timing, lost: str, tmp_path: Path) -> None:
    path = write_timing(tmp_path, timing)
    values = json.loads(path.read_text())
    del values["macs"][lost]
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"damaged or no timing .*models are missing"):
        read_timings(tmp_path)
    values["calibration"]["seconds"][lost] = []
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match="the calibration is damaged"):
        read_timings(tmp_path)


@pytest.fixture
def timing() -> Timing:
    """Three rounds of four models."""
    seconds = {
        "dense": [2.0, 4.0, 6.0],
        "A-MoD 0.5": [1.0, 1.0, 3.0],
        "linear 0.5": [1.0, 2.0, 6.0],
        "fixed tokens 0.5": [1.0, 1.0, 1.5],
    }
    return Timing(
        model="vit_tiny_patch16_224",
        batch=1,
        device="cuda",
        compiled=True,
        capacities=(0.5,),
        macs={name: 8 if name == "dense" else 5 for name in seconds},
        calibration=Calibration(seconds, seconds, 3, 0, 0, 1, {"cpu": "one"}),
        provenance={},
        finished=datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_ratios_are_taken_round_by_round(timing: Timing) -> None:
    table = timing.table()
    assert table.id == "bench-vit-tiny-patch16-224-batch-1-compiled-cuda"
    # dense / A-MoD is 2, 4, 2: its median is not the ratio of the medians, which is 4.
    assert table.rows[1] == ("A-MoD 0.5", 2.0, 2.0, pytest.approx(3.6), 1.6, 1.25)
    assert table.notes[-2] == (
        "Speed of A-MoD at 0.5: over linear 2.000 [1.200, 2.000], over fixed tokens 1.000 [0.600, "
        "1.000]."
    )
    assert "Fewer than 15 rounds" in table.notes[-1]


def test_train_evaluate_and_show_a_user_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name, level in (("dark", 0), ("bright", 150)):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 100, (40, 40, 3), np.uint8) + np.uint8(level)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    out = tmp_path / "out"
    small = {"img_size": 32, "embed_dim": 24, "depth": 4, "num_heads": 2}
    settings: dict[str, Any] = {"epochs": 2, "changes": {"batch_size": 4}, "model_kwargs": small}
    log = train_own(
        "transfer", "vit_tiny_patch16_224", None, str(tmp_path), str(out), evaluations=2, **settings
    )
    assert [point["step"] for point in log["curve"]] == [2, 4]
    assert json.loads((out / "log.json").read_text())["curve"] == log["curve"]
    weights = str(out / "model.safetensors")
    table = evaluate(
        "vit_tiny_patch16_224", weights, str(tmp_path / "val"), (0.5,), model_kwargs=small
    )
    assert table.rows[1][1] == log["curve"][-1]["accuracy"]
    small_batch = paper_schedule("finetune", 1280, batch_size=64)
    assert (small_batch.steps, paper_schedule("finetune", 1280).steps) == (2000, 1000)
    for model, wrong, line in (
        ("vit_tiny_patch16_224", {"capacity": 1.5}, "at most 1"),
        ("vit_tiny_patch16_224", {"capacity": 0.001}, "keeps none"),
        ("vit_tiny_patch16_224", {"workers": -1}, "--workers"),
        ("vit_tiny_patch16_224", {"epochs": 0.0}, "epochs 0.0 is out of range"),
        ("vit_tiny_patch16_224", {"epochs": float("nan")}, "epochs nan is out of range"),
        ("vit_tiny_patch16_224", {"epochs": float("inf")}, "epochs inf is out of range"),
        ("vit_tiny_patch16_224", {"layers": 13}, "layers must be 1 to 12"),
        ("resnet18", {}, "ResNet cannot be routed"),
    ):
        with pytest.raises(UserError, match=line):
            train_own("finetune", model, None, str(tmp_path), str(tmp_path / "wrong"), **wrong)
    # A finished run is not made again; other settings in the same folder are refused.
    assert not (out / "checkpoints").exists()
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert json.dumps(log) == json.dumps(
        train_own(
            "transfer", "vit_tiny_patch16_224", None, str(tmp_path), str(out), evaluations=2,
            **settings,
        )
    )  # fmt: skip
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="holds another run"):
        train_own(
            "transfer", "vit_tiny_patch16_224", None, str(tmp_path), str(out), seed=1, **settings
        )
    # A loading process's error is its own one line.
    broken = tmp_path / "train" / "dark" / "0.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    with pytest.raises(UserError) as caught:
        train_own("transfer", "vit_tiny_patch16_224", None, str(tmp_path), str(tmp_path / "broken"),
                  workers=1, **settings)  # fmt: skip
    assert str(caught.value).startswith(str(broken))
    broken.write_bytes(whole)
    # A classifier of other classes is replaced, all else is loaded.
    (tmp_path / "train" / "third").mkdir()
    (tmp_path / "val" / "third").mkdir()
    for part in ("train", "val"):
        Image.new("RGB", (40, 40)).save(tmp_path / part / "third" / "0.png")
    log = train_own(
        "finetune", "vit_tiny_patch16_224", weights, str(tmp_path), str(tmp_path / "again"),
        router="linear-unit", **settings,
    )  # fmt: skip
    assert np.isfinite(log["curve"][-1]["loss"])


def test_committed_table_is_fresh(
    call: Callable[..., int],
) -> None:
    assert call("report", "--check") == 0
