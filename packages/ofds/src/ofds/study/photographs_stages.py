"""What comes before any choice on real photographs: a proposer of each seed, and features.

The true objects and whole images are described once (for the oracle and for selectors by image),
the proposals of each seed's proposer for each seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ofds.study import detection, proposed, segmentation
from ofds.study.annotations import by_people
from ofds.study.proposed import (
    PROPOSALS,
    TRUE,
    WEIGHTS,
    WHOLE,
    features,
    proposed_on,
    quality,
)
from ofds.study.scenes import Scenes
from ofds.study.segmentation import PLAIN, Seen
from ofds.train import Training, fit
from ofds.use.nets.lite0 import WIDTH, lite0
from ofds.use.nets.segmenter import label_maps
from ofds.use.proposers.crops import by_crops
from ofds.use.stuff import SMALLEST, Component, components
from repro_shared.metrics.segmentation import confusion_matrix
from repro_shared.metrics.segmentation import scores as scores_of
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.weights import save_weights
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
    threshold: float = 0.3
    width: int = 32

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps


@dataclass(frozen=True)
class FirstSegmenter:
    """A segmenter that learns from the first frames of a seed; parts of its maps are proposals.

    Attributes:
        training, seen, rare, width: as of `Segment`.
        smallest: pixels of an object at least.
    """

    training: Training
    seen: Seen = PLAIN
    rare: float = 0.0
    width: int = 32
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
    model = segmentation.new_segmenter(values, config.width, ctx.seed)
    first = scenes.part(opened.first_places(ctx.seed))
    done = segmentation.trained(model, first, config, ctx)
    pool = scenes.part(places)
    maps, probability = label_maps(done.model, pool.images, ctx.device)
    confusion = confusion_matrix(maps, pool.label_maps, values)
    metrics = {"pool_miou": scores_of(confusion).miou}
    metrics |= segmentation.scored(opened, done.model, places, ctx.device)
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
    save_weights(done.model, ctx.folder / WEIGHTS)
    np.savez(
        ctx.folder / PROPOSALS,
        image=places[owner],
        label=np.array([part.label for part in parts], np.int64),
        score=np.array([part.score for part in parts], np.float32),
        box=np.array([part.box for part in parts], np.float32).reshape(-1, 4),
        area=np.array([part.area for part in parts], np.float32),
    )
    side = next(s.arm.config.side for s in ctx.starts if isinstance(s.arm.config, DescribeTruth))
    np.save(ctx.folder / FOUND, of_parts(pool.images, owner, parts, side, ctx))
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
        parts = [
            part
            for labels in scenes.label_maps
            for part in components(labels.astype(np.int64) - 1, len(scenes.classes))[0]
        ]
        true = of_parts(scenes.images, scenes.image.tolist(), parts, config.side, ctx)
    else:
        true = features(network, scenes.images, scenes.image, scenes.box, ctx)
    np.save(ctx.folder / TRUE, true)
    return Outcome({"objects": float(len(true)), "images": float(len(whole))})


def of_parts(
    images: NDArray[np.uint8], owner: list[int], parts: list[Component], side: int, ctx: Context
) -> NDArray[np.float16]:
    """Features of components, all else in their boxes gray, (n, 1280)."""
    network, found = lite0().to(ctx.device), np.zeros((len(parts), WIDTH), np.float16)

    def vectors(crops: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            made: torch.Tensor = network(crops.to(ctx.device))
            return made

    with Progress(len(parts), f"{ctx.label}: features") as progress:
        for start in range(0, len(parts), 64):
            some = range(start, min(start + 64, len(parts)))
            crops = [parts[n].crop(images[owner[n]]) for n in some]
            boxes: list[Any] = [np.array([[0, 0, *crop.shape[1::-1]]], float) for crop in crops]
            found[start : some.stop] = np.concatenate(by_crops(crops, boxes, side, vectors))
            progress.update(some.stop)
    return found
