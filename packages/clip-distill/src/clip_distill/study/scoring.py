"""What a student or a teacher is worth: zero-shot, by probe, corrupted, with swapped cues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_distill.study.worlds import Part, World
from clip_distill.use.corruptions import corrupt
from clip_distill.use.probe import fitted, prepared
from clip_distill.use.teachers import Floats, encode_pixels
from clip_distill.use.zero_shot import agreement, scores, similarities

Encode = Callable[[NDArray[np.uint8]], Floats]
CORRUPTIONS = ("gaussian-noise", "defocus-blur", "contrast")
AT_ONCE = 64  # images of a teacher's forward pass
SEVERITY = 2  # of 5
PENALTY = 0.0  # decade of the probe's, the same for all: about 1 a value


@dataclass(frozen=True)
class Scoring:
    """Which scores are taken, besides those of zero-shot classification.

    Attributes:
        probe: a linear probe on labelled real pictures.
        corrupted: pictures of the real test set with each kind of corruption; 0 for none.
        swapped: synthetic pictures with the cues of another class.
    """

    probe: bool = True
    corrupted: int = 300
    swapped: bool = True


def score(encode: Encode, world: World, seed: int, scoring: Scoring) -> dict[str, float]:
    """Accuracy in percent by test set, and the mean cosine to the teacher.

    `seen` and `unseen` are real pictures of classes with and without synthetic ones, each named
    among all classes. `probe-minus-real` is what a probe finds beyond zero-shot classification,
    `swap-drop` what swapped cues cost. Synthetic pictures are of seen classes, and only these are
    offered.
    """
    vectors, found = world.texts.vectors, dict[str, float]()
    parts: tuple[Part, ...] = ("real", "held-out", "swapped")
    for part in parts[: 3 if scoring.swapped else 2]:
        pictures = world.pictures(part, seed)
        rows, label = encode(pictures.pixels), np.array(pictures.targets)
        offered = vectors if part == "real" else vectors[: world.seen]
        guess = similarities(rows, offered).argmax(axis=1)
        found[f"accuracy/{part}"] = scores(guess, label.tolist(), len(vectors)).top1
        found[f"cosine/{part}"] = agreement(rows, _taught(world, part, seed))
        if part != "real":
            continue
        if world.seen < len(vectors):
            for word, chosen in (("seen", label < world.seen), ("unseen", label >= world.seen)):
                found[f"accuracy/{word}"] = 100 * float((guess == label)[chosen].mean())
        if scoring.corrupted:
            found["accuracy/corrupted"] = _corrupted(encode, world, seed, scoring.corrupted)
        if scoring.probe:
            own = world.pictures("labelled", seed)
            train, targets = prepared(encode(own.pixels)), np.array(own.targets)
            named, _ = fitted(train, targets, prepared(rows), PENALTY)
            found["accuracy/probe"] = 100 * float((named == label).mean())
    if scoring.probe:
        found["probe-minus-real"] = found["accuracy/probe"] - found["accuracy/real"]
    if scoring.swapped:
        found["swap-drop"] = found["accuracy/held-out"] - found["accuracy/swapped"]
    return {name: round(value, 4) for name, value in found.items()}


def _corrupted(encode: Encode, world: World, seed: int, count: int) -> float:
    """Mean accuracy over the kinds of corruption, on the first pictures of the test set."""
    pictures = world.pictures("real", seed)
    label, means = np.array(pictures.targets[:count]), []
    for kind in CORRUPTIONS:
        changed = np.stack([
            corrupt(pictures.pixels[index], kind, SEVERITY, pictures.ids[index])
            for index in range(len(label))
        ])  # fmt: skip
        guess = similarities(encode(changed), world.texts.vectors).argmax(axis=1)
        means.append(float((guess == label).mean()))
    return 100 * float(np.mean(means))


def _taught(world: World, part: Part, seed: int) -> Floats:
    """The teacher's features of a test set, once a seed and world."""
    pictures = world.pictures(part, seed)
    if pictures.taught is None:
        own = world.teacher.preprocessing
        seen = np.stack([own.centre(each) for each in pictures.pixels])
        pictures.taught = encode_pixels(world.teacher, seen, AT_ONCE)
    return pictures.taught
