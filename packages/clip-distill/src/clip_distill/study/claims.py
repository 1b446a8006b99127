"""Claims, written before the final runs; what is expected to fail is declared as a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clip_distill.study.scoring import SEEN, UNSEEN
from repro_shared.evidence.claims import Claim
from repro_shared.study.paper import Arm
from repro_shared.study.results import Results

SEEDS = (0, 1, 2, 3, 4)
SETS = ("oxford-pets", "flowers-102", "stanford-cars", "food-101", "fgvc-aircraft", "dtd")
TEASER = tuple(f"teaser/feature-distillation/top-1/{name}" for name in SETS)
FULL = "confounding 1"
HELD_OUT = "accuracy/held-out"


def of_objects(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """Of the rendered objects; texts are class prompts where a claim does not say captions."""
    made, there = _maker(study, arms), {arm.name for arm in arms}
    l2, text = f"L2, {FULL}", f"vision-language, {FULL}"
    said = f"vision-language, captions, {FULL}"
    named = {
        f"class cross-entropy, {FULL}": "class cross-entropy",
        f"mix, {FULL}": "the mixture of both",
    }
    alike = {
        f"teacher's logits, {FULL}": "matching the teacher's logits",
        f"image-to-image, {FULL}": "contrasting images with the teacher's images",
        f"class cross-entropy at 0.01, {FULL}": "class cross-entropy at temperature 0.01",
    }  # the last one is left out where tuning has chosen it, so that it is among `named`
    where = "where cues go with the class in every synthetic image"
    return (
        made(l2, text, SEEN, f"{where}, L2 beats vision-language InfoNCE with class prompts on "
             "real images", "losses", headline=True, cells=TEASER),
        made(l2, said, SEEN, f"{where}, L2 beats vision-language InfoNCE with a caption of each "
             "image, which says more than a prompt, on real images", "losses", headline=True),
        made(f"L2 from scratch, {FULL}", f"vision-language from scratch, {FULL}", SEEN,
             f"{where}, L2 beats vision-language InfoNCE with class prompts on real images, from "
             "scratch", "losses", headline=True),
        *(made(l2, rival, SEEN, f"{where}, L2 beats {words} on real images", "losses")
          for rival, words in named.items()),
        made(l2, text, UNSEEN, "of classes without synthetic images, L2 names more than "
             "vision-language InfoNCE", "unseen", headline=True),
        made("stage 1", text, UNSEEN, "vision-language InfoNCE loses classes without synthetic "
             "images that stage 1 could name", "unseen"),
        made(l2, "stage 1", UNSEEN, "L2 loses at most 2 points of the classes without synthetic "
             "images that stage 1 could name", "unseen", kind="non-inferiority", margin=2.0),
        made(l2, "stage 1", SEEN, f"{where}, L2 still gains on real images over stage 1", "gain"),
        made(text, l2, HELD_OUT, f"{where}, vision-language InfoNCE beats L2 on synthetic images",
             "reversed", headline=True),
        made(text, l2, "probe-minus-zero-shot", "a linear probe hides more of what "
             "vision-language InfoNCE loses than of what L2 loses", "hidden", headline=True),
        made(text, l2, "swap-drop", "swapped cues cost vision-language InfoNCE more than L2",
             "cues"),
        made(l2, text, "accuracy/corrupted", f"{where}, L2 beats vision-language InfoNCE on "
             "corrupted real images", "corruptions"),
        made("L2, confounding 0.98", "vision-language, confounding 0.98", SEEN,
             "where 2 % of cues are counter-examples, L2 beats vision-language InfoNCE", "less"),
        *(made(f"L2, confounding {each}", f"vision-language, confounding {each}", SEEN,
               f"L2 beats vision-language InfoNCE at confounding {each}", f"control-{each}",
               negative_control=True, headline=each == "0") for each in ("0.9", "0")),
        *(made(l2, rival, SEEN, f"{where}, L2 beats {words} on real images", "alike",
               negative_control=True) for rival, words in alike.items() if rival in there),
    )  # fmt: skip


def of_digits(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """Of coarse classes: no large difference is expected."""
    made = _maker(study, arms)
    return (
        made("L2", "vision-language", SEEN, "with coarse classes, L2 beats vision-language InfoNCE "
             "by more than 5 points", "coarse", threshold=5.0, negative_control=True,
             headline=True),
    )  # fmt: skip


def of_photographs(study: str, arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """Of photographs, where real images are real."""
    made = _maker(study, arms)
    return (
        made(f"L2, {FULL}", f"vision-language, {FULL}", SEEN, "on photographs whose frame and hue "
             "go with the class, L2 beats vision-language InfoNCE", "photographs", headline=True),
        made(f"L2, {FULL}", f"class cross-entropy, {FULL}", SEEN, "on photographs whose frame and "
             "hue go with the class, L2 beats class cross-entropy", "photographs"),
        made("L2, confounding 0", "vision-language, confounding 0", SEEN, "on photographs whose "
             "frame and hue are random, L2 beats vision-language InfoNCE", "control-photographs",
             negative_control=True),
    )  # fmt: skip


Gate = Mapping[str, tuple[float, float]]
GATES: Mapping[str, Mapping[str, Gate]] = {
    "confounded_objects": {
        "the teacher": {SEEN: (60.0, 97.0), HELD_OUT: (60.0, 100.0)},
        "stage 1": {SEEN: (20.0, 70.0)},
    },
    "coarse_digits": {
        "the teacher": {SEEN: (60.0, 100.0), HELD_OUT: (60.0, 100.0)},
        "stage 1": {SEEN: (15.0, 90.0)},
    },
    "confounded_photographs": {
        "the teacher": {SEEN: (45.0, 100.0), HELD_OUT: (40.0, 100.0)},
        "the teacher, confounding 0": {HELD_OUT: (40.0, 100.0)},
    },
}
"""By study and arm: accuracy in percent, from and to, between which a study's claims are read."""
DOMAINS = {SEEN: "real", HELD_OUT: "synthetic"}


def suspended(results: Results, claim: Claim) -> str:
    """Why the claims of a study are not read: its teacher or stage 1 lies outside of the gates."""
    known = {arm.name: arm for arm in results.study.arms}
    for name, gate in GATES.get(results.study.name, {}).items():
        for metric, (low, high) in gate.items():
            values = results.values(known[name], metric)
            if not values:
                return f"{name} was not run"
            mean = sum(values) / len(values)
            if not low <= mean <= high:
                return (
                    f"{name} names {mean:.1f} % of {DOMAINS[metric]} images, outside of "
                    f"{low:g} to {high:g}"
                )
    return ""


def _maker(study: str, arms: Sequence[Arm]) -> Any:
    """What writes a claim of two arms by their names; KeyError for arms that the study lacks."""
    known, tag = {arm.name: arm.id for arm in arms}, study.replace("_", "-")

    def made(arm: str, rival: str, metric: str, says: str, family: str, **more: Any) -> Claim:
        one, two = known[arm], known[rival]
        short = "" if metric == SEEN else f"-{metric.replace('accuracy/', '')}"
        kind = more.pop("kind", "superiority")
        return Claim(
            id=f"{tag}-{one}-{'keeps' if kind != 'superiority' else 'beats'}-{two}{short}",
            statement=says, cells=more.pop("cells", ()), study=study, metric=metric, arm=one,
            rival=two, kind=kind, seeds=SEEDS, family=f"{family}-{tag}", unit="points", **more,
        )  # fmt: skip

    return made
