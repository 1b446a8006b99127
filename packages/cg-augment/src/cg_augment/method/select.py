"""Engine `select`: the best of several images by the objective. No gradients.

With a rare minority it needs many images, with a frequent one it is hard to beat; and the best of
many are alike. `enough` takes the first that is good enough in the place of the best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cg_augment.method.gradients import finite
from cg_augment.method.guided import Guided, Task
from cg_augment.method.sampler import frozen
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Select:
    """Settings of the engine.

    Attributes:
        candidates: images for each that is kept; 1 is no guidance.
        enough: the value of the objective at which a candidate is taken and no more are made: a
            random draw among the good ones; None for the best of all.
    """

    candidates: int = 8
    enough: float | None = None

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise UserError(f"select needs at least one candidate, got {self.candidates}")

    def __call__(self, task: Task) -> Guided:
        """Make the images."""
        sampler, score = task.sampler, task.score
        with frozen(*sampler.modules, score.teacher, score.student):
            made, rows = Guided.empty(task), task.rows
            for candidate in range(self.candidates):
                if not len(rows):
                    break
                noise = replace(task.noise, candidate=candidate)
                latents = sampler.sample(noise.start(rows, sampler.like), rows, noise)
                images, found = task.final(latents, rows)
                made.forward[rows] += len(sampler.schedule)
                made.decodes[rows] += 1
                made.made[rows] += 1
                if candidate == 0:
                    made.before.put(rows, found)
                value = found.value.to(made.after.value)
                fine = finite(latents).cpu() & value.isfinite()
                for row in rows[~fine].tolist():
                    made.notes[row] = f"not finite: candidate {candidate + 1}"
                # A comparison with NaN is false: the first finite value always counts as better.
                better = fine & ~(value <= made.after.value[rows])
                if better.any():
                    chosen = rows[better]
                    made.after.put(chosen, found.of(better.to(found.value.device)))
                    made.latents[chosen] = latents[better.to(latents.device)]
                    made.put_images(chosen, images[better.to(images.device)])
                if self.enough is not None:
                    rows = rows[~(made.after.value[rows] >= self.enough)]
            # Other candidates stand in for one that failed; a sample fails where none is left.
            made.failed = torch.isnan(made.after.value)
            for row in (~made.failed).nonzero()[:, 0].tolist():
                made.notes[row] = ""
        return made
