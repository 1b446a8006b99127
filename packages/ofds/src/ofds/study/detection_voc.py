"""Stages for Pascal VOC at the paper's scale: Faster R-CNN, proposals of Grounding DINO and SAM 2.

Nothing of it has been run at full size here: it takes a GPU, the photographs and two models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from ofds.method.budget import Budget
from ofds.method.objects import Pool, make_pool
from ofds.rivals.proposals import at_random
from ofds.study.annotations import (
    COLUMNS,
    Annotations,
    by_detector,
    by_people,
    merged,
    targets,
)
from ofds.study.detection import costs
from ofds.study.proposed import WEIGHTS
from ofds.study.selectors import chosen
from ofds.study.stages import Chosen, paid
from ofds.study.voc import BACKBONE, OpenedVoc
from ofds.study.world import Drawn
from ofds.train import Training, fit
from ofds.use.mean_ap import mean_ap
from ofds.use.nets.detector import Target, columns
from ofds.use.nets.lite0 import WIDTH, lite0
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

WHOLE = "whole.npy"
SIDE = 224  # pixels of a described image


@dataclass(frozen=True)
class DescribeImages:
    """Features of whole images, for the selectors by image."""

    network: str = "EfficientNet-Lite0"


@steps_through(lite0)
def describe_images(config: DescribeImages, ctx: Context) -> Outcome:
    """Once for all seeds."""
    opened: OpenedVoc = ctx.data
    found, network = np.zeros((len(opened.train), WIDTH), np.float16), lite0().to(ctx.device)
    with Progress(len(found), ctx.label) as progress, torch.inference_mode():
        for place in range(len(found)):
            picture = Image.fromarray(opened.read(opened.train, place)).resize((SIDE, SIDE))
            x = torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None].float() / 255
            found[place] = network(x.to(ctx.device))[0].cpu().numpy()
            progress.update(place + 1)
    np.save(ctx.folder / WHOLE, found)
    return Outcome({"images": float(len(found))})


@dataclass(frozen=True)
class DetectVoc(Chosen):
    """Faster R-CNN on what was bought and on what was proposed; see `detection.Detect`."""

    training: Training
    selector: str = "random"
    budget: Budget | None = None
    people: bool = True
    autolabels: float = 0.0
    threshold: float = 0.3
    sure: float = 0.4
    unsure: float = 0.25
    backbone: str = "resnet50"
    min_size: int = 600
    max_size: int = 1000
    kept: bool = False


@steps_through(chosen)
def detect_voc(config: DetectVoc, ctx: Context) -> Outcome:
    """Choose, pay, train and score."""
    from ofds.use.nets.torchvision_detectors import FasterRcnn

    opened: OpenedVoc = ctx.data
    train, places = opened.train, np.arange(len(opened.train))
    bought = np.array(_bought(config, ctx) if config.people else [], np.int64)
    labels = by_annotators(opened, bought)
    if config.autolabels:
        found = by_detector(opened.proposed(), places, config.unsure)
        labels = merged(labels, found)
    torch.manual_seed(derive_seed(ctx.seed, "initialise"))
    model = FasterRcnn(
        len(train.classes), config.backbone, opened.folder / BACKBONE, config.min_size,
        config.max_size,
    )  # fmt: skip
    for start in ctx.starts:
        if isinstance(start.arm.config, DetectVoc):
            path = start.folder / WEIGHTS
            load_strictly(model, read_weights(path), str(path))
    done = fit(
        model, lambda model, batch: model.loss(*batch), photographs(opened, labels, config),
        config.training, derive_seed(ctx.seed, "training"), ctx.device,
        ctx.folder / "checkpoints", ctx.key, ctx.label,
    )  # fmt: skip
    if config.kept:
        save_weights(done.model, ctx.folder / WEIGHTS)
    metrics = _scored(opened, done.model, ctx) | costs(train, bought)
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


def by_annotators(opened: OpenedVoc, places: Any) -> Annotations:
    """The truth on some images; what is difficult has score 0: a region that is not learned."""
    people, hard = by_people(opened.train, places), by_people(opened.hard, places)
    hard = replace(hard, score=np.zeros_like(hard.score))
    rows = np.argsort(np.concatenate([people.image, hard.image]), kind="stable")
    both = {name: np.concatenate([getattr(people, name), getattr(hard, name)]) for name in COLUMNS}
    return replace(people, **{name: values[rows] for name, values in both.items()})


def photographs(
    opened: OpenedVoc, labels: Annotations, config: DetectVoc
) -> Callable[[np.random.Generator], tuple[list[torch.Tensor], list[Target]]]:
    """Batches of photographs of any size, half of them mirrored; half people's, if both are."""
    made = targets(labels, config.sure, config.autolabels or 1.0)
    sources = [np.flatnonzero(labels.by_people), np.flatnonzero(~labels.by_people)]
    sources = [each for each in sources if len(each)]
    if not sources:
        raise UserError("no image is annotated: give a larger budget")

    def draw(generator: np.random.Generator) -> tuple[list[torch.Tensor], list[Target]]:
        images, found = [], []
        for place in range(config.training.batch_size):
            own = int(generator.choice(sources[place % len(sources)]))
            image = opened.read(opened.train, int(labels.images[own]))
            target = made[own]
            if generator.random() < 0.5:
                image, target = image[:, ::-1], mirrored(target, image.shape[1])
            images.append(torch.tensor(image.copy()).permute(2, 0, 1).float() / 255)
            found.append(target)
        return images, found

    return draw


