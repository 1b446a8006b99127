"""Tables 1, 3, 4 and 5 as runs: what each cell asks for, and a whole pass on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from amod.study import paper_scale
from amod.study.flop_table import reported, rows
from amod.study.paper_scale import (
    TABLES,
    cell_runs,
    finished,
    missing,
    reproduce_tables,
    result_table,
)
from amod.train import DivergedError
from amod.use.evaluate import evaluate
from amod.use.own_data import train_own
from amod.use.weights import create_model
from repro_shared.evidence.records import read_records
from repro_shared.runtime.errors import UserError

TINY = {"img_size": 48, "embed_dim": 24, "depth": 12, "num_heads": 2}


def test_every_accuracy_cell_has_a_run_of_its_cost() -> None:
    runs = {table: cell_runs(table) for table in TABLES}
    assert [len(runs[table]) for table in ("table1", "table3", "table4", "table5")] == [
        24, 16, 36, 36,
    ]  # fmt: skip
    assert len({run.arm for found in runs.values() for run in found}) == 112
    cells = {c.id: c for c in reported()}
    costs = {(row.cell.table, row.cell.row, row.cell.column): row.macs for row in rows()}
    for table in ("table1", "table4", "table5"):
        for run in runs[table]:
            cell = cells[run.cell]
            column = cell.column.replace("top-1", "GFLOPs")
            assert run.macs == costs[table, cell.row, column], run.cell
    shown = {
        (r.cell.split("/")[1], r.capacity, r.router) for r in runs["table3"] if "tiny" in r.cell
    }
    assert shown == {
        ("deit-tiny-mod", 0.5, "linear"), ("deit-tiny-mod", 0.125, "linear"),
        ("deit-tiny-a-mod", 0.5, "attention"), ("deit-tiny-a-mod", 0.125, "attention"),
    }  # fmt: skip
    assert {r.capacity for r in runs["table3"] if "at-12-5" in r.cell} == {0.125}
    run = next(r for r in runs["table5"] if r.cell == "table5/vit-base-mod/top-1/oxford-pets")
    assert (run.kind, run.model, run.data) == ("transfer", "vit_base_patch16_224", "pets")
    assert (run.router, run.capacity, run.layers) == ("linear", 0.5, 0)


def pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(
                folder / name / f"{i}.png"
            )


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of DeiT-Tiny's ImageNet and Flowers cells; Flowers has a val that is not scored."""
    data = tmp_path / "data"
    for name in ("imagenet/train", "imagenet/val", "flowers/train", "flowers/val", "flowers/test"):
        pictures(data / name, 3 if name.endswith("test") else 2)
    (data / "weights").mkdir()
    write_weights(data, 0)
    # The models of the paper on pictures of nine patches; everything else is as it is.
    small = partial(train_own, model_kwargs=TINY, changes={"batch_size": 4}, evaluations=1,
                    epochs=1)  # fmt: skip
    monkeypatch.setattr(paper_scale, "train_own", small)
    monkeypatch.setattr(paper_scale, "evaluate", partial(evaluate, model_kwargs=TINY))
    return data


def write_weights(data: Path, seed: int) -> None:
    network: Any = create_model("deit_tiny_patch16_224", 3, seed, **TINY)
    file = data / "weights" / "deit_tiny_patch16_224.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)


