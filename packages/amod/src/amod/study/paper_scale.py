"""`amod reproduce --scale paper`: tables 1, 3, 4 and 5, cell by cell, on the user's data.

Every run is made from a cell of `tables/reported.csv`, and its result stands beside that cell.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from amod import METHOD_VERSION
from amod.method.flops import SHAPES, Shape, dense_macs, routed_macs
from amod.study.checks import check_device, check_seeds
from amod.study.experiment import DISTRIBUTIONS
from amod.study.flop_table import capacity_and_layers, reported
from amod.train import DivergedError
from amod.use.evaluate import TABLE3, evaluate
from amod.use.folders import ClassFolder
from amod.use.own_data import train_own
from repro_shared.evidence.cells import ReportedCell, find_cell, slug
from repro_shared.evidence.claims import interval_cells, interval_columns
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
from repro_shared.runtime.files import ensure_output_dir, sha256_file
from repro_shared.runtime.progress import say

Kind = Literal["convert", "finetune", "transfer"]
KINDS: dict[str, Kind] = {
    "table1": "finetune", "table3": "convert", "table4": "transfer", "table5": "transfer",
}  # fmt: skip
TABLES = tuple(KINDS)
FOLDERS = {
    "ImageNet-1k": "imagenet",
    "Stanford Cars": "cars",
    "Flowers-102": "flowers",
    "Oxford Pets": "pets",
}
MODELS = {printed: name for name, printed in TABLE3.items()}
ROUTERS = {"A-MoD": "attention", "MoD": "linear", "isoFLOP": ""}
CONVENTION = "multiply-accumulates, five operations an element of a layer norm, head excluded"
WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class CellRun:
    """The run that measures a cell.

    Attributes:
        cell: the cell's id.
        kind: fine-tuning, transfer, or conversion without training.
        model: timm's name.
        data: folder below `--data`.
        router: attention or linear; empty for an isoFLOP model.
        capacity: share of tokens in routed blocks; of the isoFLOP model's partner.
        layers: of an isoFLOP model, its first ones (the paper does not say which it keeps); else 0.
    """

    cell: str
    kind: Kind
    model: str
    data: str
    router: str
    capacity: float
    layers: int = 0

    @property
    def recipe(self) -> str:
        """Its recipe's name in the records."""
        return f"paper_{self.cell.partition('/')[0]}"

    @property
    def arm(self) -> str:
        """Its arm's name in the records."""
        return slug(self.cell.replace("/", " "))

    @property
    def scored(self) -> str:
        """The split that is scored."""
        return "val" if self.data == "imagenet" else "test"

    @property
    def macs(self) -> int:
        """Cost of a forward pass on 224 x 224 pixels, without the classifier."""
        shape = SHAPES[TABLE3[self.model]]
        if self.layers:
            return dense_macs(Shape(shape.width, self.layers), head=False)
        linear = self.router == "linear"
        return routed_macs(shape, self.capacity, linear_router=linear, head=False)


@dataclass(frozen=True)
class RunKey:
    """What decides a cell's result, besides the data's content."""

    run: CellRun
    weights_sha256: str


def cell_runs(table: str) -> list[CellRun]:
    """A run for every accuracy cell of a table.

    Raises:
        UserError: a table that this scale does not have.
    """
    if table not in TABLES:
        raise UserError(f"no table {table!r} at scale paper: choose one of {', '.join(TABLES)}")
    return [_cell_run(c) for c in reported() if c.table == table and c.unit == "percent"]


def _cell_run(cell: ReportedCell) -> CellRun:
    model, _, arm = cell.row.partition(" ")
    capacity, layers = capacity_and_layers(cell)
    return CellRun(
        cell=cell.id,
        kind=KINDS[cell.table],
        model=MODELS[model],
        data=FOLDERS[cell.dataset],
        router=ROUTERS[arm],
        capacity=capacity,
        layers=layers,
    )


def missing(run: CellRun, folder: Path) -> list[str]:
    """What of a run's data and weights is not below `folder`."""
    parts = [run.scored] if run.kind == "convert" else ["train", run.scored]
    absent = [f"{run.data}/{part}" for part in parts if not (folder / run.data / part).is_dir()]
    return absent + ([] if weights(run, folder) else [f"weights/{run.model}.safetensors or .pth"])


def weights(run: CellRun, folder: Path) -> Path | None:
    """The dense ImageNet checkpoint of a run's model, if it is there."""
    paths = [folder / "weights" / f"{run.model}{suffix}" for suffix in (".safetensors", ".pth")]
    return next((path for path in paths if path.is_file()), None)


