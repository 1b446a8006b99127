"""The studies with detectors on composed scenes: every arm written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ofds.method.budget import Budget
from ofds.study import autolabel_tables
from ofds.study import detection_claims as claims
from ofds.study import detection_figures as figures
from ofds.study import detection_tables as tables
from ofds.study.detection import Detect, detect
from ofds.study.proposed import Describe, Propose, Proposer, describe, propose, proposer
from ofds.study.scenes import TAIL, Complexity, OtherStyle, ScenePools
from ofds.train import Training
from repro_shared.datasets.scenes import SceneConfig
from repro_shared.study.paper import Arm, Scale, Study

QUICK = (0, 1, 2)  # seeds of a quick run; verdicts need `claims.SEEDS`
STEPS = 600  # of every detector, whatever it is trained on
RATE = 3e-3

MAIN = ("random", "class-balanced random", "OFDS")
IMAGE_LEVEL = ("image k-centre", "TypiClust", "image prototypes")
ABLATIONS = (
    "OFDS, nearest object", "OFDS, full credit", "OFDS, no credit", "OFDS, classes as listed",
)  # fmt: skip

STYLE = SceneConfig(
    min_digits=1, max_digits=8, min_scale=16, max_scale=30, brighter=True, backdrop=0.8,
    min_contrast=0.35, max_contrast=0.7, clutter=3,
)  # fmt: skip
"""Of the proposer's scenes; the pools' styles are `scenes.STYLES`."""


@dataclass(frozen=True)
class Amounts:
    """Budgets of a study: in objects, small and large, and in images."""

    objects: tuple[int, ...]
    images: tuple[int, ...] = ()


BUDGETS: dict[Complexity, Amounts] = {
    "simple": Amounts((150, 600), (60,)),
    "complex": Amounts((300, 1200)),
}


def training(scale: Scale, steps: int = STEPS) -> Training:
    """Of every detector of a study."""
    return Training(4 if scale == "smoke" else steps, learning_rate=RATE)


def pools(scale: Scale, complexity: Complexity, zipf: float) -> ScenePools:
    """The scenes of a study."""
    kind = "long-tail" if zipf else "balanced"
    found = ScenePools(f"scenes-{complexity}-{kind}", complexity, zipf)
    return replace(found, images=60, drawn=40, test=12) if scale == "smoke" else found


def proposer_arm(scale: Scale) -> Arm:
    """The training of the proposer, once."""
    smoke = scale == "smoke"
    style = OtherStyle(STYLE, 20 if smoke else 3000)
    made = Training(4 if smoke else 2000, learning_rate=RATE)
    return Arm("proposer", Proposer(made), proposer, data=style, seed=0)


def shared(scale: Scale, retrain: bool) -> list[Arm]:
    """What all seeds share: the pool's proposals and features."""
    if retrain:
        trained = proposer_arm(scale)
        first = [trained, Arm("proposals", Propose(""), propose, (trained,), seed=0)]
    else:
        first = [Arm("proposals", Propose(), propose, seed=0)]
    return [*first, Arm("features", Describe(), describe, (first[-1],), seed=0)]


def proposer_training(scale: Scale) -> Study:
    """The detector that comes along, trained again.

    Cells: none. Cost: two minutes. It never sees the pools' style, digits or photographs, so
    that its proposals have faults; `detection-proposals` says which.
    """
    arm, smoke = proposer_arm(scale), scale == "smoke"
    assert arm.data is not None
    name = "proposer_training_smoke" if smoke else "proposer_training"
    return Study(name, scale, arm.data, (arm,), (0,))


def detection_long_tail(scale: Scale) -> Study:
    """Selectors judged by a detector, on simple scenes in which some digits are rare.

    Cells: none; the paper's abstract claims the largest gains here. Cost: about 45 s an arm and
    seed on one thread, and three minutes of features once; as a rule only the three main selectors
    run, with few objects; `--controls` adds the others. Deviations: small scenes and a small
    detector; the full text was not at hand, so that the protocol is ours.
    """
    return _study("detection_long_tail", scale, "simple", TAIL)


def detection_long_tail_complex(scale: Scale) -> Study:
    """The same on scenes with more and smaller digits, clutter, occlusion and texture.

    Cells: none. Cost and deviations: as above.
    """
    return _study("detection_long_tail_complex", scale, "complex", TAIL)


def detection_balanced(scale: Scale) -> Study:
    """Simple scenes in which all digits are equally frequent: the negative control.

    Cells: none. Cost and deviations: as above.
    """
    return _study("detection_balanced", scale, "simple", 0.0)


