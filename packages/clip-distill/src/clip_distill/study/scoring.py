"""What a student or a teacher is worth: zero-shot, by probe, corrupted, with swapped cues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_distill.study.worlds import Part, World
from clip_distill.use.corruptions import corrupt
from clip_distill.use.probe import full_probe, prepared
from clip_distill.use.seen import by_seen
from clip_distill.use.teachers import Floats, encode_pixels
from clip_distill.use.zero_shot import agreement, scores, similarities

Encode = Callable[[NDArray[np.uint8]], Floats]
CORRUPTIONS = ("gaussian-noise", "defocus-blur", "contrast")
AT_ONCE = 64  # images of a teacher's forward pass
SEVERITY = 2  # of 5
SEEN, UNSEEN = "accuracy/seen-among-seen", "accuracy/unseen"


@dataclass(frozen=True)
class Scoring:
    """Which scores are taken, besides those of zero-shot classification.

    Attributes:
        probe: a linear probe on labelled real pictures.
        corrupted: real test pictures with each kind of corruption; 0 for none.
        swapped: synthetic pictures with the cues of another class.
    """

    probe: bool = True
    corrupted: int = 300
    swapped: bool = True


ZERO_SHOT = Scoring(probe=False, corrupted=0, swapped=False)
"""Nothing besides."""


def score(
    encode: Encode, world: World, seed: int, scoring: Scoring, vectors: Floats | None = None
) -> dict[str, float]:
    """Accuracy in percent by test set, and the mean cosine to the teacher.

    Real pictures are of classes that synthetic ones are of (seen) and of others (unseen):
    `accuracy/seen-among-seen` offers the former those classes alone, `accuracy/real`,
    `accuracy/seen` and `accuracy/unseen` offer all classes, and `accuracy/unseen-among-unseen` the
    others alone. Probe, corruptions and synthetic pictures are of seen classes, among seen ones.
    `probe-minus-zero-shot` is what a probe finds beyond zero-shot classification, `swap-drop` what
    swapped cues cost.

    Args:
        encode: pictures uint8 (n, h, w, 3) to features (n, width).
        world: test sets, teacher and class vectors.
        seed: of the run.
        scoring: what is scored.
        vectors: (classes, width) instead of the world's, for a student that has no teacher.
    """
    given, vectors = vectors, world.texts.vectors if vectors is None else vectors
    found, seen = dict[str, float](), vectors[: world.seen]
    parts: tuple[Part, ...] = ("real", "held-out", "swapped")
    for part in parts[: 3 if scoring.swapped else 2]:
        pictures = world.pictures(part, seed)
        rows, label = encode(pictures.pixels), np.array(pictures.targets)
        if given is None:
            found[f"cosine/{part}"] = agreement(rows, _taught(world, part, seed))
        if part != "real":
            guess = similarities(rows, seen).argmax(axis=1)
            found[f"accuracy/{part}"] = scores(guess, label.tolist(), len(vectors)).top1
            continue
        found |= _real(similarities(rows, vectors), label, world.seen)
        if scoring.corrupted:
            found["accuracy/corrupted"] = _corrupted(encode, world, seed, scoring.corrupted, seen)
        if scoring.probe:
            found["accuracy/probe"] = _probed(encode, world, seed, rows, label)
    if scoring.probe:
        found["probe-minus-zero-shot"] = found["accuracy/probe"] - found[SEEN]
    if scoring.swapped:
        found["swap-drop"] = found["accuracy/held-out"] - found["accuracy/swapped"]
    return {name: round(value, 4) for name, value in found.items()}


def _real(cosines: Floats, label: NDArray[np.int64], seen: int) -> dict[str, float]:
    """Of real pictures, by which classes are named among which."""
    new = np.arange(cosines.shape[1]) >= seen
    found = {
        "accuracy/real": 100 * float((cosines.argmax(axis=1) == label).mean()),
        SEEN: by_seen(cosines, label, ~new).among,
    }
    if new.any():
        each = by_seen(cosines, label, new)
        found |= {"accuracy/seen": each.seen, UNSEEN: each.unseen,
                  "accuracy/unseen-among-unseen": each.among}  # fmt: skip
    return found


def _probed(
    encode: Encode, world: World, seed: int, rows: Floats, label: NDArray[np.int64]
) -> float:
    """Accuracy of a probe on labelled pictures, whose penalty is chosen on a part of these."""
    own = world.pictures("labelled", seed)
    targets = np.array(own.targets)
    fit, test = targets < world.seen, label < world.seen
    train = prepared(encode(own.pixels[fit]))
    made = full_probe(train, targets[fit], prepared(rows[test]), seed=seed)
    return 100 * float((made.predicted == label[test]).mean())


def _corrupted(encode: Encode, world: World, seed: int, count: int, seen: Floats) -> float:
    """Mean accuracy over the kinds of corruption, on the first test pictures of seen classes."""
    pictures, means = world.pictures("real", seed), []
    label = np.array(pictures.targets)
    places = np.flatnonzero(label < world.seen)[:count]
    for kind in CORRUPTIONS:
        changed = np.stack([
            corrupt(pictures.pixels[index], kind, SEVERITY, pictures.ids[index])
            for index in places.tolist()
        ])  # fmt: skip
        guess = similarities(encode(changed), seen).argmax(axis=1)
        means.append(float((guess == label[places]).mean()))
    return 100 * float(np.mean(means))


def _taught(world: World, part: Part, seed: int) -> Floats:
    """The teacher's features of a test set, once a seed and world."""
    pictures = world.pictures(part, seed)
    if pictures.taught is None:
        own = world.teacher.preprocessing
        seen = np.stack([own.centre(each) for each in pictures.pixels])
        pictures.taught = encode_pixels(world.teacher, seen, AT_ONCE)
    return pictures.taught
