"""Teachers by name: from what the user types to a frozen classifier of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cg_augment.use.classifiers import Classifier, load_classifier, load_timm, of_timm, reordered
from cg_augment.use.zero_shot import TEMPLATE, load_open_clip, load_transformers
from repro_shared.runtime.errors import UserError

FORMS = (
    "a folder that `cg-augment train` wrote, timm:MODEL:FILE, open_clip:MODEL:FILE, "
    "open_clip:FOLDER or transformers:FOLDER"
)


def load_teacher(
    specification: str,
    classes: Sequence[str],
    templates: Sequence[str] = (TEMPLATE,),
    own_classes: Sequence[str] = (),
    device: str = "cpu",
) -> Classifier:
    """A frozen teacher whose logits are in the order of the student's classes.

    Args:
        specification: one of `FORMS`; nothing is downloaded.
        classes: of the student, in its order.
        templates: of the prompts, where the teacher knows classes by name.
        own_classes: names of a timm teacher's outputs, in their order, where they are not
            `classes`; outputs that the student lacks are left out.
        device: where it shall be.

    Raises:
        UserError: unknown, not on this machine, weights that do not fit, or other classes.
    """
    library, _, rest = specification.partition(":")
    if Path(specification).is_dir():
        teacher, _ = load_classifier(specification)
    elif library == "timm" and rest:
        name, _, file = rest.partition(":")
        if not file:
            raise UserError(f"{specification} needs a file of weights: timm:{name}:FILE")
        teacher = of_timm(name, tuple(own_classes) or tuple(classes))
        load_timm(teacher, file)
    elif library == "open_clip" and rest:
        teacher = load_open_clip(rest, classes, templates)
    elif library == "transformers" and rest:
        teacher = load_transformers(rest, classes, templates)
    else:
        raise UserError(f"unknown teacher {specification!r}: give {FORMS}")
    return reordered(teacher, classes, "the pictures").to(device).frozen()
