"""`seg-kd report`: every generated file from the committed records, written or compared."""

from __future__ import annotations

import tempfile
from pathlib import Path

from repro_shared.evidence.blocks import refresh, stale
from repro_shared.evidence.measured import measured_text
from repro_shared.evidence.tables import Table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_text, ensure_output_dir
from repro_shared.runtime.progress import say
from seg_kd.study.claims import CLAIMS
from seg_kd.study.recipes import FUNCTIONS, find_recipe
from seg_kd.study.report import write_report
from seg_kd.study.results import (
    COMMITTED_RESULTS,
    TABLES,
    Results,
    load_results,
    measurements,
    suffix,
)

PACKAGE = Path(__file__).parents[3]


def generate(out: Path, check: bool) -> list[str]:
    """Make the generated files of an output folder anew.

    For the committed results these include `tables/measured.csv` of the package and the README's
    block. PNG files are written and not compared.

    Args:
        out: output folder with `records/` and `plans/`.
        check: compare only.

    Returns:
        With `check`, names of files that differ; else nothing.

    Raises:
        UserError: no plan there, or a damaged file.
    """
    if not (out / "plans").is_dir():
        raise UserError(f"{out} has no plans; give a folder that `seg-kd reproduce` wrote")
    with tempfile.TemporaryDirectory() as folder:
        found, tables = _results(out), []
        for results in found:
            tables += write_report(results, Path(folder))
        if not check:
            for made in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                target = out / made.relative_to(folder)
                ensure_output_dir(target.parent)
                atomic_write_bytes(target, made.read_bytes())
        wrong = _differences(Path(folder), out)
    if not check:
        for name in wrong:  # nobody's file is deleted unasked
            say(f"{out / name} is no longer generated: delete it")
        wrong = []
    if out.resolve() == COMMITTED_RESULTS:
        wrong += _package_files(found, tables, check)
    return wrong


def _results(out: Path) -> list[Results]:
    recipes = [find_recipe(name, scale) for name, (_, scales) in FUNCTIONS.items()
               for scale in scales]  # fmt: skip
    return [r for r in (load_results(recipe, out) for recipe in recipes) if r is not None]


def _differences(made: Path, out: Path) -> list[str]:
    names = {p.relative_to(made) for p in made.rglob("*") if p.suffix in (".md", ".csv", ".svg")}
    old = {p.relative_to(out) for kind in ("tables", "figures") for p in (out / kind).glob("*")
           if p.suffix in (".md", ".csv", ".svg")}  # fmt: skip
    return [
        str(name)
        for name in sorted(names | old)
        if name not in names
        or name not in old
        or (made / name).read_bytes() != (out / name).read_bytes()
    ]


def _package_files(found: list[Results], tables: list[Table], check: bool) -> list[str]:
    text = measured_text(measurements(found))
    path, readme = TABLES / "measured.csv", PACKAGE / "README.md"
    blocks = {"results": results_block(found, tables)}
    if not check:
        atomic_write_text(path, text)
        refresh(readme, blocks)
        return []
    wrong = [] if path.is_file() and path.read_text() == text else ["tables/measured.csv"]
    return wrong + (["README.md"] if stale(readme, blocks) else [])


def results_block(found: list[Results], tables: list[Table]) -> str:
    """The README's results: figures, verdicts and main tables, or that there are none."""
    shown = [results for results in found if results.recipe.name in CLAIMS]
    if not shown:
        return "No evidence has been committed yet.\n"
    parts = []
    for results in shown:
        name = suffix(results.recipe)
        largest = f"equal-time-{name}" + (
            f"-{results.recipe.budgets[-1]}" if len(results.recipe.budgets) > 1 else ""
        )
        by_id = {table.id: table for table in tables}
        parts.append(by_id[f"verdicts-{name}"].to_markdown())
        parts.append(f"![{results.recipe.name}](results/figures/equal-time-{name}.png)\n")
        equal = [i for i in by_id if i.startswith(f"equal-iterations-{name}")]
        wanted = (largest, f"curve-{name}", *equal, f"cost-{name}")
        parts += [by_id[i].to_markdown() for i in wanted if i in by_id]
    return "\n".join(parts)
