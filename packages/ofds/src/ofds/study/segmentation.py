"""What an arm of the studies with segmenters does: choose, pay, train a small segmenter, score it.

People outline every object on the images that are bought. All arms have the same frozen trunk, with
ImageNet's weights, and those of a seed begin with the same head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofds.method.budget import Budget
from ofds.rivals import proposals as by_proposal
from ofds.study.annotations import shifted
from ofds.study.detection import costs
from ofds.study.proposed import PROPOSALS, THRESHOLD, drawn, left_by
from ofds.study.scenes import OpenedScenes, Scenes
from ofds.study.selectors import chosen
from ofds.study.stages import Chosen, paid
from ofds.study.world import Drawn
from ofds.train import Trained, Training, fit
from ofds.use.nets.detector import as_tensor
from ofds.use.nets.segmenter import Segmenter, label_maps
from repro_shared.datasets.label_values import IGNORED
from repro_shared.metrics.segmentation import confusion_matrix
from repro_shared.metrics.segmentation import scores as scores_of
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """In how many ways a training image is seen, so that what the trunk makes of it can be kept.

    Attributes:
        views: of each image, the first one as it is.
        shift: pixels by which the others are moved at most, to each side.
        light: share by which they are brighter or darker at most.
        mirror: left and right change places in every other one (not for digits).
    """

    views: int = 4
    shift: int = 8
    light: float = 0.2
    mirror: bool = False


PLAIN = Seen()


@dataclass(frozen=True)
class Segment(Chosen):
    """A segmenter, trained on what was bought.

    Attributes:
        training: how.
        selector: a name of `SELECTORS`.
        budget: None for people's labels on all images of the pool.
        threshold: proposals of this score and more are chosen by.
        fill: share of a proposal's box that its pixels take, where only the box is known.
        seen: how training images are.
        rare: exponent of the loss's weights: a pixel of a class that has the share f of the
            labelled pixels counts f ** -rare.
    """

    training: Training
    selector: str = "random"
    budget: Budget | None = None
    threshold: float = THRESHOLD
    fill: float = 1.0
    seen: Seen = PLAIN
    rare: float = 0.0


@steps_through(chosen)
def segment(config: Segment, ctx: Context) -> Outcome:
    """Choose, pay, train and score."""
    opened: OpenedScenes = ctx.data
    scenes, places = opened.pool, opened.places(ctx.seed)
    bought = places
    if config.budget is not None:
        view = seen_by_selectors(config, ctx)
        seed = derive_seed(ctx.seed, "selector") % 2**31
        order = chosen(config.selector, view, config.budget, seed)
        # What a selector has no order for follows at random, so that all spend the same.
        order += by_proposal.at_random(view.proposals, seed)
        bought = places[paid(view.truth, order, config.budget)]
    model, done = trained(scenes.part(bought), config, ctx)
    metrics = scored(opened, model, places, ctx.device) | costs(scenes, bought)
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


def seen_by_selectors(config: Segment, ctx: Context) -> Drawn:
    """What the selectors see, with pixels of proposals: their masks', or a share of their boxes."""
    view = drawn(ctx, config.threshold)
    with np.load(left_by(ctx, PROPOSALS)) as file:
        box = file["box"]
        area = file["area"] if "area" in file else config.fill * box[:, 2] * box[:, 3]
    pool = view.proposals
    return replace(view, proposals=replace(pool, area=area[pool.row].astype(np.float32)))


def trained(scenes: Scenes, config: Any, ctx: Context) -> tuple[Segmenter, Trained]:
    """A segmenter, trained on all of these images.

    Args:
        config: with `training`, `seen` and `rare`.
    """
    torch.manual_seed(derive_seed(ctx.seed, "initialise"))
    model = Segmenter(len(scenes.classes) + 1).to(ctx.device)
    weights = class_weights(scenes.label_maps, len(scenes.classes) + 1, config.rare)
    if weights is not None:
        weights = weights.to(ctx.device)
    draw = batches(model, scenes, config.training.batch_size, config.seen, ctx)
    done = fit(
        model.head, lambda head, batch: head.loss(*batch, weights), draw, config.training,
        derive_seed(ctx.seed, "training"), ctx.device, ctx.folder / "checkpoints", ctx.key,
        ctx.label,
    )  # fmt: skip
    model.head = done.model
    return model, done


