"""What the studies on images measure: a student's scores, and what its images are and cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cg_augment.method.groups import Figure, group_accuracy
from cg_augment.method.ranking import spurious_scores
from cg_augment.study.making import Ledger
from cg_augment.study.nothing import KINDS, NONE, nothing
from cg_augment.study.worlds import Opened
from cg_augment.use.classifiers import Classifier
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Arrays, Labels, Pictures
from cg_augment.use.scoring import probabilities
from repro_shared.runtime.errors import UserError


def percent(found: Figure) -> float:
    """Of an average; UserError for one that is undefined, since a record has no word for it."""
    if found.value is None:
        raise UserError(f"an accuracy is undefined: {found.undefined}")
    return 100 * found.value


def scores(
    student: Classifier, world: Opened, seed: int, empty: bool, device: str = "cpu"
) -> dict[str, float]:
    """Accuracies in percent, and with `empty` what grounds alone are taken for."""
    tested = world.part("test", seed)
    rows = probabilities(student, tested.pictures, device)
    right = rows.argmax(axis=1) == tested.pictures.targets
    found = group_accuracy(right, tested.groups, tested.names)
    kinds = len(world.scene.grounds)
    own = tested.groups // kinds == tested.groups % kinds
    worst = found.worst
    metrics = {
        "worst-group": percent(found.worst_group_accuracy),
        "mean-group": percent(found.mean_group_accuracy),
        "in-distribution": 100 * float(right[own].mean()),
    }
    if worst is not None and worst.interval is not None:
        metrics["worst"] = float(tested.names.index(worst.name))
        metrics["worst-low"], metrics["worst-high"] = (100 * end for end in worst.interval)
    if empty:
        # Positives as they are in training: on their class's own ground.
        shown = world.empty(seed).pictures
        spurious = spurious_scores(
            rows[own], tested.pictures.targets[own], probabilities(student, shown, device),
            shown.targets,
        )  # fmt: skip
        metrics["spurious-map"] = 100 * spurious.spurious_map
        metrics["spurious-auroc"] = 100 * spurious.spurious_auroc
    return metrics


def judged_classes(world: Opened) -> tuple[str, ...]:
    """Of a judge: all groups, and what is none of them."""
    return (*world.names, NONE)


def judged_pictures(grouped: Grouped, world: Opened, seed: int) -> Arrays:
    """What a judge is trained on: pictures of all groups, and half as many of nothing."""
    pictures = grouped.pictures
    assert isinstance(pictures, Arrays)
    pixels, _ = nothing(world.scene, max(len(KINDS), len(pictures) // 2), "judge", seed)
    return Arrays(
        np.concatenate([pictures.pixels, pixels]),
        np.concatenate([grouped.groups, np.full(len(pixels), len(world.names))]),
        judged_classes(world),
    )


def judge_scores(
    judge: Classifier, world: Opened, seed: int, device: str = "cpu"
) -> dict[str, float]:
    """How often a judge names class and ground of real pictures, and refuses what is nothing."""
    tested, kinds = world.part("test", seed), len(world.scene.grounds)
    seen, known = judged(judge, tested.pictures, device), len(world.names)
    right = (seen < known) & (seen // kinds == tested.pictures.targets)
    found = {
        "class": 100 * float(right.mean()),
        "ground": 100 * float(((seen < known) & (seen % kinds == tested.groups % kinds)).mean()),
    }
    pixels, what = nothing(world.scene, max(len(KINDS), len(seen) // 2), "test", seed)
    blank = Arrays(pixels, np.zeros(len(pixels), np.int64), world.scene.classes)
    refused = judged(judge, blank, device) == known
    for number, name in enumerate(KINDS):
        found[f"refuses {name}"] = 100 * float(refused[what == number].mean())
    return found


def looked_at(
    made: Pictures, judge: Classifier, world: Opened, device: str = "cpu"
) -> dict[str, float]:
    """Shares of generated images in percent, as the judge sees them."""
    seen, kinds = judged(judge, made, device), len(world.scene.grounds)
    something = seen < len(world.names)
    valid = something & (seen // kinds == made.targets)
    minority = something & (seen % kinds != made.targets)
    return {
        "valid": 100 * float(valid.mean()),
        "refused": 100 * float((~something).mean()),
        "minority": 100 * float(minority.mean()),
        "valid-minority": 100 * float((valid & minority).mean()),
    }


def account(ledgers: Sequence[Ledger]) -> dict[str, float]:
    """Passes an image, confidences and seconds of generation."""
    asked = sum(each.asked for each in ledgers)
    kept = [each for each in ledgers if each.kept]
    return {
        "forward": sum(each.forward for each in ledgers) / asked,
        "backward": sum(each.backward for each in ledgers) / asked,
        "decodes": sum(each.decodes for each in ledgers) / asked,
        "kept": 100 * sum(each.kept for each in ledgers) / asked,
        "teacher": 100 * float(np.mean([each.teacher for each in kept])),
        "student": 100 * float(np.mean([each.student for each in kept])),
        "generation": sum(each.seconds for each in ledgers),
    }


def judged(judge: Classifier, pictures: Pictures, device: str = "cpu") -> Labels:
    """Group (n,) that the judge sees in each picture, or their number for none of them."""
    return probabilities(judge, pictures, device).argmax(axis=1)
