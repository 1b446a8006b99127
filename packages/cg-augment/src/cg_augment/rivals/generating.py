"""Generators: from classes, a teacher and the student so far to images. No group label has a place.

`Guiding` runs any engine of the method: the method itself and the rows that differ from it in the
engine or the objective alone. `FromImages` (SDEdit, DA-Fusion) and `DiffAug` start from training
images. All of them take the same order and give the same account of what it cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from cg_augment.method.gradients import finite
from cg_augment.method.guided import Engine, Guided, Task
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.sampler import Sampler, frozen
from cg_augment.method.scoring import Logits, Score
from cg_augment.method.select import Select
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed


@dataclass(frozen=True)
class Order:
    """Images that are wanted.

    Attributes:
        labels: int64 (n,) the class of each.
        seeds: of each; an image depends on its seed and not on the others of the order.
        teacher, student: images (n, 3, h, w), 0 to 1, to logits.
        start: training images of these classes, (n, 3, h, w), 0 to 1, where the row has some.
    """

    labels: Tensor
    seeds: tuple[int, ...]
    teacher: Logits
    student: Logits
    start: Tensor | None = None


class Generator(Protocol):
    """What a row gets its images from."""

    def __call__(self, order: Order) -> Guided:
        """Make them: images, both confidences before and after, and the passes they took."""
        ...


SamplerOf = Callable[[Order], Sampler]
"""A diffusion model with the conditions of an order; `origin` is the order's start, encoded."""


@dataclass(frozen=True)
class Guiding:
    """Images from noise, by an engine.

    Attributes:
        sampler: the diffusion model.
        engine: `Chain`, `Stepwise`, or `Select`, which with one candidate is no guidance.
        objective: what is maximised.
    """

    sampler: SamplerOf
    engine: Engine
    objective: Objective

    def __call__(self, order: Order) -> Guided:
        """Make the images."""
        return self.engine(_task(self.sampler(order), order, self.objective))


@dataclass(frozen=True)
class FromImages:
    """Training images, noised up to a strength and denoised: SDEdit (arXiv 2108.01073).

    DA-Fusion (arXiv 2302.07944) does so at strength 0.5, with words that it has learnt for each
    class, and draws half of a batch from the results; here the class is a condition that the model
    knows.

    Attributes:
        sampler: the diffusion model.
        strength: share of the steps that are made.
        objective: which confidences are recorded.
    """

    sampler: SamplerOf
    strength: float = 0.5
    objective: Objective = field(default_factory=Objective)

    def __call__(self, order: Order) -> Guided:
        """Make the images; UserError for no step at all."""
        whole = _with_start(self.sampler(order), order)
        sampler = replace(whole, schedule=whole.schedule.last(self.strength))
        return Select(1)(_task(sampler, order, self.objective))


@dataclass(frozen=True)
class DiffAug:
    """One step of noise and one of denoising, at a random level (DiffAug, arXiv 2306.09192).

    The level is uniform over the sampler's own steps. What is kept is the predicted x0.

    Attributes:
        sampler: the diffusion model.
        objective: which confidences are recorded.
    """

    sampler: SamplerOf
    objective: Objective = field(default_factory=Objective)

    def __call__(self, order: Order) -> Guided:
        """Make the images."""
        sampler = _with_start(self.sampler(order), order)
        task = _task(sampler, order, self.objective)
        made, steps = Guided.empty(task), len(sampler.schedule)
        places = torch.tensor([derive_seed(seed, "level") % steps for seed in order.seeds])
        origin = sampler.origin
        assert origin is not None
        with frozen(*sampler.modules, order.teacher, order.student), torch.no_grad():
            for place in places.unique().tolist():
                rows, step = (places == place).nonzero()[:, 0], sampler.schedule.steps[place]
                noise = task.noise.start(rows, sampler.like)
                x = step.alpha * origin[rows].to(noise) + step.sigma * noise
                latents = sampler.predict(x, place, rows)
                images, found = task.final(latents, rows)
                fine = made.fail(rows, finite(latents), "predicted x0")
                kept = rows[fine]
                made.latents[kept] = latents[fine.to(latents.device)]
                made.after.put(kept, found.of(fine.to(found.value.device)))
                made.put_images(kept, images[fine.to(images.device)])
                made.forward[rows] += 1
                made.decodes[rows] += 1
                made.made[rows] += 1
        return made


def _task(sampler: Sampler, order: Order, objective: Objective) -> Task:
    score = Score(order.labels, order.teacher, order.student, objective)
    return Task(sampler, score, Noise(order.seeds))


def _with_start(sampler: Sampler, order: Order) -> Sampler:
    if order.start is None or sampler.origin is None:
        raise UserError("this row begins with training images: none came with the order")
    return sampler
