"""What is measured in the exact mixture: what points are, and a student's accuracies and error."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cg_augment.method.error_split import error_split
from cg_augment.method.groups import Figure, group_accuracy
from cg_augment.method.guided import Guided, Task
from cg_augment.study.generation import SHARPNESS
from cg_augment.study.mixture import Mixture
from cg_augment.study.scoring import percent
from repro_shared.runtime.rng import derive_seed

GROUPS = ("even/left", "even/right", "odd/left", "odd/right")  # parity of the bits, spurious side
TESTED = 1000  # points of each group


def described(made: Guided, task: Task, world: Mixture) -> dict[str, float]:
    """What points are: shares in percent, passes a point."""
    labels, fine, count = task.score.labels, ~made.failed, len(task.score.labels)
    minority = ~world.aligned(made.latents, labels) & fine
    believed = world.believable(made.latents, labels) & fine
    return {
        "minority": 100 * float(minority.sum()) / count,
        "valid": 100 * float(believed.sum()) / count,
        "teacher": 100 * float(made.after.teacher[fine].mean()),
        "student": 100 * float(made.after.student[fine].mean()),
        "forward": float(made.forward.double().mean()),
        "backward": float(made.backward.double().mean()),
    }


@torch.no_grad()
def scored(
    student: nn.Module, world: Mixture, seed: int, points: Tensor, generated: Tensor | None = None
) -> dict[str, float]:
    """Accuracies by group in percent, and the split of the error in nats.

    The training distribution is that of the points which were drawn from: both halves of a batch.
    """
    g = torch.Generator().manual_seed(derive_seed(seed, "test"))
    groups = torch.arange(len(GROUPS) * TESTED) % len(GROUPS)
    labels, sides = groups // 2, groups % 2
    tested = torch.empty(len(groups), world.dimensions)
    for share, rows in ((1.0, labels == sides), (0.0, labels != sides)):
        tested[rows] = world.draw(labels[rows], share, g)[0]
    answers = student(tested).double()
    found = group_accuracy((answers.argmax(dim=1) == labels).numpy(), groups.numpy(), GROUPS)
    trained, weights = points, np.full(len(points), 1 / len(points))
    if generated is not None:
        trained = torch.cat([points, generated])
        weights = np.concatenate([weights, np.full(len(generated), 1 / len(generated))])
    split = error_split(
        _softmax(world.logits(trained)), _softmax(world.logits(trained, SHARPNESS)),
        student(trained).double().log_softmax(dim=1).numpy(), _softmax(world.logits(tested)),
        answers.log_softmax(dim=1).numpy(), weights,
    )  # fmt: skip
    aligned = [percent(Figure(each.accuracy)) for each in (found.groups[0], found.groups[3])]
    return {
        "worst-group": percent(found.worst_group_accuracy),
        "mean-group": percent(found.mean_group_accuracy),
        "in-distribution": sum(aligned) / len(aligned),
        "test-risk": split.test_risk,
        "train-risk": split.train_risk,
        "omega": split.omega,
        "psi": split.psi,
    }


def _softmax(logits: Tensor) -> Any:
    return logits.double().softmax(dim=1).numpy()