def reproduce_tables(
    tables: Sequence[str],
    out: Path,
    data: str | None,
    seeds: tuple[int, ...] = (),
    *,
    plan: bool = False,
    device: str = "cpu",
) -> None:
    """Run every cell whose data and weights are there, then write and print the tables.

    A cell that fails does not keep the others from being run. Data folders are not read again for
    cells that are finished: for other data give another `out`.

    Args:
        tables: of `TABLES`; all if empty.
        out: output folder; finished cells in it are skipped, killed ones resume.
        data: holds imagenet/ (train/ and val/), cars/, flowers/, pets/ (train/ and test/), class
            folders below, and weights/ with a dense ImageNet checkpoint for each model.
        seeds: seeds; 0 if empty, as the paper has one run. Conversions have one.
        plan: list the cells and what is missing, and stop.
        device: cpu or cuda; one process (`amod train` runs under torchrun).

    Raises:
        UserError: unknown table, bad seeds, several processes, no cell that could be run; or, when
            everything else is done, cells that could not be run.
    """
    todo = {table: cell_runs(table) for table in tables or TABLES}
    seeds = check_seeds(seeds or (0,))
    check_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("scale paper runs in one process: run its cells with `amod train` instead")
    folder = Path(data or ".")
    everything = [run for runs in todo.values() for run in runs]
    if plan:
        print(_plan(everything, folder, out, seeds))
        return
    ready = [run for run in everything if not missing(run, folder)]
    if not ready:
        lacks = sorted({name for run in everything for name in missing(run, folder)})
        raise UserError(f"nothing to run: {folder} (--data) has no {', no '.join(lacks)}")
    say(f"{len(ready)} of {len(everything)} cells have their data and weights; see --plan")
    ensure_output_dir(out)
    origin, problems = provenance(DISTRIBUTIONS, __file__), list[str]()
    for run in ready:
        for seed in seeds if run.kind != "convert" else seeds[:1]:
            if not finished(run, folder, out, seed):
                say(f"{run.cell}, seed {seed}")
                try:
                    write_record(out, _record(run, folder, out, seed, device, origin))
                except UserError as error:
                    problems.append(f"{run.cell}, seed {seed}: {error}")
                    say(problems[-1])
    made = [result_table(name, runs, folder, out) for name, runs in todo.items()]
    write_tables(out / "tables", made)
    for table in made:
        print(table.to_terminal())
    if problems:
        raise UserError(f"{len(problems)} runs could not be made, the first: {problems[0]}")


def finished(run: CellRun, folder: Path, out: Path, seed: int) -> bool:
    """Whether this run has a record, complete or diverged, from these weights and this version."""
    return _current(run, folder, out, seed) is not None


def result_table(name: str, runs: Sequence[CellRun], folder: Path, out: Path) -> Table:
    """The paper's cells, and beside them what was measured; diverged runs do not count."""
    cells, rows = reported(), list[tuple[Cell, ...]]()
    for run in runs:
        files = (out / "records" / run.recipe / run.arm).glob("seed-*.json")
        seeds = sorted(int(path.stem.removeprefix("seed-")) for path in files)
        found = [_current(run, folder, out, seed) for seed in seeds]
        values = [r.metrics["accuracy"] for r in found if r and r.status == "complete"]
        printed = find_cell(cells, run.cell).value
        diverged = sum(r is not None and r.status == "failed" for r in found)
        rows.append(
            (run.cell, printed, run.macs / 1e9, *interval_cells(values), len(values), diverged)
        )
    return Table(
        f"paper-{name}",
        f"arXiv 2412.20875v1, {name}: reported and measured",
        (
            Column("cell"),
            Column("reported", "top-1 %", 2),
            Column("cost", "GMAC", 3),
            *interval_columns(Column("measured", "top-1 %", 2)),
            Column("seeds"),
            Column("diverged", "seeds"),
        ),
        tuple(rows),
        (
            "Low and high: 95 % Student t interval over seeds; none from a single seed.",
            "Scored: ImageNet's val, the others' test. Not in the paper, so ours: checkpoints, "
            "augmentation (timm's crop and mirror), warm-up of 5 %, weight decay 0.05 for AdamW; "
            "isoFLOP keeps the first layers; the linear router is raw, as printed; transfer "
            "starts from the dense checkpoint.",
        ),
    )


def _current(run: CellRun, folder: Path, out: Path, seed: int) -> RunRecord | None:
    path, file = path_for(out, run.recipe, run.arm, seed), weights(run, folder)
    if file is None or not path.is_file():
        return None
    found, key = read_record(path), recipe_hash(RunKey(run, _sha256(file)))
    return found if (found.recipe_hash, found.method_version) == (key, METHOD_VERSION) else None