def _study(
    name: str, scale: Scale, complexity: Complexity, zipf: float, retrain: bool = False
) -> Study:
    smoke = scale == "smoke"
    base = shared(scale, retrain)
    arms = [*base, *_selections(scale, complexity, zipf, tuple(base[-2:]))]
    label = f"{name}_smoke" if smoke else name
    pictured = (tables.by_images,) if zipf and complexity == "simple" else ()
    return Study(
        name=label,
        scale=scale,
        data=pools(scale, complexity, zipf),
        arms=tuple(arms),
        seeds=(0, 1) if smoke else QUICK,
        tables=(tables.by_objects, *pictured, tables.of_proposals,
                *(() if smoke else (tables.verdicts,))),
        figures=() if smoke else (figures.gains,),
        claims=() if smoke else claims.of_selection(name, arms, bool(zipf)),
        retrain=lambda study: _study(name, scale, complexity, zipf, retrain=True),
    )  # fmt: skip


def _amounts(scale: Scale, complexity: Complexity) -> Amounts:
    return Amounts((20, 40), (8,)) if scale == "smoke" else BUDGETS[complexity]


def _selections(
    scale: Scale, complexity: Complexity, zipf: float, base: tuple[Arm, ...]
) -> Iterator[Arm]:
    """Every selector under every budget; people's labels on all images, for comparison."""
    amounts = _amounts(scale, complexity)
    small, large = (Budget(float(amount)) for amount in amounts.objects)
    others = (*IMAGE_LEVEL, "oracle OFDS") if zipf else ("image prototypes", "oracle OFDS")
    plan = [(name, budget) for name in (*MAIN, *others) for budget in (small, large)]
    if complexity == "complex":  # claims about selectors by image are made with few objects
        plan = [each for each in plan if each[0] not in IMAGE_LEVEL or each[1] == small]
    if zipf and complexity == "simple":
        plan += [(name, small) for name in ABLATIONS]
        plan += [(name, Budget(float(amount), "images"))
                 for name in (*MAIN, "image prototypes") for amount in amounts.images]  # fmt: skip
    for name, budget in plan:
        config = Detect(training(scale), name, budget)
        words = f"{name}, {budget.amount:g} {budget.unit}"
        asked = name not in MAIN or budget != small
        yield Arm(words, config, detect, base, control=asked and scale != "smoke")
    yield Arm("all images", Detect(training(scale)), detect, control=scale != "smoke")


AUTOLABELS = 0.5  # weight of an image that the proposer annotated, in the joint form
SHARES = (0.05, 0.1, 0.2, 0.4, 1.0)


def autolabels(scale: Scale) -> Study:
    """What a detector's labels are worth beside people's, on simple and on complex scenes.

    Cells: none; the paper's abstract says that autolabels are competitive but not sufficient, more
    so for complex data, and that pre-training on them before people's labels is best. Cost: about
    45 s an arm and seed. Deviations: as above; people annotate random images.
    """
    smoke = scale == "smoke"
    arms: list[Arm] = []
    for complexity in ("simple", "complex"):
        arms += _autolabel_arms(scale, complexity)
    return Study(
        name="autolabels_smoke" if smoke else "autolabels",
        scale=scale,
        data=pools(scale, "simple", TAIL),
        arms=tuple(arms),
        seeds=(0, 1) if smoke else QUICK,
        tables=(
            autolabel_tables.of_autolabels,
            autolabel_tables.exchange,
            *(() if smoke else (tables.verdicts,)),
        ),
        figures=() if smoke else (figures.exchange,),
        claims=() if smoke else claims.of_autolabels(arms),
    )  # fmt: skip


def _autolabel_arms(scale: Scale, complexity: Complexity) -> Iterator[Arm]:
    """People only, the proposer only, one after the other, and both together; all train alike long.

    What is pre-trained has half of the steps on autolabels and half on people's labels.
    """
    data, make = pools(scale, complexity, TAIL), training(scale)
    half = replace(make, steps=make.steps // 2)
    shares = (0.2, 1.0) if scale == "smoke" else SHARES

    def arm(words: str, config: Any, *starts: Arm) -> Arm:
        return Arm(f"{complexity}: {words}", config, detect, starts, data=data)

    found = Arm(f"{complexity}: proposals", Propose(), propose, data=data, seed=0)
    yield found
    yield arm("autolabels only", Detect(make, share=0.0, autolabels=1.0), found)
    first = arm("pre-training", Detect(half, share=0.0, autolabels=1.0, kept=True), found)
    yield first
    for share in shares:
        people = f"{100 * share:g} % people"
        yield arm(people, Detect(make, share=share))
        if share < 1:
            yield arm(f"pre-trained, {people}", Detect(half, share=share), first)
            joint = Detect(make, share=share, autolabels=AUTOLABELS)
            yield arm(f"joint, {people}", joint, found)
