"""The tuning of temperatures: the same tries for every loss, on seeds that no final run has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clip_distill.study import stages
from clip_distill.study.objects import World
from clip_distill.study.photographs import Photographs
from clip_distill.study.recipes import (
    ALL,
    FEATURE,
    FEW,
    LENGTHS,
    MAIN,
    PHOTO_LENGTHS,
    PHOTO_VIEWS,
    SMOKE,
    Lengths,
    first_stage,
    objective,
    second_stage,
)
from clip_distill.study.rendered import Objects
from clip_distill.study.stages import Cached
from clip_distill.study.tables import scored, tag
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Scale, Study, ids
from repro_shared.study.protocols import DataSource
from repro_shared.study.results import Results

TRIES = (0.01, 0.03, 0.1, 0.3)  # temperatures
RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # of L2, which has no temperature: as many tries
SEEDS = (100,)
PHOTO_TRIES, PHOTO_RATES = TRIES[1:], RATES[1:]


def confounded_objects_tuning(scale: Scale) -> Study:
    """Four tries of every loss at confounding 1, from stage 1, scored on real images.

    Cells: none. Cost: twelve minutes. Deviations: real images of tuning seeds choose, which favours
    every loss that has something to choose.
    """
    smoke = scale == "smoke"
    lengths, world = (SMOKE, FEW) if smoke else (LENGTHS, World())
    generic, first = first_stage(lengths.first, (), smoke)
    cache = Arm("cache", Cached("synthetic"), stages.cached)
    tried = _tried(ALL, TRIES[:1] if smoke else TRIES, RATES[:1] if smoke else RATES, lengths,
                   (cache, first), smoke)  # fmt: skip
    return _study("confounded_objects", scale, Objects(world, "rendered-objects"),
                  [generic, first, cache, *tried])  # fmt: skip


def confounded_photographs_tuning(scale: Scale) -> Study:
    """Three tries of four losses at confounding 1, scored on further training photographs.

    Cells: none. Cost: half an hour. Deviations: as above.
    """
    smoke = scale == "smoke"
    few: dict[str, Any] = {"synthetic": 60, "held_out": 20, "labelled": 40} if smoke else {}
    cache = Arm("cache", Cached("synthetic", PHOTO_VIEWS), stages.cached, seed=0)
    tried = _tried(MAIN, PHOTO_TRIES[:1] if smoke else PHOTO_TRIES,
                   PHOTO_RATES[:1] if smoke else PHOTO_RATES,
                   SMOKE if smoke else PHOTO_LENGTHS, (cache,), smoke)  # fmt: skip
    return _study("confounded_photographs", scale, Photographs(1.0, tuning=True, **few),
                  [cache, *tried])  # fmt: skip


def by_try(results: Results) -> Table:
    """Accuracy on real images at each try, and the best one."""
    arms, rows = scored(results), list[tuple[Cell, ...]]()
    for name in dict.fromkeys(arm.name.partition(" at ")[0] for arm in arms if " at " in arm.name):
        found = {
            arm.name.partition(" at ")[2]: sum(values) / len(values)
            for arm in arms
            if arm.name.startswith(f"{name} at ")
            and (values := results.values(arm, "accuracy/real"))
        }
        best = max(found, key=lambda each: found[each], default=None)
        rows.append((name, ", ".join(f"{key}: {value:.1f}" for key, value in found.items()), best))
    columns = (Column("loss"), Column("accuracy on real images (%) at each"), Column("best"))
    return Table(f"tuning-{tag(results)}", f"{results.study.name}: tries", columns, tuple(rows),
                 ("No final run has these seeds.", *results.notes), ids(arms))  # fmt: skip


def _tried(
    names: tuple[str, ...], temperatures: tuple[float, ...], rates: tuple[float, ...],
    lengths: Lengths, starts: tuple[Arm, ...], smoke: bool,
) -> list[Arm]:  # fmt: skip
    found = []
    for name in names:
        if name == FEATURE:
            for rate in rates:
                own = replace(lengths, second=replace(lengths.second, learning_rate=rate))
                found.append(second_stage(f"{name} at rate {rate:g}", objective(name, 1.0), own,
                                          starts, None, False, smoke))  # fmt: skip
            continue
        for tau in temperatures:
            found.append(second_stage(f"{name} at {tau:g}", objective(name, tau), lengths, starts,
                                      None, False, smoke))  # fmt: skip
    return found


def _study(name: str, scale: Scale, data: DataSource, arms: list[Arm]) -> Study:
    smoke = "_smoke" if scale == "smoke" else ""
    return Study(f"{name}{smoke}_tuning", scale, data, tuple(arms), SEEDS, tables=(by_try,))
