"""Tables 1, 3, 4 and 5 as arms: what each cell asks for, and a whole pass on a tiny model."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from amod.cli import PAPER
from amod.study import stages
from amod.study.configs import Finetuned, Given
from amod.study.evaluate import evaluate
from amod.study.flop_table import reported, rows
from amod.study.paper_tables import cell_arms, table3, table4
from amod.use.weights import create_model
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.study.command import reproduce_study
from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import load_results
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session

TINY = {"img_size": 48, "embed_dim": 24, "depth": 12, "num_heads": 2}
TABLES = ("table1", "table3", "table4", "table5")


def test_every_accuracy_cell_has_an_arm_of_its_cost() -> None:
    found = {table: cell_arms(table) for table in TABLES}
    assert [len(found[table]) for table in TABLES] == [24, 16, 36, 36]
    assert all(len({each.arm.id for each in arms}) == len(arms) for arms in found.values())
    cells = {c.id: c for c in reported()}
    costs = {(row.cell.table, row.cell.row, row.cell.column): row.macs for row in rows()}
    for table in ("table1", "table4", "table5"):
        for each in found[table]:
            cell = cells[each.cell.id]
            column = cell.column.replace("top-1", "GFLOPs")
            macs = each.variant.macs(each.shape, head=False)
            assert macs == costs[table, cell.row, column], each.cell.id
    shown = {
        (each.cell.row, each.variant.capacity, each.variant.router)
        for each in found["table3"]
        if "Tiny" in each.cell.row
    }
    assert shown == {
        ("DeiT-Tiny MoD", 0.5, "linear"), ("DeiT-Tiny MoD", 0.125, "linear"),
        ("DeiT-Tiny A-MoD", 0.5, "attention"), ("DeiT-Tiny A-MoD", 0.125, "attention"),
    }  # fmt: skip
    each = next(e for e in found["table5"] if e.cell.id == "table5/vit-base-mod/top-1/oxford-pets")
    (start,) = each.arm.starts_from
    assert (each.arm.run, start.config.model) == (stages.transferred, "vit_base_patch16_224")
    assert (each.arm.data.folder, each.arm.data.scored) == ("pets", "test")  # type: ignore[union-attr]
    assert (each.variant.router, each.variant.capacity, each.variant.layers) == ("linear", 0.5, 0)
    assert all(e.arm.data.scored == "val" for e in found["table1"])  # type: ignore[union-attr]


def pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(
                folder / name / f"{i}.png"
            )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders of DeiT-Tiny's ImageNet and Flowers cells; Flowers has a val that is not scored."""
    data = tmp_path / "data"
    for name in ("imagenet/val", "flowers/train", "flowers/val", "flowers/test"):
        pictures(data / name, 3 if name.endswith("test") else 2)
    (data / "weights").mkdir()
    write_weights(data, 0)
    return data


def write_weights(data: Path, seed: int) -> None:
    network: Any = create_model("deit_tiny_patch16_224", 3, seed, **TINY)
    file = data / "weights" / "deit_tiny_patch16_224.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)


def small(study: Study, **runs: Any) -> Study:
    """The study with models of the paper on pictures of nine patches, trained for one epoch.

    `runs` are other stages, by a word in the arm's name.
    """

    def arm(old: Arm) -> Arm:
        config = old.config
        if isinstance(config, Given):
            return replace(old, config=replace(config, settings=tuple(TINY.items())))
        if isinstance(config, Finetuned):
            config = replace(
                config, schedule=replace(config.schedule, epochs=1, batch_size=4), evaluations=1
            )
        stage = next((run for word, run in runs.items() if word in old.name), old.run)
        return replace(old, config=config, run=stage, starts_from=tuple(map(arm, old.starts_from)))

    return replace(study, arms=tuple(map(arm, study.arms)))


