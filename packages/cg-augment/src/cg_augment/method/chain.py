"""Engine `chain`: the initial latent is optimised through the whole sampler.

The engine of DiG-IN (arXiv 2311.17833), whose code was read: Adam on the latent, projected to its
length after each round, the loss on the last predictions of x0, the best round kept. ConfiG's own
engine could not be read. Here it is batched: every sample has its own gradient, its own stop.
With samplers that add noise at each step the initial latent decides little, and little is gained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cg_augment.method.gradients import finite, norm, unit
from cg_augment.method.guided import Guided, Task
from cg_augment.method.sampler import frozen
from cg_augment.method.views import Views
from repro_shared.runtime.errors import UserError

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's (arXiv 1412.6980), as torch and DiG-IN have them


@dataclass(frozen=True)
class Chain:
    """Settings of the engine.

    Attributes:
        rounds: of Adam.
        learning_rate: about how far an entry of the latent, of deviation 1, moves in a round.
        scored: how many of the last predictions of x0 are scored, with weights 1, 2, 3, ...
        keep_norm: project the latent to its initial length.
        normalise: divide each sample's gradient by its size before Adam, so that Adam's epsilon
            never exceeds it; None for objectives whose gradient vanishes (all but `log`).
        jacobian: differentiate the network; else its prediction of x0 counts as moving with x.
        enough: a sample stops where the teacher's confidence is above the first and the student's
            below the second, if the objective has a part for it; None for never.
        views: in front of the classifiers while optimising.
        checkpoints: compute each step again in the backward pass and keep its input only. What is
            alive then grows by one latent a step (a test counts its bytes). The memory of a process
            may grow faster on the CPU: glibc keeps what networks free between those latents.
    """

    rounds: int = 20
    learning_rate: float = 0.01
    scored: int = 3
    keep_norm: bool = True
    normalise: bool | None = None
    jacobian: bool = True
    enough: tuple[float, float] | None = (0.9, 0.1)
    views: Views = field(default_factory=Views)
    checkpoints: bool = True

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.scored < 1 or not self.learning_rate > 0:
            raise UserError(
                f"chain needs rounds >= 0, scored >= 1 and a learning rate above 0, got "
                f"{self.rounds}, {self.scored} and {self.learning_rate:g}"
            )

    def __call__(self, task: Task) -> Guided:
        """Make the images."""
        sampler, score = task.sampler, task.score
        with frozen(*sampler.modules, score.teacher, score.student):
            return self._optimise(task)

    def _optimise(self, task: Task) -> Guided:
        made, rows = Guided.empty(task), task.rows
        latent = task.noise.start(rows, task.sampler.like)
        length, first, second = norm(latent), torch.zeros_like(latent), torch.zeros_like(latent)
        for number in range(self.rounds + 1):
            last = number == self.rounds
            if last:
                gradient, final = None, task.sampler.sample(latent, rows, task.noise)
                fine = finite(final)
            else:
                gradient, final, value = self.gradient(task, latent, rows, number)
                # A value that is no number may have a gradient that is one.
                fine = finite(gradient, final, value)
            self._count(made, task, rows, last)
            fine = fine.cpu() & self._keep(made, task, final, rows, number)
            here = made.fail(rows, fine, f"round {number + 1}")
            if gradient is None:  # the last round stops nobody early
                return made
            here = here[~self._reached(made, task, rows[here], number)]
            if not len(here):
                return made
            rows, on = rows[here], here.to(latent.device)
            latent, length = latent[on], length[on]
            gradient = self._sized(gradient[on], task)
            first = BETAS[0] * first[on] + (1 - BETAS[0]) * gradient
            second = BETAS[1] * second[on] + (1 - BETAS[1]) * gradient.square()
            # All samples that go on have made equally many rounds.
            mean = first / (1 - BETAS[0] ** (number + 1))
            size = (second / (1 - BETAS[1] ** (number + 1))).sqrt()
            latent = latent + self.learning_rate * mean / (size + EPSILON)
            if self.keep_norm:
                latent = latent * (length / norm(latent))
            made.made[rows] += 1
        raise AssertionError("the last round returns")

    def gradient(
        self, task: Task, latent: Tensor, rows: Tensor, number: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample's objective with respect to its latent, latents at the end, and the value.

        Args:
            task: what is made.
            latent: noise (n, ...) of deviation 1.
            rows: places of these among all images.
            number: of the round, for views.

        Returns:
            The gradient (n, ...), not normalised, the sampler's result (n, ...) and the value (n,).
        """
        with torch.enable_grad():
            variable = latent.detach().requires_grad_(True)
            value, final = self.value(task, variable, rows, number)
            # A sum: no sample's gradient depends on how many others there are.
            (gradient,) = torch.autograd.grad(value.sum(), variable)
        return gradient, final.detach(), value.detach()

    def value(
        self, task: Task, latent: Tensor, rows: Tensor, number: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The objective (n,) over the last predictions, and the latents at the end."""
        sampler = task.sampler
        x, before = sampler.begin(latent, rows), None
        steps, total = len(sampler.schedule), torch.zeros(len(rows), device=x.device, dtype=x.dtype)
        scored = min(self.scored, steps)
        for place in range(steps):
            x0 = self._predict(task, x, place, rows)
            if place >= steps - scored:
                weight = (place - steps + scored + 1) / (scored * (scored + 1) / 2)
                total = total + weight * self._kept_small(self._seen, task, x0, rows, number)
            x, before = sampler.move(x, x0, before, place, rows, task.noise), x0
        return total, x

    def _seen(self, task: Task, x0: Tensor, rows: Tensor, number: int) -> Tensor:
        """The objective (n,) of predictions, as gradients have it."""
        decode = task.sampler.preview or task.sampler.decode
        return task.score.viewed(decode(x0), rows, self.views, task.noise.seeds, number)

    def _predict(self, task: Task, x: Tensor, place: int, rows: Tensor) -> Tensor:
        if not self.jacobian:
            with torch.no_grad():
                x0 = task.sampler.predict(x, place, rows)
            return x0 + (x - x.detach())
        return self._kept_small(task.sampler.predict, x, place, rows)

    def _kept_small(self, function: Callable[..., Tensor], *given: Any) -> Tensor:
        """The function's value; with checkpoints its insides are computed again when needed."""
        if not self.checkpoints:
            return function(*given)
        made: Tensor = checkpoint(
            function, *given, use_reentrant=False, preserve_rng_state=False
        )  # fmt: skip
        return made

    def _sized(self, gradient: Tensor, task: Task) -> Tensor:
        wanted = task.score.objective.vanishes if self.normalise is None else self.normalise
        return unit(gradient) if wanted else gradient

    def _keep(self, made: Guided, task: Task, final: Tensor, rows: Tensor, number: int) -> Tensor:
        """Score the round's images in full, keep the best so far; which are finite, bool (n,)."""
        images, found = task.final(final, rows)
        made.decodes[rows] += 1
        if number == 0:
            made.before.put(rows, found)
        value = found.value.detach().to(made.after.value)
        fine = finite(final).cpu() & value.isfinite()
        # A comparison with NaN is false: the first finite value always counts as better.
        better = fine & ~(value <= made.after.value[rows])
        if better.any():
            chosen = rows[better]
            made.after.put(chosen, found.of(better.to(found.value.device)))
            made.latents[chosen] = final[better.to(final.device)]
            made.put_images(chosen, images[better.to(images.device)])
        return fine

    def _reached(self, made: Guided, task: Task, rows: Tensor, number: int) -> Tensor:
        """Which of these samples have the confidences where the objective wants them."""
        if self.enough is None:
            return torch.zeros(len(rows), dtype=torch.bool)
        teacher, student = made.after.teacher[rows], made.after.student[rows]
        parts = task.score.objective.parts
        reached = torch.ones_like(teacher, dtype=torch.bool)
        if parts != "student":
            reached &= teacher > self.enough[0]
        if parts != "teacher":
            reached &= student < self.enough[1]
        for row in rows[reached].tolist():
            made.notes[row] = f"enough before round {number + 1}"
        return reached

    def _count(self, made: Guided, task: Task, rows: Tensor, last: bool) -> None:
        steps, twice = len(task.sampler.schedule), 2 if self.checkpoints else 1
        scored = min(self.scored, steps)
        made.forward[rows] += steps if last or not self.jacobian else twice * steps
        if not last:
            made.backward[rows] += steps if self.jacobian else 0
            made.decodes[rows] += twice * scored
