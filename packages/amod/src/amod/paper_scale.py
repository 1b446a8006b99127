"""`amod reproduce --scale paper`: tables 1, 3, 4 and 5, cell by cell, on the user's data.

Every run is made from a cell of `tables/reported.csv`, and its result stands beside that cell.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from amod import METHOD_VERSION
from amod.evaluate import TABLE3, evaluate
from amod.experiment import CONVENTION, DISTRIBUTIONS
from amod.flop_table import CAPACITIES, ISOFLOP_LAYERS, TABLE_CAPACITY, reported
from amod.flops import SHAPES, Shape, dense_macs, routed_macs
from amod.own_data import train_own
from amod.results import interval
from repro_shared.evidence.cells import ReportedCell, find_cell, slug
from repro_shared.evidence.records import (
    RunRecord,
    path_for,
    provenance,
    read_record,
    recipe_hash,
    resolved_config,
    write_record,
)
from repro_shared.evidence.tables import Cell, Column, Table, write_tables
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.runtime.progress import say

TABLES = ("table1", "table3", "table4", "table5")
FOLDERS = {
    "ImageNet-1k": "imagenet",
    "Stanford Cars": "cars",
    "Flowers-102": "flowers",
    "Oxford Pets": "pets",
}
MODELS = {printed: name for name, printed in TABLE3.items()}
ROUTERS = {"A-MoD": "attention", "MoD": "linear", "isoFLOP": "attention"}
KINDS: dict[str, Literal["convert", "finetune", "transfer"]] = {
    "table1": "finetune", "table3": "convert", "table4": "transfer", "table5": "transfer",
}  # fmt: skip


@dataclass(frozen=True)
class CellRun:
    """The run that measures a cell.

    Attributes:
        cell: the cell's id.
        kind: fine-tuning, transfer, or conversion without training.
        model: timm's name.
        data: folder below `--data`.
        router, capacity: as in `amod.convert`.
        layers: of an isoFLOP model, its first ones (the paper does not say which it keeps); else 0.
        epochs: 0 for the paper's.
    """

    cell: str
    kind: Literal["convert", "finetune", "transfer"]
    model: str
    data: str
    router: str
    capacity: float
    layers: int = 0
    epochs: float = 0.0

    @property
    def recipe(self) -> str:
        """Its recipe's name in the records."""
        return f"paper_{self.cell.partition('/')[0]}"

    @property
    def arm(self) -> str:
        """Its arm's name in the records."""
        return slug(self.cell.replace("/", " "))

    @property
    def macs(self) -> int:
        """Cost of a forward pass on 224 x 224 pixels, without the classifier."""
        shape = SHAPES[TABLE3[self.model]]
        if self.layers:
            return dense_macs(Shape(shape.width, self.layers), head=False)
        linear = self.router == "linear"
        return routed_macs(shape, self.capacity, linear_router=linear, head=False)


def cell_runs(table: str, epochs: float = 0.0) -> list[CellRun]:
    """A run for every accuracy cell of a table.

    Raises:
        UserError: a table that this scale does not have.
    """
    if table not in TABLES:
        raise UserError(f"no table {table!r} at scale paper: choose one of {', '.join(TABLES)}")
    cells = [c for c in reported() if c.table == table and c.unit == "percent"]
    return [_cell_run(cell, epochs) for cell in cells]


def _cell_run(cell: ReportedCell, epochs: float) -> CellRun:
    model, _, arm = cell.row.partition(" ")
    label = cell.column.partition(" at ")[2]
    layers = 0
    if arm == "isoFLOP":
        layers = ISOFLOP_LAYERS[cell.table][label][list(SHAPES).index(model)]
    return CellRun(
        cell=cell.id,
        kind=KINDS[cell.table],
        model=MODELS[model],
        data=FOLDERS[cell.dataset],
        router=ROUTERS[arm],
        capacity=CAPACITIES[label] if label else TABLE_CAPACITY[cell.table],
        layers=layers,
        epochs=epochs,
    )


def missing(run: CellRun, folder: Path) -> list[str]:
    """What of a run's data and weights is not below `folder`."""
    parts = ["val"] if run.kind == "convert" else ["train", "val or test"]
    absent = [
        f"{run.data}/{part}"
        for part in parts
        if not any((folder / run.data / name).is_dir() for name in part.split(" or "))
    ]
    return absent + ([] if weights(run, folder) else [f"weights/{run.model}.safetensors or .pth"])


def weights(run: CellRun, folder: Path) -> Path | None:
    """The dense ImageNet checkpoint of a run's model, if it is there."""
    paths = [folder / "weights" / f"{run.model}{suffix}" for suffix in (".safetensors", ".pth")]
    return next((path for path in paths if path.is_file()), None)


