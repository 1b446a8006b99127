"""Does a teacher know anything? A few images tell, before hours are spent on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import bdtrc

from clip_distill.use.pictures import Pictures
from clip_distill.use.prompts import ClassTexts, encode_texts, without_weights
from clip_distill.use.teachers import Teacher, encode_pixels
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say

IMAGES = 64  # that are looked at, or four a class if that is more
CHANCE = 0.01  # probability that guessing does as well


def teacher_check(
    teacher: Teacher,
    pictures: Pictures,
    classes: ClassTexts | None,
    batch: int = 64,
    refuse: bool = True,
) -> dict[str, Any]:
    """Zero-shot on a few images, or images to their captions where there are no classes.

    Args:
        teacher: to be checked.
        pictures: evenly spread ones are looked at.
        classes: text vectors of the pictures' classes, in the order of their targets.
        batch: images of a forward pass.
        refuse: a teacher at chance; else it is recorded only.

    Returns:
        How many of how many were right and what guessing gives, for the manifest; or why nothing
        was checked, such as images so few that guessing could name all of them.

    Raises:
        UserError: guessing would do as well with a probability of 1 % or more.
    """
    if classes is None:
        if teacher.texts is None:
            return {"checked": "no: neither classes nor a text encoder"}
        if not _has_captions(pictures):
            return {"checked": "no: neither classes nor captions"}
    wanted = max(IMAGES, 4 * (len(classes.names) if classes is not None else 0))
    places = np.unique(np.linspace(0, len(pictures) - 1, wanted).round().astype(int)).tolist()
    pixels = np.stack([teacher.preprocessing.centre(pictures.read(place)) for place in places])
    rows = encode_pixels(teacher, pixels, batch)
    if classes is not None:
        targets = np.array([pictures.targets[place] for place in places])
        texts, kinds = classes.vectors, len(classes.names)
    else:
        captions = [without_weights(pictures.caption(place)) for place in places]
        different = list(dict.fromkeys(captions))
        texts, kinds = encode_texts(teacher, different), len(different)
        targets = np.array([different.index(text) for text in captions])
    right = int(((rows @ texts.T).argmax(axis=1) == targets).sum())
    # A teacher that always answers the same is right as often as that answer is.
    guess = max(1 / kinds, float(np.bincount(targets).max()) / len(targets))
    by_luck = float(bdtrc(right - 1, len(places), guess)) if right else 1.0
    found = {"checked": "classes" if classes is not None else "captions", "images": len(places),
             "right": right, "chance": round(guess, 4)}  # fmt: skip
    said = f"{teacher.name}: {right} of {len(places)} images right, guessing gives {guess:.1%}"
    if guess ** len(places) >= CHANCE:
        found["checked"] = "no: too few images, or too many of one class, to tell it from guessing"
    elif by_luck >= CHANCE:
        if refuse:
            raise UserError(
                f"the teacher looks untrained: {said}; check weights, preprocessing and class "
                "names, or take --no-teacher-check"
            )
        found["checked"] = "not passed"
    say(said)
    return found


def _has_captions(pictures: Pictures) -> bool:
    try:
        pictures.caption(0)
    except UserError:
        return False
    return True
