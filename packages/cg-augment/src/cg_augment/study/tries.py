"""Settings of engines, tried on images alone: no student is trained on them, no group is counted.

The rule is `chosen`: of an engine's tries the one with the largest objective among those that the
judge and the diffusion model still believe. It was written before the tries that it is applied to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cg_augment.method.objectives import power
from cg_augment.method.scoring import Scored
from cg_augment.rivals.generating import Order
from cg_augment.study.committed import Committed, sampler_of
from cg_augment.study.gallery import made
from cg_augment.study.rows import Way
from cg_augment.study.stages import images_are, network_of, student_of, teacher_of
from cg_augment.use.pictures import Arrays
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed
from repro_shared.study.paper import Arm, Context, Outcome, ids
from repro_shared.study.results import Results
from repro_shared.study.trip import steps_through

GAMMA = 2.0  # of the paper's objective (second-hand): bounded, so that no single image decides
LEAST_VALID = 80.0  # percent that the judge has to believe, or as many as without guidance
MOST_OFF = 10.0  # points more off the manifold than images without guidance
GROUPS = ("minority", "valid-minority")  # of the judge's answers: not looked at here
UNGUIDED = "unguided"


@dataclass(frozen=True)
class Tried:
    """Images of one setting.

    Attributes:
        way: the engine with its settings.
        generator: the diffusion model.
        count: images, classes in turn; every setting gets the same noise.
    """

    way: Way
    generator: Committed
    count: int

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The objective that is compared."""
        return (power,)


@steps_through(made)
def tried(config: Tried, ctx: Context) -> Outcome:
    """Make images with a seed's teacher and biased student, and say what they are."""
    scene = ctx.data.scene
    teacher, student = teacher_of(ctx), student_of(ctx)
    network = network_of(config.generator, ctx)
    labels = torch.arange(config.count) % len(scene.classes)
    seeds = tuple(derive_seed(ctx.seed, "try", number) for number in range(config.count))
    generator = config.way.generator(sampler_of(network, config.generator.steps, ctx.device))
    began = time.perf_counter()
    found = made(generator, Order(labels, seeds, teacher, student))
    seconds = time.perf_counter() - began
    fine = ~found.failed
    if not fine.any():
        raise UserError("no image is finite")
    pixels = (found.images[fine].clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pictures = Arrays(pixels, labels[fine].numpy().astype(np.int64), scene.classes)
    seen = images_are(pictures, network, ctx)
    return Outcome(
        {
            "objective": objective(found.after.of(fine)),
            "teacher": 100 * float(found.after.teacher[fine].mean()),
            "student": 100 * float(found.after.student[fine].mean()),
            **{name: value for name, value in seen.items() if name not in GROUPS},
            "forward": float(found.forward.double().mean()),
            "backward": float(found.backward.double().mean()),
            "generation": seconds,
        },
        notes=f"{int(found.failed.sum())} not finite" if found.failed.any() else "",
    )


def objective(found: Scored) -> float:
    """Mean of t^2 + (1 - f)^2 over images, 0 to 2."""
    return float((found.teacher**GAMMA + (1 - found.student) ** GAMMA).mean())


def chosen(results: Results, arms: list[Arm]) -> tuple[Arm, bool]:
    """Of an engine's tries, weakest first, the one that the rule keeps, and whether it passes.

    Where none is believed, the weakest is kept: it is the least of what the engine can do.

    Raises:
        UserError: the images without guidance, or one of the tries, have not been made.
    """
    plain = next(arm for arm in results.study.arms if arm.name.startswith(UNGUIDED))

    def mean(arm: Arm, metric: str) -> float:
        values = results.values(arm, metric)
        if not values:
            raise UserError(f"{arm.name} has not been run: no setting can be chosen")
        return sum(values) / len(values)

    least = min(LEAST_VALID, mean(plain, "valid"))
    most = mean(plain, "off") + MOST_OFF
    passing = [
        arm for arm in arms if mean(arm, "valid") >= least and mean(arm, "off") <= most
    ]  # fmt: skip
    best = max(passing, key=lambda arm: mean(arm, "objective"), default=None)
    return (arms[0], False) if best is None else (best, True)


def tries(results: Results) -> dict[str, list[Arm]]:
    """The tries of each engine, weakest first, without the images that nothing guides."""
    found = dict[str, list[Arm]]()
    for arm in results.study.arms:
        if isinstance(arm.config, Tried) and not arm.name.startswith(UNGUIDED):
            found.setdefault(type(arm.config.way.engine).__name__, []).append(arm)
    return found


MEASURES = (
    ("objective", Column("objective", "", 3)),
    ("teacher", Column("teacher's confidence", "%", 1)),
    ("student", Column("student's confidence", "%", 1)),
    ("valid", Column("images the judge believes", "%", 1)),
    ("refused", Column("images the judge takes for nothing", "%", 1)),
    ("off", Column("images off the manifold", "%", 1)),
    ("error", Column("denoising error, times real pictures'", "", 2)),
    ("saturated", Column("values at an end of their range", "%", 2)),
    ("forward", Column("network, forward", "", 0)),
    ("backward", Column("network, backward", "", 0)),
    ("generation", Column("generation", "s", 1)),
)


def by_try(results: Results) -> Table:
    """Every try, and which of each engine the rule keeps."""
    arms = [arm for arm in results.study.arms if isinstance(arm.config, Tried)]
    kept = dict[str, str]()
    for own in tries(results).values():
        if all(results.values(arm, "valid") for arm in own):
            arm, passes = chosen(results, own)
            kept[arm.id] = "kept" if passes else "kept, none passes"
    rows = list[tuple[Cell, ...]]()
    for arm in arms:
        cells: list[Cell] = [arm.name, kept.get(arm.id, "")]
        cells += [interval(results.values(arm, metric)) for metric, _ in MEASURES]
        rows.append(tuple(cells))
    return Table(
        results.study.name.replace("_", "-"), f"{results.study.name}: images of each setting",
        (Column("images"), Column("by the rule"), *(column for _, column in MEASURES)),
        tuple(rows),
        (
            f"Kept of each engine: the largest t^{GAMMA:g} + (1 - f)^{GAMMA:g} among tries of "
            f"which the judge believes at least {LEAST_VALID:g} % (or as many as without guidance, "
            f"where that is less) and at most {MOST_OFF:g} points more than without guidance are "
            "off the manifold: denoised worse by the diffusion model than 99 % of real pictures; "
            "the weakest where none passes. "
            "No student was trained on the images, and no group is counted.",
            *results.notes,
        ),
        ids(arms),
    )  # fmt: skip
