"""What comes before any choice on real photographs: a proposer of each seed, and features.

The true objects and whole images are described once (for the oracle and for selectors by image),
the proposals of each seed's proposer for each seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofds.study import detection, proposed, segmentation
from ofds.study.annotations import by_people
from ofds.study.proposed import (
    PROPOSALS,
    THRESHOLD,
    TRUE,
    WHOLE,
    features,
    proposed_on,
    quality,
)
from ofds.study.scenes import Scenes
from ofds.study.segmentation import PLAIN, Seen
from ofds.train import Training, fit
from ofds.use.nets.lite0 import lite0
from ofds.use.nets.segmenter import label_maps
from ofds.use.stuff import SMALLEST, Component, components, described
from repro_shared.metrics.segmentation import confusion_matrix
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

FOUND = "proposals.npy"


@dataclass(frozen=True)
class FirstDetector:
    """A detector that learns from the first images of a seed, and proposes on the others.

    Attributes:
        training: how.
        threshold: score at which recall and precision are reported.
        width: of the network.
    """

    training: Training
    threshold: float = THRESHOLD
    width: int = 32

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps


@dataclass(frozen=True)
class FirstSegmenter:
    """A segmenter that learns from the first frames of a seed; parts of its maps are proposals.

    Attributes:
        training, seen, rare: as of `Segment`.
        smallest: pixels of an object at least.
    """

    training: Training
    seen: Seen = PLAIN
    rare: float = 0.0
    smallest: int = SMALLEST

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps


@dataclass(frozen=True)
class DescribeTruth:
    """Features of true objects and of whole images.

    Attributes:
        side: of the crops in pixels.
        masked: whether pixels of a crop that are not the object's are gray.
    """

    side: int = 96
    masked: bool = False


@steps_through(fit)
def first_detector(config: FirstDetector, ctx: Context) -> Outcome:
    """Train a detector, propose on all images, and describe what was proposed."""
    scenes, places = ctx.data.pool, ctx.data.places(ctx.seed)
    labels = by_people(scenes, ctx.data.first_places(ctx.seed))
    model = proposed.new_detector(len(scenes.classes), config.width, ctx.seed)
    done = proposed.trained(model, scenes, labels, config.training, ctx)
    pool = scenes.part(places)
    found = proposed_on(done.model, pool.images, ctx.device)
    metrics = quality(pool, found.where(found.score >= config.threshold))
    metrics |= detection.scored(ctx.data, done.model, places, ctx.device)
    np.savez(
        ctx.folder / PROPOSALS,
        image=places[found.image], label=found.label, score=found.score, box=found.box,
    )  # fmt: skip
    network = lite0().to(ctx.device)
    np.save(ctx.folder / FOUND, features(network, pool.images, found.image, found.box, ctx))
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


@steps_through(fit)
def first_segmenter(config: FirstSegmenter, ctx: Context) -> Outcome:
    """Train a segmenter, take the parts of its label maps as proposals, and describe them."""
    opened, places = ctx.data, ctx.data.places(ctx.seed)
    scenes: Scenes = opened.pool
    values = len(scenes.classes) + 1
    first, pool = scenes.part(opened.first_places(ctx.seed)), scenes.part(places)
    model, done = segmentation.trained(first, config, ctx)
    maps, probability = label_maps(model, pool.images, ctx.device)
    confusion = confusion_matrix(maps, pool.label_maps, values)
    metrics = {"pool_miou": segmentation.mean_iou(confusion)[0]}
    metrics |= segmentation.scored(opened, model, places, ctx.device)
    owner, parts, dropped = list[int](), list[Component](), 0
    for place, labels in enumerate(maps):
        # The map's values are 1 + place of the class; 0 and 255 stand for no class.
        shown = np.where((labels > 0) & (labels < values), labels.astype(np.int64) - 1, -1)
        found, small = components(
            shown, len(scenes.classes), config.smallest, probability[place].astype(np.float32)
        )
        owner += [place] * len(found)
        parts += found
        dropped += int(small.sum())
    metrics |= {"proposals": float(len(parts)), "dropped": float(dropped)}
    np.savez(
        ctx.folder / PROPOSALS,
        image=places[owner],
        label=np.array([part.label for part in parts], np.int64),
        score=np.array([part.score for part in parts], np.float32),
        box=np.array([part.box for part in parts], np.float32).reshape(-1, 4),
        area=np.array([part.area for part in parts], np.float32),
    )
    side = next(s.arm.config.side for s in ctx.starts if isinstance(s.arm.config, DescribeTruth))
    crops = (part.crop(pool.images[place]) for place, part in zip(owner, parts, strict=True))
    np.save(ctx.folder / FOUND, described(crops, len(parts), side, ctx.device))
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


@steps_through(lite0)
def describe_truth(config: DescribeTruth, ctx: Context) -> Outcome:
    """Features of true objects and of whole images, once for all seeds."""
    scenes: Scenes = ctx.data.pool
    network = lite0().to(ctx.device)
    every = np.array([[0, 0, *scenes.images.shape[2:0:-1]]] * len(scenes), np.float32)
    whole = features(network, scenes.images, np.arange(len(scenes)), every, ctx)
    np.save(ctx.folder / WHOLE, whole)
    if config.masked:
        crops = [
            part.crop(image)
            for image, labels in zip(scenes.images, scenes.label_maps, strict=True)
            for part in components(labels.astype(np.int64) - 1, len(scenes.classes))[0]
        ]
        true = described(crops, len(crops), config.side, ctx.device)
    else:
        true = features(network, scenes.images, scenes.image, scenes.box, ctx)
    np.save(ctx.folder / TRUE, true)
    return Outcome({"objects": float(len(true)), "images": float(len(whole))})
