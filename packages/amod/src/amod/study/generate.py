"""`amod report`: every generated file from the committed records, written or compared."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from amod.study.claims import CLAIMS
from amod.study.flop_table import flop_table
from amod.study.recipes import FUNCTIONS, SCALES, find_recipe
from amod.study.report import write_report
from amod.study.results import COMMITTED_RESULTS, TABLES, Results, load_results, measurements
from amod.study.timings import read_timings
from repro_shared.evidence.blocks import refresh, stale
from repro_shared.evidence.measured import measured_text
from repro_shared.evidence.tables import Table, write_tables
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_text, ensure_output_dir
from repro_shared.runtime.progress import say

README = Path(__file__).parents[3] / "README.md"


def generate(out: Path, check: bool) -> list[str]:
    """Make the generated files of an output folder anew.

    For the committed results these include the package's `tables/measured.csv` and the README's
    blocks. PNG files are written and not compared.

    Args:
        out: output folder with `records/` and `bench/`.
        check: compare only.

    Returns:
        With `check`, names of files that differ; else nothing.

    Raises:
        UserError: no such folder, or a damaged record.
    """
    if not out.is_dir():
        raise UserError(f"{out}: no such folder; give one that `amod reproduce` wrote")
    recipes = [find_recipe(name, scale) for name in FUNCTIONS for scale in SCALES]
    found = [r for r in (load_results(recipe, out) for recipe in recipes) if r]
    with tempfile.TemporaryDirectory() as folder:
        made, tables = Path(folder), [flop_table(), *(t.table() for t in read_timings(out))]
        write_tables(made / "tables", tables)
        for results in found:
            tables += write_report(results, made)
        if not check:
            for path in sorted(path for path in made.rglob("*") if path.is_file()):
                target = out / path.relative_to(made)
                ensure_output_dir(target.parent)
                atomic_write_bytes(target, path.read_bytes())
        wrong = _differences(made, out)
    if not check:
        for name in wrong:  # nobody's file is deleted unasked
            say(f"{out / name} is no longer generated: delete it")
        wrong = []
    if out.resolve() == COMMITTED_RESULTS:
        wrong += _package_files(found, tables, check)
    return wrong


def _differences(made: Path, out: Path) -> list[str]:
    kinds = (".md", ".csv", ".svg")
    names = {p.relative_to(made) for p in made.rglob("*") if p.suffix in kinds}
    # Tables of scale paper need the user's weights, which only `amod reproduce` is told of.
    names |= {p.relative_to(out) for kind in ("tables", "figures") for p in (out / kind).glob("*")
              if p.suffix in kinds and not p.name.startswith("paper-")}  # fmt: skip
    return [
        str(name)
        for name in sorted(names)
        if not (made / name).is_file()
        or not (out / name).is_file()
        or (made / name).read_bytes() != (out / name).read_bytes()
    ]


def _package_files(found: list[Results], tables: list[Table], check: bool) -> list[str]:
    text, path = measured_text(measurements(found)), TABLES / "measured.csv"
    blocks = {"results": results_block(found, tables), "speed": speed_block(tables)}
    if not check:
        atomic_write_text(path, text)
        refresh(README, blocks)
        return []
    wrong = [] if path.is_file() and path.read_text() == text else ["tables/measured.csv"]
    return wrong + (["README.md"] if stale(README, blocks) else [])


def speed_block(tables: list[Table]) -> str:
    """The README's speed tables, or that there are none."""
    timed = [table.to_markdown() for table in tables if table.id.startswith("bench-")]
    return "\n".join(timed) or "No timings have been committed yet.\n"


def results_block(found: list[Results], tables: list[Table]) -> str:
    """The README's results: verdicts, tables and figures, or that there are none."""
    found = [results for results in found if not results.recipe.tries]
    if not found:
        return "No evidence on images has been committed yet.\n"
    by_id, parts = {table.id: table for table in tables}, []
    for results in found:
        name = results.recipe.tag
        for kind in CLAIMS[results.recipe.name]:
            parts.append(_without_effects(by_id[f"{kind}-{name}"]).to_markdown())
        parts.append(by_id[f"conversion-{name}"].to_markdown())
        parts.append(f"![{results.recipe.name}](results/figures/conversion-{name}.png)\n")
        parts.append(by_id[f"finetune-{name}"].to_markdown())
        if f"scratch-{name}" in by_id:
            parts.append(by_id[f"scratch-{name}"].to_markdown())
        if f"transfer-{name}" in by_id:
            parts.append(by_id[f"transfer-{name}"].to_markdown())
            parts.append(f"![{results.recipe.name}](results/figures/transfer-{name}.png)\n")
        parts.append(by_id[f"importance-{name}"].to_markdown())
    return "\n".join(parts)


def _without_effects(table: Table) -> Table:
    """A table of verdicts with a link in place of each claim's effects by seed."""
    data, *_, explained = table.notes
    link = f"Effects by seed: [{table.id}](results/tables/{table.id}.md)."
    return replace(table, notes=(data, link, explained))