def reproduce_tables(
    tables: Sequence[str],
    out: Path,
    data: str | None,
    seeds: tuple[int, ...],
    *,
    plan: bool = False,
    device: str = "cpu",
    epochs: float = 0.0,
) -> None:
    """Run every cell whose data and weights are there, then write and print the tables.

    Args:
        tables: of `TABLES`; all if empty.
        out: output folder; finished cells in it are skipped, killed ones resume.
        data: holds imagenet/, cars/, flowers/, pets/ (train/ and val/ or test/ in each, class
            folders below) and weights/ with a dense ImageNet checkpoint for each model.
        seeds: seeds; 0 if empty, as the paper has one run.
        plan: list the cells and what is missing, and stop.
        device: cpu or cuda.
        epochs: instead of the paper's; 0 for those.

    Raises:
        UserError: unknown table, or no cell that could be run.
    """
    todo = {table: cell_runs(table, epochs) for table in tables or TABLES}
    folder = Path(data or ".")
    everything = [run for runs in todo.values() for run in runs]
    if plan:
        print(_plan(everything, folder, out, seeds or (0,)))
        return
    if all(missing(run, folder) for run in everything):
        lacks = sorted({name for run in everything for name in missing(run, folder)})
        raise UserError(f"nothing to run: {folder} has no {', no '.join(lacks)}")
    ensure_output_dir(out)
    origin = provenance(DISTRIBUTIONS, __file__)
    for run in everything:
        for seed in (0,) if run.kind == "convert" else seeds or (0,):
            if not missing(run, folder) and not finished(run, out, seed):
                say(f"{run.cell}, seed {seed}")
                write_record(out, _record(run, folder, out, seed, device, origin))
    made = [result_table(name, runs, out) for name, runs in todo.items()]
    write_tables(out / "tables", made)
    for table in made:
        print(table.to_terminal())


def finished(run: CellRun, out: Path, seed: int) -> bool:
    """Whether the record of this cell is there, of this run and method version."""
    path = path_for(out, run.recipe, run.arm, seed)
    if not path.is_file():
        return False
    found = read_record(path)
    return (found.recipe_hash, found.method_version) == (recipe_hash(run), METHOD_VERSION)


def result_table(name: str, runs: Sequence[CellRun], out: Path) -> Table:
    """The paper's cells, and beside them what was measured."""
    cells, rows = reported(), list[tuple[Cell, ...]]()
    for run in runs:
        files = sorted((out / "records" / run.recipe / run.arm).glob("seed-*.json"))
        seeds = [int(path.stem.removeprefix("seed-")) for path in files]
        kept = [seed for seed in seeds if finished(run, out, seed)]
        values = [
            read_record(path_for(out, run.recipe, run.arm, seed)).metrics["accuracy"]
            for seed in kept
        ]
        mean, low, high = interval(values)
        printed = find_cell(cells, run.cell).value
        rows.append((run.cell, printed, run.macs / 1e9, mean, low, high, len(values)))
    return Table(
        f"paper-{name}",
        f"arXiv 2412.20875v1, {name}: reported and measured",
        (
            Column("cell"),
            Column("reported", "top-1 %", 2),
            Column("cost", "GMAC", 3),
            Column("measured", "top-1 %", 2),
            Column("low", "%", 2),
            Column("high", "%", 2),
            Column("seeds"),
        ),
        tuple(rows),
        (
            "Low and high: 95 % Student t interval over seeds; none from a single seed.",
            "Not in the paper, so ours: checkpoints, augmentation (timm's crop and mirror), "
            "warm-up of 5 %, weight decay 0.05 for AdamW; isoFLOP keeps the first layers; "
            "the linear router is raw, as printed; transfer starts from the dense checkpoint.",
        ),
    )


def _record(
    run: CellRun,
    folder: Path,
    out: Path,
    seed: int,
    device: str,
    origin: dict[str, object],
) -> RunRecord:
    started, file = datetime.now(UTC), str(weights(run, folder))
    workers = min(8, os.cpu_count() or 1)
    curve, seconds, samples = [], 0.0, 0
    if run.kind == "convert":
        place = str(folder / run.data / "val")
        made = evaluate(run.model, file, place, (run.capacity,), run.router, device=device,
                        workers=workers)  # fmt: skip
        accuracy, images = (made.rows[1][i] for i in (1, 3))
        metrics, fingerprint = {"accuracy": float(str(accuracy))}, f"{images} images"
    else:
        log = train_own(
            run.kind, run.model, file, str(folder / run.data),
            str(out / "work" / run.arm / f"seed-{seed}"), capacity=run.capacity,
            router=run.router, layers=run.layers, epochs=run.epochs or None,
            seed=seed, device=device, workers=workers,
        )  # fmt: skip
        curve, seconds = log["curve"], log["seconds"]
        metrics = {"accuracy": curve[-1]["accuracy"], "loss": curve[-1]["loss"]}
        samples = log["schedule"]["steps"] * log["schedule"]["batch_size"]
        fingerprint = f"{log['train'][:32]}+{log['test'][:32]}"
    return RunRecord(
        recipe=run.recipe,
        recipe_hash=recipe_hash(run),
        recipe_config=resolved_config(run),
        arm=run.arm,
        seed=seed,
        method_version=METHOD_VERSION,
        data_name=run.data,
        data_fingerprint=fingerprint,
        metrics=metrics,
        curve=curve,
        seconds=seconds,
        samples_seen=samples,
        flops={"forward": run.macs, "convention": CONVENTION.replace("included", "excluded")},
        provenance=origin,
        started=started,
        finished=datetime.now(UTC),
        status="complete",
    )


def _plan(runs: Sequence[CellRun], folder: Path, out: Path, seeds: tuple[int, ...]) -> str:
    lines = [f"{len(runs)} cells, seeds {' '.join(map(str, seeds))}, into {out}"]
    for run in runs:
        lacks = missing(run, folder)
        how = f"first {run.layers} layers" if run.layers else f"{run.router} {run.capacity:g}"
        state = f"lacks {', '.join(lacks)}" if lacks else "ready"
        lines.append(f"  {run.cell}: {run.kind} {run.model}, {how}: {state}")
    return "\n".join(lines)
