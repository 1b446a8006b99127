"""`seg-kd bench`: what the distillation losses add to teacher forward + student step.

With `--what objectives` the equations against the plain way to write them.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import Cell, Column, Interval, Table, write_tables
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.study.paper import Context
from repro_shared.timing.bench import Bench, add_bench, bench_of
from repro_shared.timing.calibrate import calibrate
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, Objective
from seg_kd.study import bench_objectives, cost_measured, recipes
from seg_kd.study.arms import students, teacher
from seg_kd.study.calibration import ENDLESS
from seg_kd.study.stages import job_of, untrained
from seg_kd.train import start
from seg_kd.use import adapter
from seg_kd.use.data import Scenes

# The same step with the teacher's forward pass and no distillation loss.
BASELINE = "teacher forward + student step"
TARGETS = {"logit": 0.03, "feature": 0.05}


def command(
    *,
    what: Literal["overhead", "objectives"] = "overhead",
    device: Literal["cpu", "cuda"] = "cpu",
    rounds: int | None = None,
    out: str | None = None,
) -> None:
    """Overhead of the distillation losses over teacher forward + student step, interleaved.

    Args:
        what: that, or the speed of every objective's equation over the plain way to write it, at
            64 x 128 positions.
        device: cpu or cuda.
        rounds: timed rounds; 64, or 16 for objectives, where one takes about a minute on a CPU.
        out: keep the times of all rounds below this folder, and the table.
    """
    folder = ensure_output_dir(out) if out else None
    check_device(device)
    if what == "objectives":
        made = bench_objectives.bench(device, 16 if rounds is None else rounds)
    else:
        made = bench(device, 64 if rounds is None else rounds)
    print(table(made).to_terminal())
    if folder is not None:
        add_bench(folder, made)
        write_tables(folder / "tables", [table(made)])


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Median and its 95 % interval, free of a distribution: order statistics near n/2 -+ sqrt(n).

    The interval is [smallest, largest] for fewer than six values, whose cover is below 95 %.
    """
    ordered, n = sorted(values), len(values)
    reach = 0.98 * math.sqrt(n)  # 1.96 standard deviations of Binomial(n, 1/2)
    low, high = max(0, math.floor(n / 2 - reach) - 1), min(n - 1, math.ceil(n / 2 + reach))
    return statistics.median(ordered), ordered[low], ordered[high]


def bench(device: str, rounds: int) -> Bench:
    """Interleaved steps at the shapes of the digit study at scale cpu.

    Args:
        device: cpu or cuda.
        rounds: timed rounds.
    """
    require(rounds >= 1, "--rounds", "at least 1", rounds)
    adapter.set_device(device)
    study = recipes.equal_time_digits("cpu")
    data = Scenes(recipes.SCENES, 64, 1).open(None)
    network = untrained(teacher(study).config, 0).to(device)
    like = students(study, "time")[0].config
    rows: dict[str, Objective] = {BASELINE: Objective("teacher-only")}
    rows |= {each.name: each for each in (LOGIT, FEATURE, FEATURE_LOGIT)}
    steps: dict[str, Callable[[], None]] = {}
    origin = provenance(("seg-kd", "mmengine", "onedl-mmsegmentation"), __file__)
    with tempfile.TemporaryDirectory() as folder:
        for name, objective in rows.items():
            ctx = Context(data, 0, device, Path(folder) / objective.name, key="", label=name)
            config = replace(like, objective=objective, iterations=ENDLESS)
            job = replace(job_of(config, ctx, network), teacher=network)
            steps[name] = start(replace(job, checkpoint_interval=0)).step
        timed = calibrate(steps, rounds=rounds)
    what = "" if device == "cpu" else f" {timed.machine.get('gpu', device)}"
    return bench_of(slug(f"overhead{what}"), timed, origin, device=device)


def table(made: Bench) -> Table:
    """What each objective adds to a step, in percent; benches of another kind have their own."""
    if "peak_mb" in made.settings:
        return cost_measured.table(made)
    if BASELINE not in made.seconds:
        return bench_objectives.table(made)
    cells: list[tuple[Cell, ...]] = []
    for name, seconds in made.seconds.items():
        pairs = zip(seconds, made.seconds[BASELINE], strict=True)
        ends = median_interval([mine / base for mine, base in pairs])
        middle, below, above = (100 * (ratio - 1) for ratio in ends)
        _, low, high = made.ratio(name, BASELINE)
        assert low is not None
        assert high is not None
        scatter = f"{100 * (low - 1):.1f} to {100 * (high - 1):.1f}"
        target = TARGETS.get(name)
        aim = None if target is None else 100 * target
        cells.append((name, Interval(middle, below, above), scatter, aim))
    return Table(
        f"bench-{made.name}",
        "Overhead of the distillation losses over teacher forward + student step",
        (
            Column("step"),
            Column("overhead", "percent", 2),
            Column("single rounds, 10 to 90 %", "percent"),
            Column("aim", "percent", 0),
        ),
        tuple(cells),
        (
            f"{made.rounds} interleaved rounds, {made.threads} thread{'s' * (made.threads > 1)}, "
            f"{made.machine.get('gpu') or made.machine.get('cpu', 'unknown processor')}, torch "
            f"{made.machine.get('torch', '?')}, {made.finished:%Y-%m-%d}. Overhead: median of the "
            "ratios taken round by round, with its 95 % interval from order statistics.",
        ),
    )
