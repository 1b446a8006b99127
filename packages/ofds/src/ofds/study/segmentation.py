"""What an arm of the studies with segmenters does: choose, pay, train a small segmenter, score it.

People outline every object on the images that are bought. All arms of a seed go on from the same
weights: those of the proposer, whose heads are replaced where they do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofds.method.budget import Budget
from ofds.study.annotations import shifted
from ofds.study.detection import costs
from ofds.study.proposed import PROPOSALS, WEIGHTS, drawn, left_by
from ofds.study.scenes import OpenedScenes, Scenes
from ofds.study.selectors import chosen
from ofds.study.stages import equations_of, paid
from ofds.study.world import Drawn
from ofds.train import Trained, Training, fit
from ofds.use.nets.committed import digits
from ofds.use.nets.detector import as_tensor
from ofds.use.nets.segmenter import Segmenter, label_maps
from repro_shared.datasets.label_values import IGNORED
from repro_shared.metrics.segmentation import confusion_matrix
from repro_shared.metrics.segmentation import scores as scores_of
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import read_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """How a training image is seen: moved by whole pixels, brighter or darker, perhaps mirrored.

    Attributes:
        shift: pixels by which it is moved at most, to each side.
        light: share by which it is brighter or darker at most.
        mirror: left and right change places with probability 1/2 (not for digits).
        crop: height and width that are cut out of it; all of it by default.
    """

    shift: int = 8
    light: float = 0.2
    mirror: bool = False
    crop: tuple[int, int] | None = None


PLAIN = Seen()


@dataclass(frozen=True)
class Segment:
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
        width: of the network.
    """

    training: Training
    selector: str = "random"
    budget: Budget | None = None
    threshold: float = 0.3
    fill: float = 1.0
    seen: Seen = PLAIN
    rare: float = 0.0
    width: int = 32

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The selector's."""
        return equations_of(self.selector)


@steps_through(fit)
def segment(config: Segment, ctx: Context) -> Outcome:
    """Choose, pay, train and score."""
    opened: OpenedScenes = ctx.data
    scenes, places = opened.pool, opened.places(ctx.seed)
    bought = places
    if config.budget is not None:
        view = seen_by_selectors(config, ctx)
        seed = derive_seed(ctx.seed, "selector") % 2**31
        order = chosen(config.selector, view, config.budget, seed)
        bought = places[paid(view.truth, order, config.budget)]
    model = new_segmenter(len(scenes.classes) + 1, config.width, ctx.seed)
    start_from(model, first_weights(ctx))
    done = trained(model, scenes.part(bought), config, ctx)
    metrics = scored(opened, done.model, places, ctx.device) | costs(scenes, bought)
    return Outcome(metrics, done.seconds, done.samples, peak_memory_mb=done.peak_memory_mb)


def seen_by_selectors(config: Segment, ctx: Context) -> Drawn:
    """What the selectors see, with pixels of proposals: their masks', or a share of their boxes."""
    view = drawn(ctx, config.threshold)
    with np.load(left_by(ctx, PROPOSALS)) as file:
        box = file["box"]
        area = file["area"] if "area" in file else config.fill * box[:, 2] * box[:, 3]
    pool = view.proposals
    return replace(view, proposals=replace(pool, area=area[pool.row].astype(np.float32)))


def new_segmenter(values: int, width: int, seed: int) -> Segmenter:
    """The same weights for every arm of a seed."""
    torch.manual_seed(derive_seed(seed, "initialise"))
    return Segmenter(values, width)


def first_weights(ctx: Context) -> Mapping[str, Tensor]:
    """Of the proposer: of the arm that this one starts from, or those that come along."""
    for start in ctx.starts:
        if (start.folder / WEIGHTS).is_file():
            return read_weights(start.folder / WEIGHTS)
    return digits().model.state_dict()


def start_from(model: Segmenter, weights: Mapping[str, Tensor]) -> None:
    """Take over all weights of these names and shapes: of another detector or segmenter."""
    own = model.state_dict()
    same = {n: w.float() for n, w in weights.items() if n in own and own[n].shape == w.shape}
    model.load_state_dict({**own, **same})


def trained(model: Segmenter, scenes: Scenes, config: Any, ctx: Context) -> Trained:
    """A segmenter, trained on all of these images.

    Args:
        config: with `training`, `seen` and `rare`.
    """
    weights = class_weights(scenes.label_maps, model.score[-1].out_channels, config.rare)
    if weights is not None:
        weights = weights.to(ctx.device)
    return fit(
        model, lambda model, batch: model.loss(*batch, weights),
        batches(scenes.images, scenes.label_maps, config.training.batch_size, config.seen),
        config.training, derive_seed(ctx.seed, "training"), ctx.device,
        ctx.folder / "checkpoints", ctx.key, ctx.label,
    )  # fmt: skip


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
    images: Bytes, maps: Bytes, size: int, seen: Seen
) -> Callable[[np.random.Generator], tuple[Tensor, Tensor]]:
    """Draws images at random, each seen a little differently, with their label maps.

    Raises:
        ValueError: no image.
    """
    if not len(images):
        raise ValueError("no image is annotated")

    def draw(generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        pictures, labels = [], []
        for place in generator.integers(len(images), size=size):
            picture, label = viewed(images[place], maps[place], seen, generator)
            pictures.append(picture)
            labels.append(label)
        light = torch.from_numpy(generator.uniform(1 - seen.light, 1 + seen.light, size)).float()
        x = (as_tensor(np.stack(pictures)) * light[:, None, None, None]).clamp(max=1)
        return x, torch.from_numpy(np.stack(labels)).long()

    return draw


def viewed(
    image: Bytes, label: Bytes, seen: Seen, generator: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """An image and its label map, moved, cut and perhaps mirrored; what comes in has no label."""
    if seen.crop is not None:
        height, width = seen.crop
        top = int(generator.integers(image.shape[0] - height + 1))
        left = int(generator.integers(image.shape[1] - width + 1))
        window = (slice(top, top + height), slice(left, left + width))
        image, label = image[window], label[window]
    if seen.shift:
        right, down = generator.integers(-seen.shift, seen.shift + 1, 2).tolist()
        inside = np.zeros(label.shape, bool)
        rows, columns = label.shape
        inside[max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = True
        label = np.where(inside, shifted(label, right, down), IGNORED).astype(np.uint8)
        image = shifted(image, right, down)
    if seen.mirror and generator.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    return image, label


def scored(opened: OpenedScenes, model: Segmenter, places: Any, device: str) -> dict[str, float]:
    """mIoU on the test set, of all values and of the classes that are rare in the pool."""
    test, part = opened.test, opened.pool.part(places)
    values = len(test.classes) + 1
    found, _ = label_maps(model, test.images, device)
    result = scores_of(confusion_matrix(found, test.label_maps, values, IGNORED))
    metrics = {"miou": result.miou}
    for name, iou in zip(("background", *test.classes), result.iou, strict=True):
        if iou == iou:
            metrics[f"iou/{name}"] = iou
    rare = [result.iou[1 + label] for label in opened.rare(part)]
    if rare:
        metrics["rare_miou"] = float(np.nanmean(rare))
    return metrics
