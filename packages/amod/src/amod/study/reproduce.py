"""`amod reproduce`: run what a table lacks, then write and print it."""

from __future__ import annotations

from pathlib import Path

from amod.study.checks import check_seeds
from amod.study.recipes import FUNCTIONS, Recipe, find_recipe
from repro_shared.evidence.records import path_for

TABLES = ("flops", *FUNCTIONS)


def reproduce(
    table: str,
    scale: str,
    out: Path,
    folder: str | None,
    seeds: tuple[int, ...],
    *,
    controls: bool = False,
    plan: bool = False,
    device: str = "cpu",
) -> None:
    """One table: the FLOP columns, or all stages of a recipe.

    Args:
        table: flops, digits, cifar10, digits-tuning or cifar10-tuning.
        scale: smoke or cpu; the FLOP columns are the same at every scale.
        out: output folder.
        folder: data set folder, for recipes that need one.
        seeds: which seeds, the recipe's by default.
        controls: also what only the committed evidence needs, see `study.recipes.control_arms`.
        plan: print what would run, and stop.
        device: cpu or cuda.

    Raises:
        UserError: unknown table or scale, bad seeds, data or folders.
    """
    if table == "flops":
        flops(out, plan)
        return
    recipe = find_recipe(table, scale)
    seeds = check_seeds(seeds or recipe.seeds)
    if plan:
        print(describe(recipe, out, folder, seeds, controls))
        return
    from amod.study.experiment import open_experiment, run_missing
    from amod.study.report import write_report
    from amod.study.results import load_results

    run_missing(open_experiment(recipe, out, folder, device), seeds, controls)
    results = load_results(recipe, out)
    assert results is not None
    for made in write_report(results, out):
        print(made.to_terminal())


def flops(out: Path, plan: bool) -> None:
    """The paper's FLOP columns: arithmetic."""
    from amod.study.flop_table import flop_table
    from repro_shared.evidence.tables import write_tables
    from repro_shared.runtime.files import ensure_output_dir

    if plan:
        print(f"the table flops: arithmetic, under ten seconds, into {out}")
        return
    made = flop_table()
    write_tables(ensure_output_dir(out) / "tables", [made])
    print(made.to_terminal())


def describe(
    recipe: Recipe, out: Path, folder: str | None, seeds: tuple[int, ...], controls: bool
) -> str:
    """What would run, and what must be present."""
    from amod.study.experiment import runs

    names = [(run.name, run.schedule) for run, _ in runs(recipe, controls)]
    missing = [
        (name, schedule, seed)
        for seed in seeds
        for name, schedule in names
        if not path_for(out, recipe.name, name, seed).is_file()
    ]
    steps = sum(schedule.steps for _, schedule, _ in missing if schedule)
    steps += recipe.dense.steps * sum(name == "dense" for name, _, _ in missing)
    data = "comes along" if recipe.data.scenes is not None else folder or "needs --data DIR"
    lines = [
        f"{recipe.name} at scale {recipe.scale}, seeds {' '.join(map(str, seeds))}, into {out}",
        f"  data: {recipe.data.name}, {data}",
        *(f"  {name}" + (f": {s.steps} steps" if s else "") for name, s in names),
        f"  {len(missing)} runs have no record yet, {steps} training steps of "
        f"{recipe.dense.batch_size} pictures",
    ]
    return "\n".join(lines)