def class_weights(maps: Bytes, values: int, rare: float) -> Tensor | None:
    """(values,) f ** -rare of the share f of each value's pixels, 1 on average over the pixels.

    A value that does not occur counts as the rarest does.
    """
    if not rare:
        return None
    count = np.bincount(maps.ravel(), minlength=256)[:values].astype(np.float64)
    share = np.maximum(count, count[count > 0].min()) / count.sum()
    weights = share**-rare
    return torch.tensor(weights / (weights * count / count.sum()).sum(), dtype=torch.float32)


def batches(
    model: Segmenter, scenes: Scenes, size: int, seen: Seen, ctx: Context
) -> Callable[[np.random.Generator], tuple[list[Tensor], Tensor]]:
    """Draws images at random, each in one of its views: the trunk's maps and the label maps.

    Raises:
        ValueError: no image.
    """
    if not len(scenes):
        raise ValueError("no image is annotated")
    kept, labels = list[list[Tensor]](), list[Bytes]()
    with Progress(seen.views * len(scenes), f"{ctx.label}: images seen") as progress:
        for view in range(seen.views):
            generator = np.random.default_rng(derive_seed(ctx.seed, "view", view))
            for start in range(0, len(scenes), 16):
                part = slice(start, start + 16)
                pairs = zip(scenes.images[part], scenes.label_maps[part], strict=True)
                found = [viewed(*pair, seen, view, generator) for pair in pairs]
                images = as_tensor(np.stack([image for image, _ in found])).to(ctx.device)
                kept.append([level.half().cpu() for level in model.levels(images)])
                labels += [label for _, label in found]
                progress.update(len(labels))
    levels = [torch.cat(parts) for parts in zip(*kept, strict=True)]
    targets = torch.from_numpy(np.stack(labels))

    def draw(generator: np.random.Generator) -> tuple[list[Tensor], Tensor]:
        some = torch.from_numpy(generator.integers(len(targets), size=size))
        return [level[some] for level in levels], targets[some].long()

    return draw


def viewed(
    image: Bytes, label: Bytes, seen: Seen, view: int, generator: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """A view of an image and of its label map; what a shift brings in has no label."""
    if view == 0:
        return image, label
    right, down = generator.integers(-seen.shift, seen.shift + 1, 2).tolist()
    rows, columns = label.shape
    inside = np.zeros(label.shape, bool)
    inside[max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = True
    label = np.where(inside, shifted(label, right, down), IGNORED).astype(np.uint8)
    light = generator.uniform(1 - seen.light, 1 + seen.light)
    image = (shifted(image, right, down) * light).clip(0, 255).astype(np.uint8)
    if seen.mirror and view % 2:
        image, label = image[:, ::-1], label[:, ::-1]
    return image, label


def scored(opened: OpenedScenes, model: Segmenter, places: Any, device: str) -> dict[str, float]:
    """mIoU on the test set, of all its values and of the classes that are rare in the pool."""
    test, part = opened.test, opened.pool.part(places)
    found, _ = label_maps(model, test.images, device)
    confusion = confusion_matrix(found, test.label_maps, len(test.classes) + 1, IGNORED)
    miou, by_value = mean_iou(confusion)
    rare = {test.classes[label]: by_value[1 + label] for label in opened.rare(part)}
    known = {f"iou/{name}": iou for name, iou in rare.items() if iou == iou}
    if known:
        known["rare_miou"] = float(np.mean(list(known.values())))
    return {"miou": miou, **known}


def mean_iou(confusion: NDArray[np.int64]) -> tuple[float, tuple[float, ...]]:
    """mIoU and the IoU of each value, in percent, of a confusion matrix (rows target).

    Value 0, which is no class, counts only where the truth has it: on road scenes, where nothing is
    background, one pixel of it would make a twelfth value with an IoU of 0.
    """
    result = scores_of(confusion)
    if confusion[0].any():
        return result.miou, result.iou
    return float(np.nanmean(result.iou[1:])), result.iou
