"""What an arm of the studies with detectors does: choose, pay, train a small detector, score it.

Each seed sees a part of the pool of its own, chooses images in it, pays for their true objects, and
trains from the same initial weights for the same number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.method.budget import Budget
from ofds.rivals.proposals import at_random
from ofds.study.annotations import by_detector, by_people, merged
from ofds.study.proposed import THRESHOLD, WEIGHTS, drawn, new_detector, proposals, trained
from ofds.study.scenes import OpenedScenes, Scenes
from ofds.study.selectors import chosen
from ofds.study.stages import Chosen, paid
from ofds.train import Training
from ofds.use.mean_ap import mean_ap
from ofds.use.nets.detector import detect_all
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through


@dataclass(frozen=True)
class Detect(Chosen):
    """A detector, trained on what was bought and on what was proposed.

    Attributes:
        training: how.
        selector: a name of `SELECTORS`; who chooses the images that people annotate.
        budget: for them; None for people's labels on all images of the pool.
        share: instead of a budget: objects, as a share of all in the pool; 0 for no people.
        autolabels: weight of the images that the proposer annotated, 0 for none of them.
        threshold: proposals of this score and more are chosen by.
        sure, unsure: proposals of this score and more are objects, others down to `unsure` are
            regions in which nothing is learned.
        width: of the network.
        kept: leave the weights, for arms that start from this one.
    """

    training: Training
    selector: str = "random"
    budget: Budget | None = None
    share: float | None = None
    autolabels: float = 0.0
    threshold: float = THRESHOLD
    sure: float = 0.4
    unsure: float = 0.15
    width: int = 32
    kept: bool = False


@steps_through(chosen)
def detect(config: Detect, ctx: Context) -> Outcome:
    """Choose, pay, train and score; from a trained detector, where the arm starts from one."""
    scenes, places = ctx.data.pool, ctx.data.places(ctx.seed)
    bought = bought_by(config, ctx)
    labels = by_people(scenes, bought)
    if config.autolabels:
        labels = merged(labels, by_detector(proposals(ctx), places, config.unsure))
    model = new_detector(len(scenes.classes), config.width, ctx.seed)
    for start in ctx.starts:
        if isinstance(start.arm.config, Detect):
            path = start.folder / WEIGHTS
            load_strictly(model, read_weights(path), str(path))
    done = trained(model, scenes, labels, config.training, ctx, config.sure, config.autolabels)
    if config.kept:
        save_weights(done.model, ctx.folder / WEIGHTS)
    metrics = scored(ctx.data, done.model, places, ctx.device) | costs(scenes, bought)
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


def bought_by(config: Detect, ctx: Context) -> NDArray[np.int64]:
    """Places of the images that people annotate."""
    opened: OpenedScenes = ctx.data
    places = opened.places(ctx.seed)
    seed = derive_seed(ctx.seed, "selector") % 2**31
    if config.share is not None:
        part = opened.pool.part(places).truth()
        order = np.random.default_rng([seed, 1]).permutation(len(places)).tolist()
        if config.share == 0:
            return places[:0]
        return places[paid(part, order, Budget(config.share * len(part)))]
    if config.budget is None:
        return places
    view = drawn(ctx, config.threshold)
    order = chosen(config.selector, view, config.budget, seed)
    # What a selector has no order for follows at random, so that all spend the same.
    order += at_random(view.proposals, seed)
    return places[paid(view.truth, order, config.budget)]


def scored(opened: OpenedScenes, model: Any, places: Any, device: str) -> dict[str, float]:
    """COCO's mAP on the test set, of all classes and of the rarest third of the pool's."""
    test, part = opened.test, opened.pool.part(places)
    found = detect_all(model, test.images, device)
    rare = np.array(opened.rare(part), np.int64)
    return mean_ap(test, found, len(test), len(test.classes)).metrics(rare)


def costs(scenes: Scenes, bought: Any) -> dict[str, float]:
    """What people's labels on some images cost, and how many classes they show."""
    have = np.isin(scenes.image, bought)
    return {
        "images": float(len(bought)),
        "objects": float(have.sum()),
        "pixels": float(scenes.area[have].sum(dtype=np.float64)),
        "covered": float(len(np.unique(scenes.label[have]))),
    }
