"""Everything that is generated from records: tables, figures, `measured.csv`, README blocks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro_shared.evidence.blocks import refresh, stale
from repro_shared.evidence.figures import house_style, save_figure
from repro_shared.evidence.hashing import resolved_config
from repro_shared.evidence.measured import measured_text
from repro_shared.evidence.run_folder import RunFolder
from repro_shared.evidence.tables import Table, write_tables
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_text, ensure_output_dir
from repro_shared.runtime.progress import say
from repro_shared.study.paper import Paper
from repro_shared.study.results import MEASURED, Results, load_results
from repro_shared.timing.bench import Bench, read_benches

_GENERATED = {"tables": ".csv", "figures": ".svg"}


def all_results(paper: Paper, out: Path) -> dict[str, Results]:
    """By study, of all studies that have records there or need none.

    Of the committed results also those that make claims: what was not run is said.
    """
    found, own = {}, out.resolve() == paper.results.resolve()
    for _, study in paper.every_study():
        if not study.arms or (out / study.name).is_dir() or (own and study.claims):
            found[study.name] = load_results(paper, study, out)
    return found


def write_study(results: Results, out: Path) -> list[Table]:
    """Write a study's tables and figures below `out`; returns the tables."""
    tables = [make(results) for make in results.study.tables]
    write_tables(out / "tables", tables)
    for draw in results.figures:
        with house_style():
            name, figure = draw(results)
        save_figure(figure, out / "figures" / name)
    return tables


def bench_tables(paper: Paper, out: Path) -> list[Table]:
    """A table for each bench that was kept below an output folder."""
    make = paper.bench_table
    return [make(bench) for bench in read_benches(out)] if make else []


def write_benches(paper: Paper, benches: Sequence[Bench], out: Path) -> None:
    """Write the tables and figures of benches below `out`."""
    if make := paper.bench_table:
        write_tables(out / "tables", [make(bench) for bench in benches])
    draw = paper.bench_figure
    for bench in benches if draw else ():
        with house_style():
            drawn = draw(bench) if draw else None
        if drawn is not None:
            save_figure(drawn[1], out / "figures" / drawn[0])


def publish(paper: Paper, out: Path, check: bool) -> list[str]:
    """Make the generated files of an output folder anew, or compare them.

    For the committed results these include the package's `measured.csv` and its README's blocks.

    Returns:
        With `check`, the names of files that differ; else nothing.

    Raises:
        UserError: no such folder, or a damaged file.
    """
    if not out.is_dir():
        raise UserError(f"{out}: no such folder; give one that `{paper.command} reproduce` wrote")
    found = all_results(paper, out)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        for results in found.values():
            write_study(results, made)
        write_benches(paper, read_benches(out), made)
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
    if out.resolve() == paper.results.resolve():
        wrong += _package_files(paper, found, check)
    return wrong


def _differences(made: Path, out: Path) -> list[str]:
    names = {
        path.relative_to(base)
        for base in (made, out)
        for kind, ending in _GENERATED.items()
        for path in (base / kind).glob(f"*{ending}")
    }
    return [
        str(name)
        for name in sorted(names)
        if not (made / name).is_file()
        or not (out / name).is_file()
        or (made / name).read_bytes() != (out / name).read_bytes()
    ]


def _package_files(paper: Paper, found: dict[str, Results], check: bool) -> list[str]:
    rows = [row for results in found.values() for row in results.measured()]
    text, path = measured_text(rows), paper.source / MEASURED
    documents = paper.blocks(found) if paper.blocks else {}
    wrong = [name for results in found.values() for name in _redefined(results)] if check else []
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        wrong.append(str(MEASURED))
        if not check:
            atomic_write_text(path, text)
    for name, blocks in documents.items():
        document = paper.results.parent / name
        if check and stale(document, blocks):
            wrong.append(name)
        elif not check:
            refresh(document, blocks)
    return wrong if check else []


def _redefined(results: Results) -> list[str]:
    """Arms whose records hold other settings than their config has now.

    A key leaves out what is at its default, so that a field added later changes none. A default
    that is changed does not show in it: the method version has to be raised.
    """
    folder = RunFolder(results.out / results.study.name, results.study.name)
    recorded = folder.configs()
    return sorted({
        f"{results.study.name}: {run.arm} was run with other settings: raise METHOD_VERSION"
        for run in results.records
        if not _holds(resolved_config(results.study.arm(run.arm).config), recorded[run.config])
    })  # fmt: skip


def _holds(now: Any, before: Any) -> bool:
    """Whether a config has all that was recorded of it; fields may have been added."""
    if isinstance(now, dict) and isinstance(before, dict):
        return all(name in now and _holds(now[name], form) for name, form in before.items())
    return bool(now == before)


def table_of(paper: Paper, identifier: str, out: Path) -> tuple[Table, Results | None]:
    """The table of this id, made from the records below `out`, and its study's results.

    A bench has no study. UserError if there is no such table.
    """
    known = []
    for table in bench_tables(paper, out):
        if table.id == identifier:
            return table, None
        known.append(table.id)
    for results in all_results(paper, out).values():
        for make in results.study.tables:
            table = make(results)
            if table.id == identifier:
                return table, results
            known.append(table.id)
    raise UserError(f"no table {identifier!r}; there are: {', '.join(sorted(known)) or 'none yet'}")


def as_json(value: object) -> str:
    """Indented JSON for stdout."""
    return json.dumps(value, indent=2, ensure_ascii=False)
