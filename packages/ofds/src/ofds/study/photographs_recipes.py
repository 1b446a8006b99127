"""The studies on real photographs, which need `--data`: every arm written out."""

from __future__ import annotations

from dataclasses import replace

from ofds.method.budget import Budget
from ofds.study import segmentation_claims as claims
from ofds.study import segmentation_tables as tables
from ofds.study.cityscapes import Frames
from ofds.study.cityscapes_stages import SegmentFrames, segment_frames
from ofds.study.detection import Detect, detect
from ofds.study.photographs import BloodCells
from ofds.study.photographs_stages import (
    DescribeTruth,
    FirstDetector,
    FirstSegmenter,
    describe_truth,
    first_detector,
    first_segmenter,
)
from ofds.study.proposed import THRESHOLD
from ofds.study.road_scenes import RoadScenes
from ofds.study.segmentation import Seen, Segment, segment
from ofds.train import Training
from repro_shared.study.paper import Arm, Scale, Study

QUICK = (0, 1, 2)
CELLS = ("random", "class-balanced random", "image k-centre", "OFDS", "oracle OFDS")
ROADS = ("random", "class-balanced random", "image k-centre", "TypiClust", "OFDS", "oracle OFDS")
BCCD_KNOWN = (
    "3ae2b88101214f696b67c12496874891+b7bf9570e0b4f93969f13be291ff3078",
    "010e1306f9955f62ab69b5c0a663e6d8+d0771631a1de1884d3d25673fd8b0513",  # of the tuning
)
CAMVID_KNOWN = (
    "3ab5e68e9e377b9603ca49c5a9a60fad+a1f238339d81d7f5dd8463a8e0317fff",
    "af988318a889e50fe2e5545020fe47ce+92bc912169c9df2f1e1332c77936fe6c",  # of the tuning
)

RARE = 0.5  # exponent of the loss's weights: without them minority classes are not learned
ROAD_SEEN = Seen(2, mirror=True)


def cells_bccd(scale: Scale, held_out: bool = False) -> Study:
    """Detectors of blood cells, from equal numbers of objects: a tie is expected.

    Cells: none. Needs `--data`. Cost: about a minute an arm and seed on one thread. It cannot test
    that classes are covered: nearly every image holds all three. Deviations: photographs of 256 x
    192, a small detector; the full text was not at hand.
    """
    smoke = scale == "smoke"
    training = Training(4 if smoke else 300, 4 if smoke else 12, learning_rate=3e-3)
    truth = Arm("true objects", DescribeTruth(), describe_truth, seed=0)
    least = 0.05 if smoke else THRESHOLD  # after four steps nothing scores higher
    first = Arm("proposer", FirstDetector(training, least), first_detector, (truth,))
    budget = Budget(20.0 if smoke else 250.0)
    arms = [truth, first]
    for name in CELLS:
        config = Detect(training, name, budget, threshold=least)
        arms.append(Arm(f"{name}, {budget.amount:g} objects", config, detect, (truth, first)))
    arms.append(Arm("all images", Detect(training), detect, (truth, first)))
    name = f"cells_bccd{'_tuning' if held_out else ''}{'_smoke' if smoke else ''}"
    final = not (smoke or held_out)
    return Study(
        name=name,
        scale=scale,
        data=BloodCells(first=4 if smoke else 60, held_out=held_out, known=BCCD_KNOWN),
        arms=tuple(arms),
        seeds=(0,) if smoke else QUICK,
        tables=(tables.of_cells, tables.of_seen_cells, *((tables.verdicts,) if final else ())),
        claims=claims.of_cells(name, arms) if final else (),
    )


def roads_camvid(scale: Scale, hold_out: str = "") -> Study:
    """Segmenters of road scenes, from equal numbers of pixels; minority classes are scored apart.

    Cells: none. Needs `--data`. Cost: about a minute an arm and seed on one thread, and two for
    each seed's features. Objects are connected components of label maps. Deviations: frames of
    240 x 180, a small segmenter; the full text was not at hand.
    """
    smoke = scale == "smoke"
    training = Training(4 if smoke else 500, 2 if smoke else 8, learning_rate=3e-3)
    truth = Arm("true parts", DescribeTruth(64, masked=True), describe_truth, seed=0)
    first = Arm("proposer", FirstSegmenter(training, ROAD_SEEN, RARE), first_segmenter, (truth,))
    plain = Segment(training, threshold=0.0, seen=ROAD_SEEN, rare=RARE)
    budget = Budget(2e5 if smoke else 1e6, "pixels")
    arms = [truth, first]
    for name in ROADS:
        config = replace(plain, selector=name, budget=budget)
        words = f"{name}, {budget.amount:,.0f} pixels"
        arms.append(Arm(words, config, segment, (truth, first)))
    arms.append(Arm("all images", plain, segment, (truth, first)))
    name = f"roads_camvid{'_tuning' if hold_out else ''}{'_smoke' if smoke else ''}"
    final = not (smoke or hold_out)
    return Study(
        name=name,
        scale=scale,
        data=RoadScenes(first=3 if smoke else 20, hold_out=hold_out, known=CAMVID_KNOWN),
        arms=tuple(arms),
        seeds=(0,) if smoke else QUICK,
        tables=(
            tables.of_roads,
            tables.by_class,
            tables.of_parts,
            *((tables.verdicts,) if final else ()),
        ),
        claims=claims.of_roads(name, arms) if final else (),
    )


def cells_bccd_tuning(scale: Scale) -> Study:
    """The same, scored on a quarter of the training images that no pool holds; seeds from 100 up.

    Cells: none. Cost: as above.
    """
    return cells_bccd(scale, held_out=True)


def roads_camvid_tuning(scale: Scale) -> Study:
    """The same, scored on sequence 0006R0, which no pool holds; seeds from 100 up.

    Cells: none. Cost: as above.
    """
    return roads_camvid(scale, hold_out="0006R0")


def segmentation_cityscapes(scale: Scale) -> Study:
    """Selectors judged by a segmenter on Cityscapes, which the paper's abstract names.

    Cells: none that could be read. Needs `--data`, with Cityscapes as its authors ship it, `pool`
    (`ofds propose` with Grounding DINO and SAM 2 on leftImg8bit/train) and torchvision's ResNet-50
    as weights/resnet50.pth; a GPU of 24 GB, five hours an arm and seed, for reading frames takes
    longest; not run. Deviations: DeepLabv3, budgets in pixels and the schedule are ours.
    """
    smoke = scale == "smoke"
    config = SegmentFrames(
        Training(2 if smoke else 40_000, 2 if smoke else 8, "SGD", 0.01, 5e-4, amp=not smoke),
        network="lraspp_mobilenet_v3_large" if smoke else "deeplabv3_resnet50",
        crop=(64, 96) if smoke else (512, 1024),
    )
    arms = [
        Arm(f"{name}, {100 * share:g} % of the pixels",
            replace(config, selector=name, share=share), segment_frames)
        for share in ((0.5,) if smoke else (0.05, 0.1, 0.2))
        for name in ("random", "class-balanced random", "image k-centre", "TypiClust", "OFDS")
    ]  # fmt: skip
    arms.append(Arm("all frames", config, segment_frames))
    return Study(
        name="segmentation_cityscapes_smoke" if smoke else "segmentation_cityscapes",
        scale=scale,
        data=Frames("" if smoke else "weights/resnet50.pth"),
        arms=tuple(arms),
        seeds=(0,) if smoke else QUICK,
        tables=(tables.of_frames,),
    )