def test_from_folders_to_tables_and_again(
    call: Callable[..., int],
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert call("reproduce", "--scale", "paper", "--data", str(data), "--plan") == 0
    text = capsys.readouterr().out
    assert "finetune deit_tiny_patch16_224, first 7 layers: ready" in text
    assert "transfer deit_tiny_patch16_224, linear 0.5: lacks cars/train, cars/test" in text

    tables = ("table3", "table4")
    arguments = ("--scale", "paper", "--data", str(data), "--out", str(out), "--table", *tables)
    assert call("reproduce", *arguments, "--seeds", "0", "1") == 0
    made = {(r.arm, r.seed): r for name in tables for r in read_records(out, f"paper_{name}")}
    ready = [r for name in tables for r in cell_runs(name) if not missing(r, data)]
    assert len(ready) == 4 + 3  # DeiT-Tiny, and flowers only
    assert made.keys() == {
        (r.arm, s) for r in ready for s in ((0,) if r.kind == "convert" else (0, 1))
    }
    for run in ready:
        values = [r.metrics["accuracy"] for (arm, _), r in made.items() if arm == run.arm]
        table = next(t for t in tables if run.cell.startswith(t))
        shown = (out / "tables" / f"paper-{table}.csv").read_text().splitlines()
        (line,) = [row.split(",") for row in shown if row.startswith(run.cell)]
        assert float(line[3]) == pytest.approx(sum(values) / len(values), abs=0.005), run.cell
        if run.kind == "convert":
            continue
        (folder,) = (out / "work" / run.arm).glob("seed-1-*")
        log = json.loads((folder / "log.json").read_text())
        assert log["scored"] == "test"
        assert log["curve"][-1]["accuracy"] == made[run.arm, 1].metrics["accuracy"]
        state = safetensors.torch.load_file(folder / "model.safetensors")
        blocks = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
        if run.layers:
            assert (run.layers, log["capacity"], log["router"]) == (7, 1.0, "attention")
            assert blocks == set(range(7))
        else:
            assert (log["capacity"], log["router"]) == (run.capacity, run.router)
            assert len(blocks) == 12
            assert any(key.startswith("routers.") for key in state) == (run.router == "linear")
        assert not (folder / "checkpoints").exists()
    # Table 3's row of the routed model, not of the dense one.
    for capacity, label in ((0.5, "50"), (0.125, "12-5")):
        file = str(data / "weights" / "deit_tiny_patch16_224.safetensors")
        found = evaluate("deit_tiny_patch16_224", file, str(data / "imagenet" / "val"), (capacity,),
                         "linear", model_kwargs=TINY)  # fmt: skip
        arm = f"table3-deit-tiny-mod-top-1-at-{label}-imagenet-1k"
        assert made[arm, 0].metrics["accuracy"] == found.rows[1][1]

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("nothing is left to do")

    with monkeypatch.context() as patch:
        patch.setattr(paper_scale, "train_own", never)
        patch.setattr(paper_scale, "evaluate", never)
        reproduce_tables(tables, out, str(data), (0, 1))
    write_weights(data, 1)  # other weights: the old numbers are not theirs
    assert not any(finished(run, data, out, 0) for run in ready)
    table = result_table("table4", cell_runs("table4"), data, out)
    assert {row[3] for row in table.rows} == {None}


def test_a_cell_that_fails_does_not_keep_the_others(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    real = paper_scale.train_own

    def broken(*args: Any, **settings: Any) -> Any:
        if settings["layers"]:
            raise UserError("a broken picture")
        if settings["router"] == "linear":
            raise DivergedError("not finite at 3")
        return real(*args, **settings)

    monkeypatch.setattr(paper_scale, "train_own", broken)
    with pytest.raises(
        UserError, match="1 runs could not be made, the first: table4/deit-tiny-iso"
    ):
        reproduce_tables(("table4",), out, str(data))
    found = {r.arm.split("-top")[0]: r for r in read_records(out, "paper_table4")}
    assert found.keys() == {"table4-deit-tiny-mod", "table4-deit-tiny-a-mod"}
    failed = found["table4-deit-tiny-mod"]
    assert (failed.status, failed.notes) == ("failed", "not finite at 3")
    (row,) = [r for r in result_table("table4", cell_runs("table4"), data, out).rows
              if str(r[0]).startswith("table4/deit-tiny-mod/top-1/flowers")]  # fmt: skip
    assert row[3:] == (None, None, None, 0, 1)
    assert "a broken picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--table", "table2"), "no table 'table2' at scale paper"),
        (("--seeds", "1", "1"), "seeds must be distinct"),
        (("--data", "nowhere"), "nothing to run: nowhere (--data) has no cars/test, no cars/train"),
    ],
)
def test_refusals(
    call: Callable[..., int],
    arguments: tuple[str, ...],
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert call("reproduce", "--scale", "paper", "--out", str(out), *arguments) == 2
    assert line in capsys.readouterr().err
    assert not out.exists()


def test_one_process_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="runs in one process"):
        reproduce_tables((), tmp_path, None)
