"""The study of real photographs: every arm written out."""

from __future__ import annotations

from typing import Any

from clip_distill.method.objective import Objective
from clip_distill.study import claims, stages, tables
from clip_distill.study.arms import LENGTHS, MAIN, RATE, UNTUNED, Lengths, ground
from clip_distill.study.photographs import Photographs
from clip_distill.study.scoring import ZERO_SHOT
from clip_distill.study.stages import Cached, Ceiling, LabelsAlone
from clip_distill.study.tuned import chosen, needs_tuning, waiting
from clip_distill.use.steps import Training
from clip_distill.use.views import Views
from repro_shared.study.paper import Arm, Scale, Study

NAME = "confounded_photographs"
CONFOUNDINGS = (1.0, 0.0)
TUNED = {f"confounding {each:g}": MAIN for each in CONFOUNDINGS}
VIEWS = Views(2, "random-crop", scale=(0.7, 1.0), mirror=0.5)
FULL = Lengths(LENGTHS.first, Training(16, 128, RATE, schedule="cosine"), "test_resnet")
HALF = Lengths(LENGTHS.first, Training(8, 128, RATE, schedule="cosine"), "test_resnet")
"""Of the tuning."""
FEW: dict[str, Any] = {"synthetic": 60, "held_out": 20, "labelled": 40}
LABELS = Objective("class", 0.1)  # of the plain student, which is not tuned


def confounded_photographs(scale: Scale) -> Study:
    """Real photographs: how much of its teacher a student keeps, by loss.

    Cells: teaser, in kind only. Cost: about twenty-five minutes a seed, and six once. Deviations:
    CIFAR-10 enlarged; EfficientNet-Lite0's classifier stands for a text table, so a text is a
    class's and there are no captions; stylised photographs stand for generated images; from
    scratch, since there are no generic photographs. 16 passes over 8,000 pictures (authors: 96),
    two crops of 70 to 100 % of the area, mirrored or not, batches of 128 (authors: 256), rates that
    fall as a cosine (authors: constant 5e-4). Temperatures and rates are each loss's best on a
    tuning seed and training photographs, at each confounding.
    """
    smoke = scale == "smoke"
    needs = "" if smoke else needs_tuning(NAME, TUNED)
    few, on = FEW if smoke else {}, ground(smoke, FULL)
    arms = list[Arm]()
    for confounding in CONFOUNDINGS:
        says = f"confounding {confounding:g}"
        data = waiting(Photographs(confounding, **few), needs)
        config = Cached("synthetic", VIEWS)
        cache = Arm(f"cache, {says}", config, stages.cached, (), data, seed=0)
        plain = LabelsAlone(on.lengths.second, on.lengths.backbone, LABELS, scoring=on.scoring)
        settings = UNTUNED if smoke or needs else chosen(NAME, says)
        # At confounding 0 it is asked for the sake of its gate alone.
        full = confounding == 1 and not smoke
        name = "the teacher" if confounding == 1 else f"the teacher, {says}"
        arms += [
            Arm(name, Ceiling(on.scoring if full else ZERO_SHOT), stages.teacher, (), data, seed=0),
            cache,
            Arm(f"labels alone, {says}", plain, stages.labels_alone, (cache,), data, seed=0),
            *(on.tried(f"{name}, {says}", name, settings[name], (cache,), data) for name in MAIN),
        ]
    name, made = NAME + "_smoke" * smoke, tuple(arms)
    return Study(
        name, scale, waiting(Photographs(1.0, **few), needs), made, (0,),
        tables=(tables.by_loss, tables.kept, *(() if smoke else (tables.verdicts,))),
        claims=() if smoke else claims.of_photographs(name, made),
        suspended=claims.suspended,
    )  # fmt: skip
