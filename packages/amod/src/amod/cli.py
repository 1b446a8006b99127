"""The command `amod`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

from amod import __version__
from repro_shared.runtime.cli import Command, run
from repro_shared.runtime.errors import UserError

DESCRIPTION = "Mixture-of-Depths for timm ViTs, routed by attention (arXiv 2412.20875)."
TABLES = ("flops",)
PACKAGE = Path(__file__).parents[2]


def reproduce(
    *,
    scale: Literal["smoke", "cpu", "paper"] = "cpu",
    table: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    data: str | None = None,
    out: str = "runs/amod",
    controls: bool = False,
    plan: bool = False,
) -> None:
    """Print and write the tables: so far the FLOP columns, which need no data and no training.

    Args:
        scale: smoke, cpu or paper; the same for arithmetic.
        table: which tables; flops is the only one yet.
        seeds: of trained tables; there are none yet.
        data: of trained tables; there are none yet.
        out: output folder.
        controls: negative controls of trained tables; there are none yet.
        plan: list what would run, and stop.
    """
    from amod.flop_table import flop_table
    from repro_shared.evidence.tables import write_tables
    from repro_shared.runtime.files import ensure_output_dir

    for name in table:
        if name not in TABLES:
            raise UserError(f"unknown table {name!r}: choose one of {', '.join(TABLES)}")
    if seeds or data:
        raise UserError("the table flops needs neither --seeds nor --data")
    if plan:
        print(f"amod at scale {scale}: the table flops, arithmetic, under ten seconds, into {out}")
        return
    folder = ensure_output_dir(out)
    made = flop_table()
    write_tables(folder / "tables", [made])
    print(made.to_terminal())


def table(identifier: str) -> None:
    """Print one table.

    Args:
        identifier: flops.
    """
    from amod.flop_table import flop_table

    if identifier not in TABLES:
        raise UserError(f"no table {identifier!r}; there are: {', '.join(TABLES)}")
    print(flop_table().to_markdown(), end="")


def cite(identifier: str) -> None:
    """Print one of the paper's cells with its status and BibTeX.

    Args:
        identifier: e.g. table5/deit-small-a-mod/gflops.
    """
    from amod.flop_table import reported
    from amod.paper import PAPER, REPOSITORY
    from repro_shared.evidence.cells import find_cell
    from repro_shared.evidence.measured import cite as cite_cell

    print(cite_cell(find_cell(reported(), identifier), [], PAPER, REPOSITORY), end="")


def report(*, check: bool = False) -> int:
    """Make the committed tables anew.

    Args:
        check: write nothing; exit code 1 and a list if a file is not what it would be.
    """
    from amod.flop_table import flop_table
    from repro_shared.evidence.tables import write_tables

    folder = PACKAGE / "results" / "tables"
    if not (PACKAGE / "results").is_dir():
        raise UserError("no checkout here: `amod reproduce` writes the tables")
    if not check:
        write_tables(folder, [flop_table()])
        return 0
    with tempfile.TemporaryDirectory() as made:
        wrong = [
            path.name
            for path in write_tables(Path(made), [flop_table()])
            if not (folder / path.name).is_file()
            or (folder / path.name).read_bytes() != path.read_bytes()
        ]
    for name in wrong:
        print(f"stale: {name}", file=sys.stderr)
    return 1 if wrong else 0


def bench(
    *,
    model: str = "deit_small_patch16_224",
    batch: int = 8,
    rounds: int = 15,
    device: str = "cpu",
) -> None:
    """Speed of routed against dense models as ratios, interleaved, beside the ceiling by FLOPs.

    Args:
        model: a timm model name; weights are random.
        batch: images a step.
        rounds: timed rounds.
        device: cpu or cuda.
    """
    from amod.bench import bench as run_bench

    print(run_bench(model, batch, rounds, device).to_terminal())


def main() -> None:
    """Entry point of the `amod` command."""
    commands: dict[str, Command] = {
        "reproduce": reproduce,
        "table": table,
        "cite": cite,
        "bench": bench,
        "report": report,
    }
    sys.exit(run("amod", DESCRIPTION, commands, version=__version__))


if __name__ == "__main__":
    main()
