"""Active learning from a random or an object-focused start: rounds of labels, each a new training.

A round takes the images of which the detector of the round before is least sure, pays for their
true objects until the round's budget is spent, and trains anew from the same initial weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ofds.method.budget import Budget
from ofds.rivals.proposals import at_random
from ofds.rivals.uncertainty import entropy, margin
from ofds.study.annotations import by_people
from ofds.study.detection import costs, scored
from ofds.study.proposed import THRESHOLD, WEIGHTS, drawn, new_detector, trained
from ofds.study.scenes import OpenedScenes, Scenes
from ofds.study.selectors import chosen
from ofds.study.stages import equations_of, paid
from ofds.train import Training
from ofds.use.nets.detector import as_tensor
from repro_shared.runtime.files import atomic_write_text
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

Acquisition = Literal["entropy", "margin"]
ACQUISITIONS: dict[Acquisition, Callable[[Any], float]] = {"entropy": entropy, "margin": margin}
LABELLED = "labelled.json"
SEEN = 0.1  # score of a box that counts in an image's uncertainty


@dataclass(frozen=True)
class Round:
    """A round of active learning.

    Attributes:
        training: of its detector.
        amount: objects that people annotate in this round.
        start: the selector of round 0.
        acquisition: of the later ones; None in round 0.
        threshold: proposals of this score and more are chosen by, in round 0.
        width: of the network.
    """

    training: Training
    amount: float
    start: str
    acquisition: Acquisition | None = None
    threshold: float = THRESHOLD
    width: int = 32

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The selector's or the acquisition's."""
        if self.acquisition is None:
            return equations_of(self.start)
        return (ACQUISITIONS[self.acquisition],)


@steps_through(chosen)
def learn(config: Round, ctx: Context) -> Outcome:
    """One round; its record has the area under the curve so far."""
    opened: OpenedScenes = ctx.data
    scenes, places = opened.pool, opened.places(ctx.seed)
    part = scenes.part(places).truth()
    before = next((s for s in ctx.starts if isinstance(s.arm.config, Round)), None)
    if before is None:
        view = drawn(ctx, config.threshold)
        seed = derive_seed(ctx.seed, "selector") % 2**31
        order = chosen(config.start, view, Budget(config.amount), seed)
        order += at_random(view.proposals, seed)  # so that all spend the same
        own, history = list[int](), list[list[float]]()
    else:
        kept = json.loads((before.folder / LABELLED).read_text())
        own, history = kept["images"], kept["history"]
        model = new_detector(len(scenes.classes), config.width, ctx.seed)
        path = before.folder / WEIGHTS
        load_strictly(model, read_weights(path), str(path))
        assert config.acquisition is not None
        sureness = uncertainties(model, scenes, places, config.acquisition, ctx.device)
        order = np.argsort(-sureness, kind="stable").tolist()
    own += paid(part, [each for each in order if each not in set(own)], Budget(config.amount))
    bought = places[own]
    made = new_detector(len(scenes.classes), config.width, ctx.seed)
    done = trained(made, scenes, by_people(scenes, bought), config.training, ctx)
    save_weights(done.model, ctx.folder / WEIGHTS)
    metrics = scored(opened, done.model, places, ctx.device) | costs(scenes, bought)
    history.append([metrics["objects"], metrics["ap50"]])
    atomic_write_text(ctx.folder / LABELLED, json.dumps({"images": own, "history": history}) + "\n")
    if len(history) > 1:
        metrics["auc"] = area(history)
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


def area(history: list[list[float]]) -> float:
    """Mean AP50 over the objects paid for, by trapezoids: (objects, AP50) of each round."""
    objects, values = np.array(history, np.float64).T
    return float(np.trapezoid(values, objects) / (objects[-1] - objects[0]))


@torch.inference_mode()
def uncertainties(
    model: Any, scenes: Scenes, places: Any, acquisition: Acquisition, device: str
) -> Any:
    """Of each image, (len(places),)."""
    model.to(device).eval()
    found = list[float]()
    for start in range(0, len(places), 32):
        images = as_tensor(scenes.images[places[start : start + 32]]).to(device)
        for each in model.detect(images, threshold=SEEN):
            found.append(ACQUISITIONS[acquisition](each["class_scores"].cpu().numpy()))
    return np.array(found)
