"""Guide a diffusion pipeline by a classifier: for use without the rest of the package.

    from cg_augment.guidance import Classifier, Stepwise, guide
    guided = guide(pipe, labels=[1, 1], teacher=classifier, prompts=["a photo of a dog"] * 2)

Images, values and costs come back together; a sample that runs into NaN is named, the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cg_augment.method.chain import Chain
from cg_augment.method.guided import Engine, Guided, Task
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.sampler import Decode, Sampler
from cg_augment.method.schedule import Schedule, Step
from cg_augment.method.scoring import Logits, Score, Scored
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.method.views import Views
from cg_augment.use.classifiers import Classifier
from cg_augment.use.pipelines import Sampling, sampler_of
from cg_augment.use.schedules import read_schedule
from cg_augment.use.zero_shot import (
    load_open_clip,
    load_transformers,
    of_open_clip,
    of_transformers,
)
from repro_shared.runtime.errors import UserError

__all__ = [
    "Chain",
    "Classifier",
    "Engine",
    "Guided",
    "Noise",
    "Objective",
    "Sampler",
    "Sampling",
    "Schedule",
    "Score",
    "Scored",
    "Select",
    "Step",
    "Stepwise",
    "Task",
    "Views",
    "guide",
    "load_open_clip",
    "load_transformers",
    "of_open_clip",
    "of_transformers",
    "read_schedule",
    "sampler_of",
]


def guide(
    source: Any,
    labels: Sequence[int],
    teacher: Logits | None = None,
    student: Logits | None = None,
    *,
    engine: Engine | None = None,
    objective: Objective | None = None,
    prompts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    images: Tensor | None = None,
    preview: Any = None,
    decode: Decode | None = None,
    condition: Tensor | None = None,
    batch_size: int = 16,
) -> Guided:
    """Images of these labels of which the teacher is sure and the student is not.

    Args:
        source: a pipeline of diffusers (Stable Diffusion 1.x, SDXL, SD3, DDPM, DDIM), or
            `(UNet2DModel, scheduler)`; it stays as it is. A pipeline's safety checker is not run.
        labels: classes of the images.
        teacher: images (n, 3, h, w), 0 to 1, to logits (n, classes): a `Classifier`, or any
            function that resizes and normalises for itself.
        student: the same; None to be guided towards the teacher's class alone.
        engine: `Stepwise()` by default, or `Chain()`, `Select()`.
        objective: the paper's by default, or its teacher's part where there is no student.
        prompts: of the images, for pipelines with text.
        seeds: of the images, 0, 1, 2, ... by default; an image depends on nothing but its own.
        sampling: steps, guidance scale, size.
        images: (n, 3, h, w), 0 to 1, to begin from, noised with `sampling.strength`.
        preview: an AutoencoderTiny for gradients; the result is decoded in full.
        decode: in the place of the source's decoder.
        condition: (n, tokens, width) for a bare UNet2DConditionModel.
        batch_size: images at a time.

    Raises:
        UserError: a pipeline, scheduler, prompt or classifier that does not fit.
    """
    count = len(labels)
    own = tuple(range(count)) if seeds is None else tuple(seeds)
    for what, given in (("seeds", own), ("prompts", prompts), ("images", images)):
        if given is not None and len(given) != count:
            raise UserError(f"{len(given)} {what} for {count} labels")
    if not count or batch_size < 1:
        raise UserError(f"{count} labels in batches of {batch_size}: nothing to make")
    if objective is None:
        objective = Objective(parts="teacher" if student is None else "both")
    made = []
    for start in range(0, count, batch_size):
        here = slice(start, start + batch_size)
        sampler = sampler_of(
            source, labels[here], None if prompts is None else prompts[here], sampling,
            None if images is None else images[here], preview, decode,
            None if condition is None else condition[here],
        )  # fmt: skip
        score = Score(torch.as_tensor(list(labels[here])), teacher, student, objective)
        made.append((engine or Stepwise())(Task(sampler, score, Noise(own[here]))))
    return Guided.joined(made)
