"""Engine `stepwise`: each of the last steps moves the predicted x0 up the objective's gradient.

Classifier guidance (arXiv 2105.05233, algorithm 2: the predicted noise less sigma times the
gradient) with the classifiers applied to the predicted x0 (arXiv 2302.07121), as the field calls
training-free guidance. Written for x0: the noise less sigma g is x0 plus sigma^2 / alpha g. For an
exact denoiser the network's Jacobian is alpha / sigma^2 times the covariance of x0 given x, so the
move is that covariance times the gradient at x0: nothing moves where the generator has no doubt.

The move follows the gradient of the objective's logarithmic form, `log t + log(1 - f)`, whatever
form the images are scored by (ours). Its size tells the truth: it is large where the student is
sure, small where the aim is reached, and nothing where a classifier does not see the image. The
other forms' own gradients vanish where the student is sure, and dividing a gradient by its size
instead makes every move equally long. Such a move leaves the generator: in the exact mixture it
makes a minority that the generator never saw, and a classifier that knows nothing drives every
sample off the data (tests show both). Images made so are the classifiers' more than the
generator's, and need a judge that is neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from cg_augment.method.gradients import finite, unit
from cg_augment.method.guided import Guided, Task
from cg_augment.method.sampler import frozen
from cg_augment.method.schedule import LEAST_ALPHA
from cg_augment.method.views import Views
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Stepwise:
    """Settings of the engine.

    Attributes:
        scale: with raw gradients, the weight of the objective as a log-probability; with
            normalised ones, how far x0 moves, in deviations of what is not known of it.
        share: of the steps, the last ones, that are guided; those in which x says nothing of x0
            (`Schedule.blind`) never are.
        follows: the gradient of the objective's logarithmic form, or of its own form.
        normalise: divide each sample's gradient by its size: no move is small then, whatever the
            classifiers know.
        jacobian: differentiate the network; else the covariance of x0 given x is taken to be that
            of data of unit variance, and the network is run without gradients.
        views: in front of the classifiers.
        unguided: also make the same seeds without guidance, for what they score.
    """

    scale: float = 1.0
    share: float = 0.6
    follows: Literal["logarithm", "objective"] = "logarithm"
    normalise: bool = False
    jacobian: bool = True
    views: Views = field(default_factory=Views)
    unguided: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not self.scale >= 0:
            raise UserError(
                f"stepwise needs a share in (0, 1] and a scale of 0 or more, got {self.share:g} "
                f"and {self.scale:g}"
            )
        if self.follows not in ("logarithm", "objective"):
            raise UserError(f"stepwise follows logarithm or objective, not {self.follows!r}")

    def guided(self, steps: int) -> int:
        """How many of the steps, the last ones, are to be guided, at least one."""
        return max(round(self.share * steps), 1)

    def __call__(self, task: Task) -> Guided:
        """Make the images."""
        sampler, score = task.sampler, task.score
        with frozen(*sampler.modules, score.teacher, score.student):
            made, rows = Guided.empty(task), task.rows
            start = task.noise.start(rows, sampler.like)
            if self.unguided:
                plain = sampler.sample(start, rows, task.noise)
                made.before.put(rows, task.final(plain, rows)[1])
                made.forward[rows] += len(sampler.schedule)
                made.decodes[rows] += 1
            self._run(task, made, start)
        return made

    def _run(self, task: Task, made: Guided, start: Tensor) -> None:
        sampler, rows, before = task.sampler, task.rows, None
        x, steps = sampler.begin(start, rows), len(sampler.schedule)
        for place in range(steps):
            step = sampler.schedule.steps[place]
            made.forward[rows] += 1
            if place >= steps - self.guided(steps) and step.alpha >= LEAST_ALPHA:
                gradient, x0, value = self.gradient(task, x, place, rows)
                # A value that is no number may have a gradient that is one.
                fine = finite(gradient, x0, value)
                x0 = x0 + self.shift(task, gradient, place)
                made.backward[rows] += int(self.jacobian)
                made.decodes[rows] += 1
                made.made[rows] += 1
            else:
                with torch.no_grad():
                    x0 = sampler.predict(x, place, rows)
                fine = finite(x0)
            here = made.fail(rows, fine, f"step {place + 1} of {steps}")
            if not len(here):
                return
            rows, on = rows[here], here.to(x.device)
            x, x0 = x[on], x0[on]
            before = None if before is None else before[on]
            x, before = sampler.move(x, x0, before, place, rows, task.noise), x0
        images, found = task.final(x, rows)
        made.decodes[rows] += 1
        here = made.fail(rows, finite(x, found.value), "the final image")
        on = here.to(x.device)
        made.latents[rows[here]] = x[on]
        made.after.put(rows[here], found.of(here.to(found.value.device)))
        if len(here):
            made.put_images(rows[here], images[here.to(images.device)])

    def gradient(
        self, task: Task, x: Tensor, place: int, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of what each sample follows at step `place`, the predicted x0, and the value followed.

        With the Jacobian it is the gradient with respect to x, else with respect to x0.
        """
        sampler, score = task.sampler, task.score
        if self.follows == "logarithm":
            score = replace(score, objective=replace(score.objective, form="log"))
        decode = sampler.preview or sampler.decode
        with torch.enable_grad():
            variable = x.detach()
            if self.jacobian:
                variable.requires_grad_(True)
                x0 = sampler.predict(variable, place, rows)
            else:
                with torch.no_grad():
                    x0 = sampler.predict(variable, place, rows)
                x0 = variable = x0.requires_grad_(True)
            seeds = task.noise.seeds
            value = score.viewed(decode(x0), rows, self.views, seeds, place)
            (gradient,) = torch.autograd.grad(value.sum(), variable)
        return gradient, x0.detach(), value.detach()

    def shift(self, task: Task, gradient: Tensor, place: int) -> Tensor:
        """By how much x0 moves, from the gradient of `gradient`."""
        step = task.sampler.schedule.steps[place]
        if self.normalise:
            return self.scale * step.doubt * unit(gradient)
        size = step.sigma**2 / step.alpha if self.jacobian else step.doubt**2
        return self.scale * size * gradient
