"""What each engine makes in the exact mixture: the stage of an arm, and the table of all arms.

No student is trained: the student that guides goes by the spurious direction alone, the teacher by
the true conditional, sharpened. What counts is the share of points whose spurious side conflicts
with the class, and whether a judge who is neither believes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cg_augment.method.chain import Chain
from cg_augment.method.guided import Guided, Task
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.schedule import clean
from cg_augment.method.scoring import Score
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.study.mixture import Mixture
from cg_augment.use.schedules import read_schedule
from repro_shared.datasets.fingerprint import fingerprint_arrays
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.rng import derive_seed
from repro_shared.study.paper import Context, Outcome, ids
from repro_shared.study.results import Results
from repro_shared.study.trip import steps_through

SHARPNESS = 1 / 0.3  # of the teacher


@dataclass(frozen=True)
class Generation:
    """How points are made.

    Attributes:
        engine: which, with its settings.
        objective: of teacher and student.
        share: of aligned points in the generator's pool.
        count: of points, both classes alike.
        sampling: steps of DDIM.
    """

    engine: Chain | Stepwise | Select
    objective: Objective = field(default_factory=Objective)
    share: float = 0.98
    count: int = 400
    sampling: int = 25

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The objective, and how x0 is predicted."""
        return (self.objective.equation, clean)


@dataclass(frozen=True)
class Worlds:
    """The data source: one mixture, whose share of the minority each arm sets."""

    world: Mixture
    name: str = "exact-mixture"
    title = "the exact mixture"

    @property
    def sentence(self) -> str:
        """What the data are."""
        return (
            f"points of a Gaussian mixture in {self.world.dimensions} dimensions, class by the "
            "parity of three bits, whose diffusion model is known in closed form"
        )

    def missing(self, folder: Path | None) -> list[str]:
        """Nothing."""
        return []

    def open(self, folder: Path | None) -> Opened:
        """The world."""
        return Opened(self.world)


class Opened:
    """The fingerprint is that of a few points, so that a changed world shows."""

    def __init__(self, world: Mixture) -> None:
        self.world = world
        labels = torch.arange(12) % 2
        points, _ = world.draw(labels, 0.5, torch.Generator().manual_seed(100))
        self.fingerprint = fingerprint_arrays({
            "points": points.numpy().round(4),
            "logits": world.logits(points).numpy().round(3),
        })  # fmt: skip


def make_points(world: Mixture, config: Generation, seed: int) -> tuple[Guided, Task, Mixture]:
    """Points of one arm and seed."""
    from diffusers import DDIMScheduler

    own = replace(world, share=config.share)
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    labels = torch.arange(config.count) % 2
    score = Score(labels, lambda x: own.logits(x, SHARPNESS), own.biased, config.objective)
    seeds = tuple(derive_seed(seed, "point", number) for number in range(config.count))
    sampler = own.sampler(read_schedule(scheduler, config.sampling), labels)
    task = Task(sampler, score, Noise(seeds))
    return config.engine(task), task, own


@steps_through(make_points)
def generation(config: Generation, ctx: Context) -> Outcome:
    """Make points and say what they are."""
    start = time.perf_counter()
    made, task, world = make_points(ctx.data.world, config, ctx.seed)
    seconds = time.perf_counter() - start
    labels, fine = task.score.labels, ~made.failed
    conflicting = ~world.aligned(made.latents, labels) & fine
    believed = world.believable(made.latents, labels) & fine
    count = len(labels)
    return Outcome(
        {
            "conflicting": 100 * float(conflicting.sum()) / count,
            "believed": 100 * float(believed.sum()) / count,
            "conflicting-believed": 100 * float((conflicting & believed).sum()) / count,
            "teacher": 100 * float(made.after.teacher[fine].mean()),
            "student": 100 * float(made.after.student[fine].mean()),
            "forward": float(made.forward.double().mean()),
            "backward": float(made.backward.double().mean()),
            "failed": float(made.failed.sum()),
            "seconds": seconds,
        },
        notes=f"{int(made.failed.sum())} failed" if made.failed.any() else "",
    )


MEASURES = (
    ("conflicting", Column("of the minority", "%", 1)),
    ("believed", Column("believed by the judge", "%", 1)),
    ("teacher", Column("teacher's confidence", "%", 1)),
    ("student", Column("student's confidence", "%", 1)),
    ("forward", Column("network, forward", "", 0)),
    ("backward", Column("network, backward", "", 0)),
)


def by_engine(results: Results) -> Table:
    """Every arm."""
    arms = results.study.arms
    rows = tuple(
        (arm.name, *(interval(results.values(arm, metric)) for metric, _ in MEASURES))
        for arm in arms
    )
    return Table(
        results.study.name.replace("_", "-"),
        "What each engine makes in the exact mixture",
        (Column("points"), *(column for _, column in MEASURES)),
        rows,
        (
            "The minority: points whose spurious side is not that of their class. The judge "
            "believes points that lie in a cluster of their class, the minority's or not. Passes "
            "are means over points; what stops early makes fewer. No student was trained.",
            *results.notes,
        ),
        ids(arms),
    )
