"""Students that are really trained in the exact mixture, on points of every engine.

Teacher and diffusion model are known in closed form, so what is left are the student and the
points. Its error is split into the difference of the distributions and the teacher's fit with the
true conditional, not an estimate of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cg_augment.method.chain import Chain
from cg_augment.method.guided import Guided, Task
from cg_augment.method.losses import soft_cross_entropy
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.scoring import Score
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.study.generation import SHARPNESS
from cg_augment.study.mixture import Mixture
from cg_augment.study.point_scores import described, scored
from cg_augment.use.schedules import read_schedule
from repro_shared.runtime.rng import derive_seed, isolated_rng
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

STUDENT = "student.safetensors"


@dataclass(frozen=True)
class Lesson:
    """How a student is distilled: a network of two hidden layers, by Adam.

    Attributes:
        steps: of this phase.
        points: of training, all with the spurious side of their class.
        batch_size: points a step; generated ones are half of it where there are any.
        learning_rate: of Adam.
        hidden: units of each layer.
        kind: as it is, mixed with partners and labelled by the teacher (mixup), or on points of all
            groups alike (the oracle).
    """

    steps: int
    points: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: int = 64
    kind: Literal["plain", "mixup", "oracle"] = "plain"


@dataclass(frozen=True)
class Further:
    """The second phase of a row, from the student of the first.

    Attributes:
        lesson: how it is distilled.
        engine: what makes points; None for none.
        objective: of the engine.
        share: of aligned points in the generator's pool.
        per_class: points that are made of each class.
        sampling: steps of DDIM.
        strength: below 1, generation begins with noised training points (SDEdit).
    """

    lesson: Lesson
    engine: Chain | Stepwise | Select | None = None
    objective: Objective = field(default_factory=lambda: Objective("log"))
    share: float = 0.98
    per_class: int = 200
    sampling: int = 25
    strength: float = 1.0

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.lesson.steps

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The objective and the loss."""
        guided = () if self.engine is None else (self.objective.equation,)
        return (*guided, soft_cross_entropy)


def student_of(world: Mixture, lesson: Lesson, seed: int) -> nn.Sequential:
    """With torch's random weights."""
    with isolated_rng(derive_seed(seed, "weights")):
        return nn.Sequential(
            nn.Linear(world.dimensions, lesson.hidden), nn.ReLU(),
            nn.Linear(lesson.hidden, lesson.hidden), nn.ReLU(), nn.Linear(lesson.hidden, 2),
        )  # fmt: skip


def training_points(world: Mixture, lesson: Lesson, seed: int) -> Tensor:
    """Points (n, dimensions); the oracle's have all groups alike."""
    g = torch.Generator().manual_seed(derive_seed(seed, "training"))
    labels = torch.arange(lesson.points) % 2
    return world.draw(labels, 0.5 if lesson.kind == "oracle" else 1.0, g)[0]


def distil_points(
    student: nn.Module, world: Mixture, points: Tensor, lesson: Lesson, seed: int,
    generated: Tensor | None = None,
) -> None:  # fmt: skip
    """Minimise the cross-entropy with the teacher's soft labels, in place.

    Args:
        student: points (n, dimensions) to logits (n, 2).
        world: its teacher.
        points: of training.
        lesson: how.
        seed: of order and mixing.
        generated: half of each batch is drawn from them.
    """
    optimiser = torch.optim.Adam(student.parameters(), lesson.learning_rate)
    student.train()
    for step in range(lesson.steps):
        g = torch.Generator().manual_seed(derive_seed(seed, "step", step))
        count = lesson.batch_size
        half = 0 if generated is None else count // 2
        x = points[torch.randint(len(points), (count - half,), generator=g)]
        if generated is not None:
            x = torch.cat([x, generated[torch.randint(len(generated), (half,), generator=g)]])
        if lesson.kind == "mixup":
            weight = float(torch.rand((), generator=g))
            x = weight * x + (1 - weight) * x[torch.randperm(count, generator=g)]
        loss = soft_cross_entropy(student(x), world.logits(x, SHARPNESS)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    student.eval()


@steps_through(distil_points)
def begin(config: Lesson, ctx: Context) -> Outcome:
    """The first phase: the biased student, left for the rows that start from it."""
    world: Mixture = ctx.data.world
    student, began = student_of(world, config, ctx.seed), time.perf_counter()
    points = training_points(world, config, ctx.seed)
    distil_points(student, world, points, config, derive_seed(ctx.seed, "first"))
    seconds = time.perf_counter() - began
    save_weights(student, ctx.folder / STUDENT)
    metrics = scored(student, world, ctx.seed, points)
    return Outcome(metrics, seconds, config.steps * config.batch_size)


@steps_through(distil_points)
def go_on(config: Further, ctx: Context) -> Outcome:
    """The second phase, with points of an engine or without."""
    world: Mixture = ctx.data.world
    lesson = config.lesson
    student = student_of(world, lesson, ctx.seed)
    if ctx.starts:
        file = ctx.starts[0].folder / STUDENT
        load_strictly(student, read_weights(file), str(file))
    points, generated = training_points(world, lesson, ctx.seed), None
    metrics, notes = dict[str, float](), ""
    if config.engine is not None:
        began = time.perf_counter()
        made, task = make(student, world, points, config, ctx.seed)
        metrics = {**described(made, task, world), "generation": time.perf_counter() - began}
        generated = made.latents[~made.failed]
        notes = f"{int(made.failed.sum())} points are not finite" if made.failed.any() else ""
    began = time.perf_counter()
    distil_points(student, world, points, lesson, derive_seed(ctx.seed, "round"), generated)
    seconds = time.perf_counter() - began
    metrics |= scored(student, world, ctx.seed, points, generated)
    return Outcome(metrics, seconds, lesson.steps * lesson.batch_size, notes=notes)


def make(
    student: nn.Module, world: Mixture, points: Tensor, config: Further, seed: int
) -> tuple[Guided, Task]:
    """Points of an engine, guided by the exact teacher and this student."""
    from diffusers import DDIMScheduler

    assert config.engine is not None
    own, count = replace(world, share=config.share), 2 * config.per_class
    labels = torch.arange(count) % 2
    score = Score(labels, lambda x: own.logits(x, SHARPNESS), student, config.objective)
    seeds = tuple(derive_seed(seed, "point", number) for number in range(count))
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    sampler = own.sampler(read_schedule(scheduler, config.sampling), labels)
    if config.strength < 1:
        # Training points alternate between the classes, as the labels do.
        g = torch.Generator().manual_seed(derive_seed(seed, "start"))
        places = 2 * torch.randint(len(points) // 2, (count,), generator=g) + labels
        schedule = sampler.schedule.last(config.strength)
        sampler = replace(sampler, schedule=schedule, origin=points[places])
    task = Task(sampler, score, Noise(seeds))
    return config.engine(task), task
