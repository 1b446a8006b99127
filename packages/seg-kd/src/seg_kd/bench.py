"""`seg-kd bench`: what the distillation losses add to teacher forward + student step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from repro_shared.evidence.tables import Column, Table
from repro_shared.timing.calibrate import calibrate
from seg_kd import adapter
from seg_kd.data import open_split
from seg_kd.objectives import FEATURE, FEATURE_LOGIT, LOGIT, Objective
from seg_kd.recipes.equal_time import equal_time_digits
from seg_kd.teachers import untrained_teacher
from seg_kd.training import Job, start

# The same teacher forward with a loss whose weight is tiny but whose work is not there.
BASELINE = "teacher forward + student step"
TARGETS = {"logit": 0.03, "feature": 0.05}


def bench(device: str, rounds: int) -> Table:
    """Interleaved steps at the cpu recipe's shapes; prints and returns the overheads.

    Args:
        device: cpu or cuda.
        rounds: timed rounds per row.
    """
    adapter.set_device(device)
    recipe = equal_time_digits("cpu")
    data = replace(recipe.data, train_length=64)
    source, teacher = open_split(data, None, "train"), untrained_teacher(recipe).to(device)
    config = adapter.model_config(recipe.student, len(data.classes), data.crop)
    rows: dict[str, Objective] = {BASELINE: Objective("teacher-only")}
    rows |= {each.name: each for each in (LOGIT, FEATURE, FEATURE_LOGIT)}
    steps: dict[str, Callable[[], None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, objective in rows.items():
            job = Job(
                student_config=config,
                data=data,
                source=source,
                optimiser=recipe.optimiser,
                iterations=10**6,
                seed=0,
                objective=objective,
                teacher=teacher,
                directory=Path(folder) / objective.name,
            )
            steps[name] = start(job).step
        result = calibrate(steps, rounds=rounds)
    cells = []
    for name in rows:
        low, high = result.spread(name, BASELINE)
        target = TARGETS.get(name)
        cells.append((name, 100 * (result.ratio(name, BASELINE) - 1), 100 * (low - 1),
                      100 * (high - 1), None if target is None else 100 * target))  # fmt: skip
    table = Table(
        "bench-overhead",
        "Overhead of the distillation losses over teacher forward + student step",
        (
            Column("step"),
            Column("overhead", "percent", 2),
            Column("10 %", "percent", 2),
            Column("90 %", "percent", 2),
            Column("target", "percent", 0),
        ),
        tuple(cells),
        (
            f"{rounds} interleaved rounds, {result.threads} threads, {device}; overhead is of "
            "medians, 10 % and 90 % are of the ratios taken round by round.",
        ),
    )
    print(table.to_terminal())
    return table
