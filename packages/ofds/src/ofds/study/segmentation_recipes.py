"""The studies with segmenters on composed scenes: every arm written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ofds.method.budget import Budget
from ofds.study import segmentation_claims as claims
from ofds.study import segmentation_tables as tables
from ofds.study.detection_recipes import QUICK
from ofds.study.proposed import Describe, Propose, describe, propose
from ofds.study.scenes import TAIL, ScenePools
from ofds.study.segmentation import Seen, Segment, segment
from ofds.train import Training
from repro_shared.study.paper import Arm, Scale, Study

STEPS, RATE = 400, 3e-3  # of every segmenter, whatever it is trained on
VIEWS = 8  # of each image
RARE = 0.5  # exponent of the loss's weights: without them the digits are all taken for one
FILL = 0.35  # share of its box that a digit of the proposer's own scenes fills
MAIN = ("random", "class-balanced random", "OFDS")
OTHERS = ("image k-centre", "TypiClust", "oracle OFDS")


def segmentation_long_tail(scale: Scale) -> Study:
    """Selectors judged by a segmenter, on simple scenes in which some digits are rare.

    Cells: none; the paper's abstract claims the largest gains here. Cost: about 20 s an arm and
    seed on one thread, and three minutes of features once; as a rule only the three main selectors
    run, `--controls` adds the others. Deviations: small scenes and a small segmenter; pixels of a
    proposal are a share of its box, as no mask is predicted; the full text was not at hand.
    """
    return _study("segmentation_long_tail", scale, TAIL)


def segmentation_balanced(scale: Scale) -> Study:
    """The same on scenes in which all digits are equally frequent: the negative control.

    Cells: none. Cost and deviations: as above.
    """
    return _study("segmentation_balanced", scale, 0.0)


def scenes(scale: Scale, zipf: float) -> ScenePools:
    """Half as many as the detectors have: features take as long as a quarter of the trainings."""
    kind = "long-tail" if zipf else "balanced"
    found = ScenePools(f"segments-simple-{kind}", "simple", zipf, 1000, 600, 300)
    return replace(found, images=30, drawn=24, test=8) if scale == "smoke" else found


def budgets(scale: Scale, zipf: float) -> tuple[Budget, ...]:
    """In objects, the headline, and on the long-tailed pool in pixels, about as much."""
    smoke = scale == "smoke"
    objects, pixels = Budget(20.0 if smoke else 150.0), Budget(4e3 if smoke else 3e4, "pixels")
    return (objects, pixels) if zipf else (objects,)


def _study(name: str, scale: Scale, zipf: float) -> Study:
    smoke = scale == "smoke"
    found = Arm("proposals", Propose(), propose, seed=0)
    features = Arm("features", Describe(), describe, (found,), seed=0)
    arms = (found, features, *_selections(scale, zipf, (found, features)))
    by_pixels = (tables.by_pixels,) if zipf else ()
    return Study(
        name=f"{name}_smoke" if smoke else name,
        scale=scale,
        data=scenes(scale, zipf),
        arms=arms,
        seeds=(0, 1) if smoke else QUICK,
        tables=(tables.by_objects, *by_pixels, tables.of_proposals,
                *(() if smoke else (tables.verdicts,))),
        claims=() if smoke else claims.of_selection(name, arms, bool(zipf)),
    )  # fmt: skip


def _selections(scale: Scale, zipf: float, base: tuple[Arm, ...]) -> Iterator[Arm]:
    """Every selector under every budget; people's labels on all images, for comparison."""
    training = Training(4 if scale == "smoke" else STEPS, learning_rate=RATE)
    plain = Segment(
        training, fill=FILL, seen=Seen(1 if scale == "smoke" else VIEWS, shift=12), rare=RARE
    )
    for budget in budgets(scale, zipf):
        brief = scale == "smoke" and budget.unit == "pixels"
        for name in MAIN if brief else (*MAIN, *OTHERS):
            config = replace(plain, selector=name, budget=budget)
            asked = name not in MAIN or budget.unit != "objects"
            yield Arm(f"{name}, {budget.amount:g} {budget.unit}", config, segment, base,
                      control=asked and scale != "smoke")  # fmt: skip
    yield Arm("all images", plain, segment, base, control=scale != "smoke")