def _record(
    run: CellRun, folder: Path, out: Path, seed: int, device: str, origin: dict[str, Any]
) -> RunRecord:
    started, file = datetime.now(UTC), weights(run, folder)
    assert file is not None
    key = RunKey(run, _sha256(file))
    made: dict[str, Any]
    try:
        made = _convert(run, file, folder, device) if run.kind == "convert" else _train(
            run, run.kind, file, folder, _work(key, out, seed), seed, device
        )  # fmt: skip
    except DivergedError as error:
        shutil.rmtree(_work(key, out, seed) / "checkpoints", ignore_errors=True)
        made = {"metrics": {}, "data_fingerprint": "", "notes": str(error)}
    return RunRecord(
        recipe=run.recipe,
        recipe_hash=recipe_hash(key),
        recipe_config=resolved_config(key),
        arm=run.arm,
        seed=seed,
        method_version=METHOD_VERSION,
        data_name=f"{run.data}/{run.scored}",
        flops={"forward": run.macs, "convention": CONVENTION},
        provenance=origin,
        started=started,
        finished=datetime.now(UTC),
        status="complete" if made["metrics"] else "failed",
        **{"seconds": 0.0, "samples_seen": 0, **made},
    )


def _convert(run: CellRun, file: Path, folder: Path, device: str) -> dict[str, Any]:
    place = str(folder / run.data / run.scored)
    capacities = tuple(sorted({r.capacity for r in cell_runs("table3")}))
    scores = _converted(run.model, str(file), place, capacities, run.router, device)
    return {
        "metrics": {"accuracy": scores[run.capacity]},
        "data_fingerprint": ClassFolder(place).fingerprint(),
    }


@lru_cache(maxsize=1)
def _converted(
    model: str, file: str, place: str, capacities: tuple[float, ...], router: str, device: str
) -> dict[float, float]:
    """Top-1 by capacity: the cells of a row follow each other, and share the dense evaluation."""
    table = evaluate(model, file, place, capacities, router, device=device, workers=WORKERS)
    routed = table.rows[1:]  # the first is the dense model
    return {c: float(str(row[1])) for c, row in zip(capacities, routed, strict=True)}


def _train(
    run: CellRun,
    kind: Literal["finetune", "transfer"],
    file: Path,
    folder: Path,
    work: Path,
    seed: int,
    device: str,
) -> dict[str, Any]:
    log = train_own(
        kind,
        run.model,
        str(file),
        str(folder / run.data),
        str(work),
        capacity=run.capacity,
        router=run.router or "attention",
        layers=run.layers,
        scored=run.scored,
        seed=seed,
        device=device,
        workers=WORKERS,
    )
    last, schedule = log["curve"][-1], log["schedule"]
    return {
        "metrics": {"accuracy": last["accuracy"], "loss": last["loss"]},
        "data_fingerprint": f"{log['train'][:32]}+{log['test'][:32]}",
        "curve": log["curve"],
        "seconds": log["seconds"],
        "samples_seen": schedule["steps"] * schedule["batch_size"],
        "notes": ", ".join(f"{name} {value}" for name, value in schedule.items()),
    }


def _sha256(file: Path) -> str:
    return _hashed(file, file.stat().st_mtime_ns)


@lru_cache
def _hashed(file: Path, modified: int) -> str:
    return sha256_file(file)


def _work(key: RunKey, out: Path, seed: int) -> Path:
    """Checkpoints and trained weights; other weights to start from have another folder."""
    name = f"seed-{seed}-{recipe_hash(key)[:12]}-v{METHOD_VERSION}"
    return out / "work" / key.run.arm / name


def _plan(runs: Sequence[CellRun], folder: Path, out: Path, seeds: tuple[int, ...]) -> str:
    lines = [f"{len(runs)} cells, seeds {' '.join(map(str, seeds))}, into {out}"]
    for run in runs:
        lacks = missing(run, folder)
        how = f"first {run.layers} layers" if run.layers else f"{run.router} {run.capacity:g}"
        state = f"lacks {', '.join(lacks)}" if lacks else "ready"
        wanted = seeds if run.kind != "convert" else seeds[:1]
        if not lacks and all(finished(run, folder, out, seed) for seed in wanted):
            state = "finished"
        lines.append(f"  {run.cell}: {run.kind} {run.model}, {how}: {state}")
    return "\n".join(lines)