def mirrored(target: Target, width: int) -> Target:
    """Left and right of all boxes changed over."""

    def turned(boxes: torch.Tensor) -> torch.Tensor:
        left, top, right, bottom = boxes.unbind(1)
        return torch.stack([width - right, top, width - left, bottom], dim=1)

    return {**target, "boxes": turned(target["boxes"]), "ignored": turned(target["ignored"])}


def _bought(config: DetectVoc, ctx: Context) -> list[int]:
    opened: OpenedVoc = ctx.data
    train, found = opened.train, opened.proposed()
    if config.budget is None:
        return list(range(len(train)))

    def pool(of: Any, score: Any, area: Any, features: Any, row: Any) -> Pool:
        have = np.flatnonzero(score >= config.threshold)
        return make_pool(
            train.names, train.classes, [train.names[i] for i in of.image[have]], of.label[have],
            score[have], of.box[have], area[have], features, row[have],
        )  # fmt: skip

    folder = next(s.folder for s in ctx.starts if isinstance(s.arm.config, DescribeImages))
    whole, ones = np.asarray(np.load(folder / WHOLE), np.float32), np.ones(len(train.image))
    rows = np.arange(len(train.image))
    truth = pool(train, ones, train.area, None, rows)
    view = Drawn(
        pool(found, found.score, found.area, opened.features, found.row), truth, whole, whole[:0],
        np.zeros(0, np.int64),
    )  # fmt: skip
    seed = derive_seed(ctx.seed, "selector") % 2**31
    order = chosen(config.selector, view, config.budget, seed) + at_random(view.proposals, seed)
    return paid(truth, order, config.budget)


@torch.inference_mode()
def _scored(opened: OpenedVoc, model: Any, ctx: Context) -> dict[str, float]:
    test, found = opened.test, list[Target]()
    model.to(ctx.device).eval()
    with Progress(len(test), f"{ctx.label}: scoring") as progress:
        for place in range(len(test)):
            x = torch.tensor(opened.read(test, place)).permute(2, 0, 1).float() / 255
            found += model.detect([x.to(ctx.device)])
            progress.update(place + 1)
    counts = np.bincount(opened.train.label, minlength=len(test.classes))
    rare = np.argsort(counts, kind="stable")[: len(counts) // 3]
    return mean_ap(opened.scored, columns(found), len(test), len(test.classes)).metrics(rare)
