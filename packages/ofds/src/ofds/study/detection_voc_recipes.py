"""The study on Pascal VOC, which needs `--data` and a GPU: every arm written out."""

from __future__ import annotations

from dataclasses import replace

from ofds.method.budget import Budget
from ofds.study import detection_tables as tables
from ofds.study.detection_voc import DescribeImages, DetectVoc, describe_images, detect_voc
from ofds.study.voc import Voc
from ofds.train import Training
from repro_shared.evidence.tables import Table
from repro_shared.study.paper import Arm, Scale, Study
from repro_shared.study.results import Results

SELECTORS = (
    "random", "class-balanced random", "image k-centre", "TypiClust", "image prototypes", "OFDS",
)  # fmt: skip
BUDGETS = (500, 2000)  # objects, of about 15,800 in `train`
AUTO = 0.5  # weight of a photograph that the proposer annotated, in the joint form


def detection_voc(scale: Scale) -> Study:
    """Selectors, and autolabels beside people's labels, for Faster R-CNN on Pascal VOC.

    Cells: none; the paper's abstract names VOC. Needs `--data` with the photographs, the backbone
    and a pool made by `ofds propose` with Grounding DINO and SAM 2. Cost: about an hour of one GPU
    an arm and seed. Deviations: budgets, schedule and thresholds are ours, since the full text was
    not at hand.
    """
    training = Training(
        12000, batch_size=4, optimiser="SGD", learning_rate=5e-3, weight_decay=1e-4, warmup=0.02,
        amp=True,
    )  # fmt: skip
    plain, images = DetectVoc(training), Arm("images", DescribeImages(), describe_images, seed=0)
    arms = [images]
    for name in SELECTORS:
        for amount in BUDGETS:
            config = replace(plain, selector=name, budget=Budget(float(amount)))
            arms.append(Arm(f"{name}, {amount} objects", config, detect_voc, (images,)))
    arms.append(Arm("all images", plain, detect_voc))
    alone = replace(plain, people=False, autolabels=1.0)
    arms.append(Arm("autolabels only", alone, detect_voc))
    # Half of the steps on autolabels, half on people's labels: as long as all others train.
    half = replace(training, steps=training.steps // 2)
    first = Arm("pre-training", replace(alone, training=half, kept=True), detect_voc)
    arms.append(first)
    for name in ("random", "OFDS"):
        for amount in BUDGETS:
            config = replace(plain, selector=name, budget=Budget(float(amount)))
            words = f"{name}, {amount} objects"
            arms.append(
                Arm(
                    f"pre-trained, {words}",
                    replace(config, training=half),
                    detect_voc,
                    (images, first),
                )
            )
            arms.append(
                Arm(f"joint, {words}", replace(config, autolabels=AUTO), detect_voc, (images,))
            )
    return Study("detection_voc", scale, Voc(), tuple(arms), (0, 1, 2, 3, 4), tables=(by_objects,))


def by_objects(results: Results) -> Table:
    """All arms, with what people's labels cost."""
    return tables.selectors(results, tables.DETECTION, "objects", "at equal cost", classes=20)
