"""What a rival's step may cost: where the canonical objective overtakes it at equal time."""

from __future__ import annotations

import itertools
import math
import random

from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results
from seg_kd.study.published import counted_cost
from seg_kd.study.regime_claims import arm_of, budgets, data_of, rivals, times, warnings
from seg_kd.study.settled import CANONICAL

DRAWS = 2000  # of the bootstrap over seeds


def break_even_table(results: Results) -> Table:
    """How much dearer a rival's step may be before the canonical objective overtakes it."""
    study, rows = results.study, list[tuple[Cell, ...]]()
    canonical, last = CANONICAL[data_of(study)], budgets(study, "iterations")[-1]
    for name in rivals(study):
        equal = arm_of(study, name, "iterations", last)
        timed = arm_of(study, name, "time", last)
        cost = results.facts.get("ratios", {}).get(name)
        own = results.facts.get("ratios", {}).get(canonical)
        ratio = needed(results, canonical, equal, last)
        at_time = needed(results, canonical, timed, last)
        counted = counted_cost(name, beside=canonical)
        rows.append((
            name, _text(ratio) if ratio else None, cost / own if cost and own else None,
            ahead(ratio, cost / own if cost and own else None),
            _text(at_time) if at_time else None, counted, ahead(ratio, counted),
        ))  # fmt: skip
    return Table(
        f"break-even-{study.name.replace('_', '-')}",
        f"{study.name}: what a rival's step may cost, and what it does",
        (Column("rival"), Column("break-even cost", f"x {canonical}, 95 %"),
         Column("measured cost", f"x {canonical}", 3), Column("ahead at equal time", bold=True),
         Column("compute equivalence", "x time, 95 %"),
         Column("counted cost at the paper's shapes", f"x {canonical}", 3),
         Column("ahead there, counted", bold=True)),
        tuple(rows),
        (*results.notes,
         f"Break-even cost: iterations after which {canonical} distillation has the mIoU that the "
         f"rival has after {last}, over {last}, read off its means by length in the logarithm; a "
         "rival whose step is dearer than that loses at equal time. Compute equivalence: the time "
         f"that {canonical} distillation needs for what the rival has at equal time, over the "
         "rival's time; below 1 the canonical one is cheaper. Ends: 95 % of 2,000 bootstraps over "
         "seeds; < and > stand where the curve ends. Counted cost: arithmetic of a step of the "
         "paper's pair on Cityscapes, not measured; with it the first column, which is of the "
         "small networks here, gives the last.",
         *warnings(results)),
        ids(a for a in (arm_of(study, n, "iterations", last) for n in rivals(study)) if a),
    )  # fmt: skip


def ahead(needed: tuple[float, float, float, float] | None, cost: float | None) -> str:
    """Who is ahead at equal time where a rival's step costs so much; "" where it is not known.

    An end of the interval at an end of the curve may lie beyond it, and then decides nothing.
    """
    if needed is None or cost is None:
        return ""
    low, high, first, last = needed
    if high < cost and high < last:
        return "canonical"
    return "rival" if low > cost and low > first else "neither"


def needed(
    results: Results, canonical: str, rival: Arm | None, budget: int
) -> tuple[float, float, float, float] | None:
    """Budget of the canonical objective for a rival's mIoU, over `budget`: low and high ends of the
    95 % bootstrap interval, and the curve's own ends; None without paired seeds."""
    study = results.study
    lengths = times(study)
    arms = [(b, arm_of(study, canonical, "time", b)) for b in lengths]
    curves = {b: {r.seed: r.metrics["miou"] for r in results.runs(a)} for b, a in arms if a}
    target = {r.seed: r.metrics["miou"] for r in results.runs(rival)} if rival else {}
    seeds = sorted(set(target).intersection(*curves.values())) if curves else []
    if not seeds:
        return None
    generator, found = random.Random(0), list[float]()
    for _ in range(DRAWS):
        drawn = [generator.choice(seeds) for _ in seeds]
        points = [(b, sum(c[s] for s in drawn) / len(drawn)) for b, c in sorted(curves.items())]
        found.append(reaches(points, sum(target[s] for s in drawn) / len(drawn)) / budget)
    found.sort()
    low, high = found[int(0.025 * DRAWS)], found[int(0.975 * DRAWS) - 1]
    return low, high, min(curves) / budget, max(curves) / budget


def reaches(points: list[tuple[int, float]], value: float) -> float:
    """The length at which a rising curve reaches a value, in the logarithm of the length.

    The curve is made to rise (each point at least the one before); a value outside gives its end.
    """
    best, rising = -math.inf, list[tuple[int, float]]()
    for length, height in points:
        best = max(best, height)
        rising.append((length, best))
    if value <= rising[0][1]:
        return float(rising[0][0])
    for (a, low), (b, high) in itertools.pairwise(rising):
        if value <= high:
            return float(a * (b / a) ** ((value - low) / (high - low)))
    return float(rising[-1][0])


def _text(found: tuple[float, float, float, float]) -> str:
    low, high, first, last = found
    words = [f"{'<' if e <= first else '>' if e >= last else ''}{e:.2f}" for e in (low, high)]
    return words[0] if words[0] == words[1] else f"{words[0]} to {words[1]}"