def test_from_folders_to_tables_and_again(
    call: Callable[..., int], tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("reproduce", "--scale", "paper", "--data", str(data), "--plan") == 0
    text = capsys.readouterr().out
    assert "DeiT-Tiny isoFLOP top-1 Flowers-102, 200 epochs: 1 of 1 runs to make" in text
    assert "DeiT-Tiny MoD top-1 Stanford Cars, 200 epochs: lacks cars/train, cars/test\n" in text
    assert "lacks cars/train, cars/test, weights/vit_base_patch16_224.safetensors or .pth" in text

    out = tmp_path / "out"
    sessions = {
        made.name: Session(PAPER, small(made), out, data)
        for made in (table3("paper"), table4("paper"))
    }
    for session in sessions.values():
        reproduce_study(session, (0, 1))
    shown = capsys.readouterr().out
    assert "reported and measured" in shown
    for table, seeds in (("table3", {0}), ("table4", {0, 1})):
        results = load_results(PAPER, sessions[table].study, out)
        ready = [
            e for e in cell_arms(table)
            if "Tiny" in e.cell.row and e.cell.dataset in ("ImageNet-1k", "Flowers-102")
        ]  # fmt: skip
        names = {e.arm.id for e in ready} | {"deit-tiny-given"}
        assert {r.arm for r in results.records} == names
        text = (out / "tables" / f"paper-{table}.csv").read_text()
        lines = {row[0]: row for row in csv.reader(text.splitlines())}
        for each in ready:
            values = results.values(each.arm, "accuracy")
            assert {r.seed for r in results.runs(each.arm)} == seeds
            line = lines[each.cell.id]
            assert line[3].startswith(f"{sum(values) / len(values):.2f}"), each.cell.id
    for each in [e for e in cell_arms("table4") if e.cell.id.endswith("flowers-102")][:3]:
        arm = sessions["table4"].study.arm(each.arm.id)
        folder = sessions["table4"].work(arm, 1)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        blocks = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
        assert blocks == set(range(each.variant.layers or 12))
        assert any(".router." in key for key in state) == (each.variant.router == "linear")
        assert not (folder / "checkpoints").exists()
    # Table 3's row of the routed model, not of the dense one.
    results = load_results(PAPER, sessions["table3"].study, out)
    file = str(data / "weights" / "deit_tiny_patch16_224.safetensors")
    attention = [
        e for e in cell_arms("table3") if e.cell.row == "DeiT-Tiny A-MoD"
    ]  # fmt: skip
    assert len(attention) == 2
    for each in attention:
        found = evaluate("deit_tiny_patch16_224", file, str(data / "imagenet" / "val"),
                         (each.variant.capacity,), model_kwargs=TINY)  # fmt: skip
        assert results.values(each.arm, "accuracy") == [found.rows[1][1]]

    for session in sessions.values():
        again = Session(PAPER, session.study, out, data)
        assert run_missing(again, (0, 1)) == 0
    write_weights(data, 1)  # other weights: the old numbers are not theirs
    assert run_missing(Session(PAPER, sessions["table3"].study, out, data), (0,)) == 1 + 4


def test_a_cell_that_fails_does_not_keep_the_others(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(config: Any, ctx: Any) -> Any:
        raise UserError("a broken picture")

    def diverged(config: Any, ctx: Any) -> Any:
        raise DivergedError("not finite at 3")

    study = small(table4("paper"), **{"isoFLOP": unreadable, "Tiny MoD": diverged})
    session = Session(PAPER, study, tmp_path / "out", data)
    with pytest.raises(UserError, match="1 runs could not be made, the first: DeiT-Tiny isoFLOP"):
        reproduce_study(session, (0,))
    found = {r.arm: r for r in session.records.read()}
    assert found.keys() == {
        "deit-tiny-given", "deit-tiny-mod-top-1-flowers-102", "deit-tiny-a-mod-top-1-flowers-102",
    }  # fmt: skip
    failed = found["deit-tiny-mod-top-1-flowers-102"]
    assert (failed.status, failed.notes) == ("failed", "not finite at 3")
    made = study.tables[0](load_results(PAPER, study, session.out))
    (row,) = [r for r in made.rows
              if str(r[0]).startswith("table4/deit-tiny-mod/top-1/flowers")]  # fmt: skip
    assert row[3:] == (None, 0, 1)
    assert "a broken picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--table", "table2"), "unknown study 'table2'"),
        (("--table", "flops"), "flops exists at scale smoke and cpu, not at paper"),
        (("--seeds", "1", "1"), "seeds must be distinct"),
        (("--data", "nowhere"), "no such folder"),
        ((), "table1 needs ImageNet-1k: a folder with imagenet/train/ and imagenet/val/"),
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


def test_one_process_only(
    monkeypatch: pytest.MonkeyPatch, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert call("reproduce", "--scale", "paper") == 2
    assert "runs in one process" in capsys.readouterr().err
