"""`seg-kd bench`: what the distillation losses add to teacher forward + student step."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from repro_shared.evidence.tables import Column, Table
from repro_shared.study.paper import Context
from repro_shared.timing.calibrate import calibrate
from seg_kd.method.objectives import FEATURE, FEATURE_LOGIT, LOGIT, Objective
from seg_kd.study import recipes
from seg_kd.study.arms import students, teacher
from seg_kd.study.calibration import ENDLESS
from seg_kd.study.stages import student_job, untrained
from seg_kd.train import start
from seg_kd.use import adapter
from seg_kd.use.data import Scenes

# The same step with the teacher's forward pass and no distillation loss.
BASELINE = "teacher forward + student step"
TARGETS = {"logit": 0.03, "feature": 0.05}


def command(*, device: Literal["cpu", "cuda"] = "cpu", rounds: int = 64) -> None:
    """Overhead of the distillation losses over teacher forward + student step, interleaved.

    Args:
        device: cpu or cuda.
        rounds: timed rounds.
    """
    print(bench(device, rounds).to_terminal())


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Median and its 95 % interval, free of a distribution: order statistics near n/2 -+ sqrt(n).

    The interval is [smallest, largest] for fewer than six values, whose cover is below 95 %.
    """
    ordered, n = sorted(values), len(values)
    reach = 0.98 * math.sqrt(n)  # 1.96 standard deviations of Binomial(n, 1/2)
    low, high = max(0, math.floor(n / 2 - reach) - 1), min(n - 1, math.ceil(n / 2 + reach))
    return statistics.median(ordered), ordered[low], ordered[high]


def bench(device: str, rounds: int) -> Table:
    """Interleaved steps at the cpu recipe's shapes; returns the overheads.

    Args:
        device: cpu or cuda.
        rounds: timed rounds per row.
    """
    adapter.set_device(device)
    study = recipes.equal_time_digits("cpu")
    data = Scenes(recipes.SCENES, 64, 1).open(None)
    network = untrained(teacher(study).config, 0).to(device)
    like = students(study, "time")[0].config
    rows: dict[str, Objective] = {BASELINE: Objective("teacher-only")}
    rows |= {each.name: each for each in (LOGIT, FEATURE, FEATURE_LOGIT)}
    steps: dict[str, Callable[[], None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, objective in rows.items():
            ctx = Context(data, 0, device, Path(folder) / objective.name, key="", label=name)
            config = replace(like, objective=objective, iterations=ENDLESS)
            job = replace(student_job(config, ctx, objective, network), teacher=network)
            steps[name] = start(replace(job, checkpoint_interval=0)).step
        result = calibrate(steps, rounds=rounds)
    cells = []
    for name in rows:
        low, high = result.spread(name, BASELINE)
        pairs = zip(result.seconds[name], result.seconds[BASELINE], strict=True)
        middle, below, above = median_interval([mine / base for mine, base in pairs])
        target = TARGETS.get(name)
        cells.append((name, *(100 * (r - 1) for r in (middle, below, above, low, high)),
                      None if target is None else 100 * target))  # fmt: skip
    return Table(
        "bench-overhead",
        "Overhead of the distillation losses over teacher forward + student step",
        (
            Column("step"),
            Column("overhead", "percent", 2),
            Column("low", "percent", 2),
            Column("high", "percent", 2),
            Column("10 %", "percent", 2),
            Column("90 %", "percent", 2),
            Column("target", "percent", 0),
        ),
        tuple(cells),
        (
            f"{rounds} interleaved rounds, {result.threads} threads, {device}; overhead is the "
            "median of the ratios taken round by round, low and high its 95 % interval from order "
            "statistics, 10 % and 90 % how much single rounds scatter.",
        ),
    )
