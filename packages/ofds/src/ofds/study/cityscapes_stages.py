"""Segmentation on Cityscapes at the paper's scale: choose, pay, train a network of torchvision.

The paper's abstract names the data set and the task; network, budgets and schedule are ours. It
needs a GPU and has not been run; its smoke scale runs in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ofds.method.budget import Budget
from ofds.method.objects import Pool
from ofds.rivals.proposals import at_random
from ofds.study.cityscapes import CLASSES, OpenedFrames
from ofds.study.selectors import chosen
from ofds.study.stages import Chosen
from ofds.study.world import Drawn
from ofds.train import Training, fit
from repro_shared.datasets.label_maps import LabelMapFolder
from repro_shared.datasets.label_values import IGNORED
from repro_shared.metrics.segmentation import confusion_matrix
from repro_shared.metrics.segmentation import scores as scores_of
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import load_strictly, read_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's ImageNet weights
THREADS = 8  # that read frames


@dataclass(frozen=True)
class SegmentFrames(Chosen):
    """A network of torchvision, trained on what was bought.

    Attributes:
        training: how.
        selector: a name of `SELECTORS`.
        share: of the labelled pixels of all frames that are paid for; 1 for all.
        network: of `torchvision.models.segmentation`.
        crop: height and width of a training crop.
        zoom: smallest and largest factor by which frames are scaled before.
    """

    training: Training
    selector: str = "random"
    share: float = 1.0
    network: str = "deeplabv3_resnet50"
    crop: tuple[int, int] = (512, 1024)
    zoom: tuple[float, float] = (0.5, 2.0)


@steps_through(chosen)
def segment_frames(config: SegmentFrames, ctx: Context) -> Outcome:
    """Choose, pay by true pixels, train and score."""
    opened: OpenedFrames = ctx.data
    frames, pool = opened.train, opened.pool
    place = {name: number for number, name in enumerate(frames.names)}
    pixels = np.zeros(len(frames))
    with Progress(len(frames), "labelled pixels counted") as progress:
        for number, (_, labels) in enumerate(frames, start=1):
            pixels[number - 1] = (labels != IGNORED).sum()
            progress.update(number)
    order = ordered(config, pool, derive_seed(ctx.seed, "selector") % 2**31)
    left, bought = max(1.0, config.share * pixels.sum()), list[int]()
    for image in (place[pool.images[image]] for image in order):
        if pixels[image] <= left + 0.5:
            left -= pixels[image]
            bought.append(image)
    if not bought:
        raise UserError("the budget pays for no frame")
    model = network(config, opened.weights, ctx.seed)
    done = fit(
        model, _loss, _batches(frames, bought, config), config.training,
        derive_seed(ctx.seed, "training"), ctx.device, ctx.folder / "checkpoints", ctx.key,
        ctx.label,
    )  # fmt: skip
    metrics = {"images": float(len(bought)), "pixels": float(pixels[bought].sum())}
    return Outcome(
        metrics | _scored(done.model, opened.val, ctx.device), done.seconds, done.samples,
        peak_memory_mb=done.peak_memory_mb,
    )  # fmt: skip


def ordered(config: SegmentFrames, pool: Pool, seed: int) -> list[int]:
    """All images of the pool as a selector would have them annotated, each once.

    A frame is paid for by its labelled pixels, which are nearly all of it and not known before. So
    selectors plan by frames' size: all have one size, and the share of the pixels is one of frames.
    Those that a selector has no order for follow at random, so that all spend the same.
    """
    budget = Budget(max(1.0, config.share * len(pool.images)), "images")
    means = _image_features(pool)
    view = Drawn(pool, pool, means, means[:0], np.zeros(0, np.int64))
    order = chosen(config.selector, view, budget, seed) + at_random(pool, seed)
    return list(dict.fromkeys(order))


def _image_features(pool: Pool) -> NDArray[np.float32]:
    """Mean of the features of what is proposed on each image, for selectors by image."""
    rows = np.asarray(pool.features[pool.row], np.float32)
    found = np.zeros((len(pool.images), rows.shape[1]), np.float32)
    np.add.at(found, pool.image, rows)
    count = np.maximum(np.bincount(pool.image, minlength=len(found)), 1)
    return found / count.astype(np.float32)[:, None]


def network(config: SegmentFrames, weights: Path | None, seed: int) -> nn.Module:
    """torchvision's network with a pretrained trunk; the same for every arm of a seed."""
    from torchvision.models import segmentation

    torch.manual_seed(derive_seed(seed, "initialise"))
    make = getattr(segmentation, config.network)
    model: nn.Module = make(weights=None, weights_backbone=None, num_classes=len(CLASSES))
    if weights is not None:
        state = read_weights(weights)
        trunk = {name: value for name, value in state.items() if not name.startswith("fc.")}
        load_strictly(model.backbone, trunk, str(weights))  # type: ignore[arg-type]
    return model


def _normal(pixels: NDArray[np.uint8]) -> Tensor:
    """(3, h, w) of bytes (h, w, 3), as torchvision's weights expect them."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    images, labels = batch
    return functional.cross_entropy(model(images)["out"].float(), labels, ignore_index=IGNORED)


def _batches(
    frames: LabelMapFolder, bought: list[int], config: SegmentFrames
) -> Callable[[np.random.Generator], tuple[Tensor, Tensor]]:
    """Draws frames at random, each scaled, cut and perhaps mirrored."""
    height, width = config.crop
    pool = ThreadPoolExecutor(THREADS)

    def view(item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        place, seed = item
        generator = np.random.default_rng(seed)
        image, labels = frames[place]
        zoom = generator.uniform(*config.zoom)
        size = (max(height, round(image.shape[0] * zoom)), max(width, round(image.shape[1] * zoom)))
        x = functional.interpolate(_normal(image)[None], size, mode="bilinear")[0]
        y = functional.interpolate(torch.from_numpy(labels)[None, None].float(), size)[0, 0].long()
        top = int(generator.integers(size[0] - height + 1))
        left = int(generator.integers(size[1] - width + 1))
        x, y = (z[..., top : top + height, left : left + width] for z in (x, y))
        return (x.flip(-1), y.flip(-1)) if generator.random() < 0.5 else (x, y)

    def draw(generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        size = config.training.batch_size
        places = [bought[n] for n in generator.integers(len(bought), size=size)]
        seeds = generator.integers(2**31, size=size).tolist()
        pairs = list(pool.map(view, zip(places, seeds, strict=True)))
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    return draw


@torch.inference_mode()
def _scored(model: nn.Module, frames: LabelMapFolder, device: str) -> dict[str, float]:
    """mIoU of whole frames, and of each class that occurs."""
    total = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    with Progress(len(frames), "frames scored") as progress:
        for number, (image, labels) in enumerate(frames, start=1):
            found = model(_normal(image)[None].to(device))["out"].argmax(dim=1)[0].cpu()
            total += confusion_matrix(found, torch.from_numpy(labels), len(CLASSES), IGNORED)
            progress.update(number)
    result = scores_of(total)
    by_class = {f"iou/{n}": v for n, v in zip(CLASSES, result.iou, strict=True) if v == v}
    return {"miou": result.miou, **by_class}
