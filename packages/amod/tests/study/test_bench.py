"""`amod bench`: ratios beside the ceiling, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from amod.cli import PAPER
from amod.method.flops import Shape, dense_macs, routed_macs, shape_of
from amod.study import bench as module
from amod.study.bench import _counted, as_bench, bench, table
from amod.use.weights import create_model
from repro_shared.evidence.tables import Interval
from repro_shared.runtime.errors import UserError
from repro_shared.study.publish import publish, table_of
from repro_shared.timing.bench import Bench, add_bench, read_benches
from repro_shared.timing.calibrate import Calibration


def test_ratios_stand_beside_the_ceiling(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bench("vit_tiny_patch16_224", 2, 2, img_size=64, embed_dim=48, depth=4)
    by_name: dict[Any, Any] = {row[0]: row[1:] for row in table(made).rows}
    assert list(by_name)[:4] == ["dense", "dense with scores", "A-MoD 0.5", "linear 0.5"]
    assert {"fixed tokens 0.5", "fixed tokens 0.125"} <= set(by_name)
    assert len(by_name) == 2 + 2 * 5
    assert "over fixed tokens" in table(made).notes[3]
    assert by_name["dense"] == (Interval(1.0, 1.0, 1.0), 1.0, 1.0)
    assert by_name["dense with scores"][1] == 1.0
    for speed, top, realised in by_name.values():
        assert 0 < speed.low <= speed.mean <= speed.high
        assert 1 <= top < 2
        assert realised == pytest.approx(speed.mean / top)
    shape = Shape(48, 4, image_size=64)
    top = dense_macs(shape) / routed_macs(shape, 0.125)
    assert by_name["A-MoD 0.125"][1] == pytest.approx(top)
    assert made.name == "vit-tiny-patch16-224-batch-2"
    add_bench(tmp_path, made)
    assert [table(each) for each in read_benches(tmp_path)] == [table(made)]
    with pytest.raises(UserError, match="has a bench vit-tiny-patch16-224-batch-2 already"):
        add_bench(tmp_path, made)
    few = bench("vit_tiny_patch16_224", 2, 1, routed_only=True, img_size=64, embed_dim=48)
    labels = [str(row[0]) for row in table(few).rows]
    assert not any("layers" in label or "merging" in label for label in labels)
    assert len(labels) == 2 + 2 * 3
    for model, line in (
        ("no_such_model", "timm has no model"),
        ("hf-hub:timm/vit_tiny", "timm has no model"),
        ("resnet18", "ResNet cannot be routed"),
        ("amod_deit_small_patch16_224", "give the dense model's name, deit_small"),
    ):
        assert call("bench", "--model", model) == 2
        assert line in capsys.readouterr().err
    assert call("bench", "--threads", "0") == 2


@pytest.mark.parametrize(
    ("model", "changes", "shown"),
    [
        ("eva02_tiny_patch14_224", {"img_size": 56}, "plain ViTs of square pictures"),
        (
            "vit_small_patch16_dinov3",
            {"img_size": 32, "embed_dim": 96, "num_heads": 2},
            "no plain ViT",
        ),
        (
            "vit_base_patch16_siglip_224",
            {"embed_dim": 48, "num_heads": 4, "img_size": 64},
            "plain ViTs",
        ),
        ("vit_tiny_patch16_224", {"embed_dim": 48, "img_size": (32, 64)}, "square pictures"),
    ],
)
def test_models_beyond_the_closed_form_are_counted_as_they_run(
    model: str, changes: dict[str, Any], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bench(model, 1, 1, threads=1, depth=4, **changes)
    by_name: dict[Any, Any] = {row[0]: row[1:] for row in table(made).rows}
    said = capsys.readouterr().err
    assert "token merging is left out: " in said
    assert shown in said
    assert "timing, warm-up and rounds" in said
    assert 1 < by_name["A-MoD 0.5"][1] < by_name["A-MoD 0.125"][1] < 2.1
    assert by_name["dense with scores"][1] == 1.0
    assert any("layers, for 0.5" in str(name) for name in by_name)


def test_counts_agree_with_the_closed_form() -> None:
    dense = create_model("vit_tiny_patch16_224", img_size=64, embed_dim=48, depth=4)
    shape, image = shape_of(dense), torch.zeros(1, 3, 64, 64)
    norms = 5 * 9 * shape.tokens * shape.width  # which torch does not count
    assert dense_macs(shape) - norms == _counted(dense, image)


def test_an_out_that_has_this_bench_is_refused_before_it_runs(
    timed: Bench, tmp_path: Path, call: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    add_bench(tmp_path, made_of(1, "cpu"))
    monkeypatch.setattr(module, "bench", lambda *_: pytest.fail("it ran"))
    arguments = ("--batch", "1", "--compiled", "--threads", "1", "--out", str(tmp_path))
    assert call("bench", "--model", "vit_tiny_patch16_224", *arguments) == 2
    assert "has a bench vit-tiny-patch16-224-batch-1-compiled-threads-1" in capsys.readouterr().err


@pytest.fixture
def timed() -> Bench:
    """Three rounds of four models."""
    return made_of(1, "cuda")


def made_of(threads: int, device: str) -> Bench:
    seconds = {
        "dense": [2.0, 4.0, 6.0],
        "A-MoD 0.5": [1.0, 1.0, 3.0],
        "linear 0.5": [1.0, 2.0, 6.0],
        "fixed tokens 0.5": [1.0, 1.0, 1.5],
    }
    settings = {
        "model": "vit_tiny_patch16_224", "batch": 1, "device": device, "compiled": True,
        "routed_only": False, "capacities": [0.5],
    }  # fmt: skip
    calibration = Calibration(seconds, seconds, 3, 0, 0, threads, {"cpu": "one"})
    macs = {name: 8 if name == "dense" else 5 for name in seconds}
    return as_bench(settings, calibration, macs, {}, finished=datetime(2026, 1, 2, tzinfo=UTC))


def test_ratios_are_taken_round_by_round(timed: Bench) -> None:
    made = table(timed)
    assert made.id == "bench-vit-tiny-patch16-224-batch-1-compiled-cuda"
    # dense / A-MoD is 2, 4, 2: its median is not the ratio of the medians, which is 4.
    assert made.rows[1] == (
        "A-MoD 0.5", Interval(2.0, 2.0, pytest.approx(3.6)), 1.6, 1.25,  # type: ignore[arg-type]
    )  # fmt: skip
    assert made.notes[-2] == (
        "Speed of A-MoD at 0.5: over linear 2.000 [1.200, 2.000], over fixed tokens 1.000 [0.600, "
        "1.000]."
    )
    assert "Fewer than 15 rounds" in made.notes[-1]
    assert "cuda, one" in made.notes[0]
    assert made_of(1, "cpu").name.endswith("compiled-threads-1")
    assert made_of(2, "cpu").name.endswith("compiled")


def test_kept_benches_become_tables(
    timed: Bench, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    add_bench(tmp_path, timed)
    assert call("report", "--out", str(tmp_path)) == 0
    made = tmp_path / "tables" / f"bench-{timed.name}.csv"
    assert made.read_text() == table(timed).to_csv()
    assert table_of(PAPER, f"bench-{timed.name}", tmp_path) == (table(timed), None)
    assert call("table", f"bench-{timed.name}", "--out", str(tmp_path)) == 0
    assert table(timed).to_markdown() == capsys.readouterr().out
    (tmp_path / "tables" / "old.csv").write_text("of an older version")
    assert call("report", "--out", str(tmp_path)) == 0
    assert "old.csv is no longer generated: delete it" in capsys.readouterr().err
    assert call("report", "--out", str(tmp_path), "--check") == 1
    (tmp_path / "tables" / "old.csv").unlink()
    assert publish(PAPER, tmp_path, check=True) == []
    assert call("report", "--out", str(tmp_path / "none")) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("lost", ["dense", "A-MoD 0.5", "linear 0.5"])
def test_a_bench_that_lacks_a_model_is_refused(timed: Bench, lost: str) -> None:
    seconds = {name: column for name, column in timed.seconds.items() if name != lost}
    macs = {name: count for name, count in timed.macs.items() if name != lost}
    with pytest.raises(UserError, match="damaged: models are missing"):
        table(timed.model_copy(update={"seconds": seconds, "macs": macs}))


def test_other_threads_are_another_bench(tmp_path: Path) -> None:
    for threads in (1, 2):
        add_bench(tmp_path, made_of(threads, "cpu"))
    assert [each.threads for each in read_benches(tmp_path)] == [2, 1]
