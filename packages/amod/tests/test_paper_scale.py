"""Tables 1, 3, 4 and 5 as runs: what each cell asks for, and a whole pass on a tiny model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from amod import paper_scale
from amod.evaluate import evaluate
from amod.flop_table import reported
from amod.own_data import train_own
from amod.paper_scale import TABLES, cell_runs, missing, reproduce_tables
from amod.weights import create_model
from repro_shared.evidence.cells import find_cell
from repro_shared.evidence.records import read_records
from repro_shared.runtime.errors import UserError

TINY = {"img_size": 48, "embed_dim": 24, "depth": 12, "num_heads": 2}


def test_every_accuracy_cell_has_a_run_of_its_cost() -> None:
    cells = {c.id: c for c in reported()}
    runs = {table: cell_runs(table) for table in TABLES}
    assert [len(runs[table]) for table in TABLES] == [24, 16, 36, 36]
    assert len({run.arm for found in runs.values() for run in found}) == 112
    for table, column in (("table1", "top-1"), ("table4", "top-1"), ("table5", "top-1")):
        for run in runs[table]:
            cell = cells[run.cell]
            costs = [
                c.value for c in cells.values()
                if c.table == table and c.row == cell.row and c.unit == "GFLOPs"
                and c.column == cell.column.replace(column, "GFLOPs")
            ]  # fmt: skip
            assert run.macs / 1e9 == pytest.approx(costs[0], abs=0.1), run.cell
    run = next(r for r in runs["table5"] if r.cell == "table5/vit-base-mod/top-1/oxford-pets")
    assert (run.kind, run.model, run.data) == ("transfer", "vit_base_patch16_224", "pets")
    assert (run.router, run.capacity, run.layers) == ("linear", 0.5, 0)
    with pytest.raises(UserError, match="no table 'table2' at scale paper"):
        cell_runs("table2")


def pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(
                folder / name / f"{i}.png"
            )


def test_from_folders_to_tables_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    with pytest.raises(UserError, match=r"nothing to run: .* has no imagenet/train"):
        reproduce_tables(("table1",), out, str(data), ())
    assert not out.exists()
    for name in ("imagenet/train", "imagenet/val", "flowers/train", "flowers/test"):
        pictures(data / name, 2)
    (data / "weights").mkdir()
    network: Any = create_model("deit_tiny_patch16_224", 3, **TINY)
    file = data / "weights" / "deit_tiny_patch16_224.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    # The models of the paper on pictures of nine patches; everything else is as it is.
    small = partial(train_own, model_kwargs=TINY, changes={"batch_size": 4}, evaluations=1)
    monkeypatch.setattr(paper_scale, "train_own", small)
    monkeypatch.setattr(paper_scale, "evaluate", partial(evaluate, model_kwargs=TINY))
    reproduce_tables((), out, str(data), (0, 1), epochs=1, plan=True)
    text = capsys.readouterr().out
    assert "finetune deit_tiny_patch16_224, first 7 layers: ready" in text
    assert "transfer deit_tiny_patch16_224, linear 0.5: lacks cars/train, cars/val or test" in text
    assert not out.exists()

    tables = ("table1", "table3", "table4")
    reproduce_tables(tables, out, str(data), (0, 1), epochs=1)
    assert "paper-table1" in {path.stem for path in (out / "tables").iterdir()}
    text = capsys.readouterr().out
    assert "69.76" in text  # the paper's cell, beside ours
    made = {(r.arm, r.seed): r for name in tables for r in read_records(out, f"paper_{name}")}
    ready = [r for name in tables for r in cell_runs(name, 1) if not missing(r, data)]
    assert len(ready) == 6 + 4 + 3  # DeiT-Tiny, and flowers only
    expected = {(r.arm, s) for r in ready for s in ((0,) if r.kind == "convert" else (0, 1))}
    assert made.keys() == expected
    for run in ready:
        record = made[run.arm, 0]
        assert record.metrics.keys() >= {"accuracy"}
        assert record.recipe_config["cell"] == run.cell
        find_cell(reported(), record.recipe_config["cell"])
    cut = made["table1-deit-tiny-isoflop-top-1-at-12-5-imagenet-1k", 0]
    state = safetensors.torch.load_file(out / "work" / cut.arm / "seed-0" / "model.safetensors")
    assert {key.split(".")[1] for key in state if key.startswith("blocks.")} == set("0123456")

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(paper_scale, "train_own", never)
    monkeypatch.setattr(paper_scale, "evaluate", never)
    reproduce_tables(tables, out, str(data), (0, 1), epochs=1)
    assert torch.isfinite(torch.tensor([r.metrics["accuracy"] for r in made.values()])).all()
