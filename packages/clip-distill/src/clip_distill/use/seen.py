"""Which class names a student was trained with, stage by stage, and how it does on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_distill.use.pictures import Pictures
from clip_distill.use.prompts import ClassTexts
from clip_distill.use.teachers import Floats


def stages_of(
    pictures: Pictures,
    texts: ClassTexts | None,
    before: Mapping[str, Any] | None,
    captions: bool = False,
) -> list[dict[str, Any]] | None:
    """What `student.json` keeps of the stages of a student's training, the last one at the end.

    Args:
        pictures: of the stage that is being made.
        texts: of their classes, in the order of their numbers, for the names in prompts.
        before: `student.json` of the student that it starts from; None for weights of a backbone.
        captions: whether the loss reads the pictures' captions.

    Returns:
        For each stage the number of images, the names of the classes that had any, or None for
        images without classes, and whether captions were read; None if an earlier stage did not
        write it down.
    """
    names = None
    if len(pictures.targets):
        known = texts.names if texts is not None else pictures.classes
        names = sorted({known[target].replace("_", " ") for target in set(pictures.targets)})
    stage = {"images": len(pictures), "classes": names, "captions": captions}
    if before is None:
        return [stage]
    earlier = before.get("stages")
    return None if earlier is None else [*earlier, stage]


def seen_names(about: Mapping[str, Any]) -> set[str] | None:
    """The class names of all stages; None where they are not known, or no stage had any.

    Captions may hold any name, so after a stage that read them nobody knows.
    """
    stages = about.get("stages")
    if had_captions(about):
        return None
    named = [set(stage["classes"]) for stage in stages or () if stage["classes"] is not None]
    return set().union(*named) if named else None


def had_captions(about: Mapping[str, Any]) -> bool:
    """Whether a stage of a student's training read captions."""
    return any(stage.get("captions") for stage in about.get("stages") or ())


@dataclass(frozen=True)
class Unseen:
    """Accuracy in percent by whether a class's name was seen; NaN without such images.

    Attributes:
        seen: of images of seen classes, all names offered.
        unseen: of images of unseen classes, all names offered.
        among: of images of unseen classes, only unseen names offered.
        images: of seen and of unseen classes.
    """

    seen: float
    unseen: float
    among: float
    images: tuple[int, int]

    @property
    def harmonic(self) -> float:
        """Harmonic mean of `seen` and `unseen`, as in generalised zero-shot learning."""
        total = self.seen + self.unseen
        return 2 * self.seen * self.unseen / total if total > 0 else total


def by_seen(cosines: Floats, targets: Any, unseen: Any) -> Unseen:
    """Of cosines (n, classes), true classes (n,), and which classes are unseen (classes,)."""
    true, new = np.asarray(targets, np.int64), np.asarray(unseen, bool)
    right = cosines.argmax(axis=1) == true
    alone = np.where(new, cosines, -np.inf).argmax(axis=1) == true
    of_new = new[true]

    def share(hits: Any) -> float:
        return 100 * float(hits.mean()) if len(hits) else float("nan")

    return Unseen(
        share(right[~of_new]), share(right[of_new]), share(alone[of_new]),
        (int((~of_new).sum()), int(of_new.sum())),
    )  # fmt: skip
