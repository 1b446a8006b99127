"""`seg-kd reproduce`: calibrate, plan, train, report."""

from __future__ import annotations

from pathlib import Path

from repro_shared.runtime.errors import UserError
from seg_kd.study.plan import Plan, arms, fits, make_plan, plan_path, read_plan
from seg_kd.study.recipes.base import Recipe
from seg_kd.use.teachers import weights_path


def reproduce(
    recipe: Recipe,
    out: Path,
    folder: str | None,
    seeds: tuple[int, ...],
    *,
    plan_only: bool = False,
    controls: bool = False,
    recalibrate: bool = False,
    retrain: bool = False,
    device: str = "cpu",
) -> None:
    """Run what is missing, calibrate again, write and print the report.

    Args:
        recipe: what to run.
        out: output folder.
        folder: data set folder, for recipes that need one.
        seeds: which seeds.
        plan_only: print what would run, and stop.
        controls, recalibrate, retrain: as in the command line.
        device: cpu or cuda.

    Raises:
        UserError: bad data, folders or files; step costs that moved during the runs.
    """
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds must be distinct and not negative, got {' '.join(map(str, seeds))}")
    if plan_only:
        print(describe(recipe, out, folder, seeds, controls, retrain))
        return
    if recipe.data.scenes is None and folder is None:
        raise UserError(f"{recipe.name} needs its data: give the folder with --data DIR")
    from seg_kd.study import comparison, report
    from seg_kd.study.results import load_results
    from seg_kd.use import adapter

    adapter.check_distributions()
    adapter.set_device(device)
    opened = comparison.open_comparison(recipe, out, folder, retrain)
    plan = comparison.plan_for(opened, recalibrate)
    ran = comparison.run_missing(opened, plan, seeds, controls)
    if ran or plan.last is None:
        comparison.finish(opened, plan)
    results = load_results(recipe, out)
    assert results is not None
    for table in report.write_report(results, out):
        print(table.to_terminal())
    # Smoke runs are too short to time anything; they show that the path works.
    if recipe.scale != "smoke":
        report.refuse_drift(results)


def describe(
    recipe: Recipe,
    out: Path,
    folder: str | None,
    seeds: tuple[int, ...],
    controls: bool,
    retrain: bool = False,
) -> str:
    """What would run: arms, iterations, seeds, and what must be present."""
    plan = read_plan(plan_path(out, recipe.name))
    if plan is not None and not fits(plan, recipe):
        plan = None  # it will be set aside
    weights = weights_path(recipe, out, retrain)
    lines = [
        f"{recipe.name} at scale {recipe.scale}, seeds {' '.join(map(str, seeds))}, into {out}",
        f"  data: {recipe.data.name}, "
        + ("comes along" if recipe.data.scenes is not None else folder or "needs --data DIR"),
        f"  teacher: {recipe.teacher.iterations} iterations"
        + (f", there already ({weights.name})" if weights.is_file() else ", to be trained first"),
    ]
    if plan is None:
        lines.append("  plan: none yet; iterations below assume equal step costs")
        plan = _equal_cost_plan(recipe)
    for arm in arms(recipe, plan, controls):
        lines.append(f"  {arm.name}: {arm.iterations} iterations x {len(seeds)} seeds")
    total = sum(arm.iterations for arm in arms(recipe, plan, controls)) * len(seeds)
    step = plan.first["seconds"].get("logit") if plan.first else None
    cost = f", about {total * sorted(step)[len(step) // 2] / 60:.0f} minutes" if step else ""
    return "\n".join([*lines, f"  together {total} iterations{cost}"])


def _equal_cost_plan(recipe: Recipe) -> Plan:
    from repro_shared.timing.calibrate import Calibration

    ones = {objective.name: [1.0] for objective in recipe.objectives}
    plan = make_plan(recipe, Calibration(ones, ones, 1, 0, 0, 1, {}))
    return Plan(plan.recipe, plan.scale, plan.ratios, plan.iterations, {"seconds": {}})
