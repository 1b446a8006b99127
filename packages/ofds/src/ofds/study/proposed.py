"""What comes before any choice: a proposer over the pool, and features of what it found.

A proposer that was trained on scenes of another style runs over the whole pool once; its proposals,
the true objects and the images are described once by EfficientNet-Lite0's ImageNet features. All
seeds share both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ofds.method.objects import Pool, make_pool
from ofds.study.annotations import Annotations, batches, by_people
from ofds.study.scenes import OpenedScenes, Scenes
from ofds.study.world import Drawn
from ofds.train import Trained, Training, fit
from ofds.use.dataset import Objects
from ofds.use.matching import match
from ofds.use.nets.centre_point import CentrePoint
from ofds.use.nets.committed import DIGITS, digits
from ofds.use.nets.detector import Detections, as_tensor, columns
from ofds.use.nets.lite0 import WIDTH, lite0
from ofds.use.proposers.crops import SIDE, cut
from ofds.use.proposers.keep import kept
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

WEIGHTS = "model.safetensors"
PROPOSALS, TRUE, WHOLE = "proposals.npz", "true.npy", "whole.npy"
THRESHOLD = 0.35  # score of the proposals that images are chosen by
KEPT, OVERLAP, MOST = 0.15, 0.6, 60  # lowest score of a proposal, overlap of doubles, an image's


@dataclass(frozen=True)
class Propose:
    """A detector over the whole pool.

    Attributes:
        sha256: of the committed weights; those of the arm that it starts from, if there is one.
        threshold: score at which recall and precision are reported.
    """

    sha256: str = DIGITS
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Describe:
    """Features of proposals, of true objects (for the oracle) and of whole images."""

    network: str = "EfficientNet-Lite0"


@dataclass(frozen=True)
class Proposer:
    """The training of the proposer, on scenes of another style."""

    training: Training
    width: int = 32

    @property
    def steps(self) -> int:
        """For the plan."""
        return self.training.steps


@steps_through(fit)
def proposer(config: Proposer, ctx: Context) -> Outcome:
    """Train the proposer on its own scenes; its weights are rounded to float16."""
    scenes: Scenes = ctx.data.pool
    everything = by_people(scenes, np.arange(len(scenes)))
    model = new_detector(len(scenes.classes), config.width, ctx.seed)
    done = trained(model, scenes, everything, config.training, ctx)
    digest = save_weights(done.model, ctx.folder / WEIGHTS, half=True)
    metrics = {"loss": done.losses[-1]}
    return Outcome(metrics, done.seconds, done.samples, notes=f"weights sha256 {digest}")


@steps_through(CentrePoint.detect)
def propose(config: Propose, ctx: Context) -> Outcome:
    """Run the proposer over the pool; what it finds and misses is recorded by class."""
    scenes: Scenes = ctx.data.pool
    if ctx.starts:
        model = new_detector(len(scenes.classes), ctx.starts[0].arm.config.width, 0)
        path = ctx.starts[0].folder / WEIGHTS
        load_strictly(model, read_weights(path), str(path))
    else:
        model = digits().model
    found = proposed_on(model, scenes.images, ctx.device)
    np.savez(
        ctx.folder / PROPOSALS,
        image=found.image, label=found.label, score=found.score, box=found.box,
    )  # fmt: skip
    return Outcome(quality(scenes, found.where(found.score >= config.threshold)))


@torch.inference_mode()
def proposed_on(model: CentrePoint, images: NDArray[np.uint8], device: str) -> Detections:
    """Proposals: as `ofds propose` keeps them, one class a box, and no doubles."""
    model.to(device).eval()
    parts = list[dict[str, torch.Tensor]]()
    for start in range(0, len(images), 32):
        for each in model.detect(as_tensor(images[start : start + 32]).to(device)):
            edges, scores = (each[name].cpu() for name in ("boxes", "class_scores"))
            place, label, score = kept(edges.numpy(), scores.numpy(), KEPT, OVERLAP, MOST)
            parts.append({
                "boxes": edges[place], "labels": torch.from_numpy(label),
                "scores": torch.from_numpy(score),
            })  # fmt: skip
    return columns(parts)


def quality(scenes: Scenes, found: Detections) -> dict[str, float]:
    """Recall and precision in percent, of all classes and of each, at an overlap of 0.5."""
    true, seen = _objects(scenes), _objects(found)
    hit, right = match(true, seen)[0] >= 0, match(seen, true)[0] >= 0
    kinds = {"recall": (hit, scenes.label), "precision": (right, found.label)}
    parts = {kind: flags for kind, (flags, _) in kinds.items()}
    for label, name in enumerate(scenes.classes):
        parts |= {f"{kind}/{name}": flags[of == label] for kind, (flags, of) in kinds.items()}
    return {name: 100 * float(flags.mean()) for name, flags in parts.items() if len(flags)}


def _objects(columns: Any) -> Objects:
    """Columns in the form that is matched."""
    n, box = len(columns.image), np.asarray(columns.box, np.float64)
    return Objects(
        columns.image, columns.label, np.ones(n), box, box[:, 2] * box[:, 3], np.zeros(n, bool),
        np.arange(n), (), (),
    )  # fmt: skip


@steps_through(lite0)
def describe(config: Describe, ctx: Context) -> Outcome:
    """Features of crops, once for all seeds."""
    scenes: Scenes = ctx.data.pool
    found = proposals(ctx)
    every = np.array([[0, 0, *scenes.images.shape[2:0:-1]]] * len(scenes), np.float32)
    work = {
        "proposals.npy": (found.image, found.box),
        TRUE: (scenes.image, scenes.box),
        WHOLE: (np.arange(len(scenes)), every),
    }
    network = lite0().to(ctx.device)
    for name, (image, box) in work.items():
        np.save(ctx.folder / name, features(network, scenes.images, image, box, ctx))
    return Outcome({name.split(".")[0]: float(len(each[0])) for name, each in work.items()})


@torch.inference_mode()
def features(
    network: Any, images: NDArray[np.uint8], image: Any, box: Any, ctx: Context
) -> NDArray[np.float16]:
    """Of boxes (n, 4) on images, each with a little around it, (n, 1280), of length 1."""
    found = np.zeros((len(box), WIDTH), np.float16)
    with Progress(len(box), f"{ctx.label}: features") as progress:
        for start in range(0, len(box), 64):
            part = slice(start, start + 64)
            edges = np.concatenate([box[part, :2], box[part, :2] + box[part, 2:]], axis=1)
            crops = [cut(images[i], own, SIDE) for i, own in zip(image[part], edges, strict=True)]
            x = as_tensor(np.stack(crops)).to(ctx.device)
            found[part] = functional.normalize(network(x)).cpu().numpy()
            progress.update(min(start + 64, len(box)))
    return found


def proposals(ctx: Context) -> Detections:
    """Of the whole pool, as the arm `propose` left them."""
    with np.load(left_by(ctx, PROPOSALS)) as file:
        return Detections(file["image"], file["label"], file["score"], file["box"])


def left_by(ctx: Context, name: str) -> Path:
    """A file that an arm which this one starts from has left."""
    return next(s.folder / name for s in ctx.starts if (s.folder / name).is_file())


def drawn(ctx: Context, threshold: float) -> Drawn:
    """What the selectors see of the part of the pool that is this seed's."""
    opened: OpenedScenes = ctx.data
    scenes, places, found = opened.pool, opened.places(ctx.seed), proposals(ctx)
    names = [scenes.names[place] for place in places]

    def pool(columns: Any, area: Any, score: Any, file: str) -> Pool:
        have = np.flatnonzero(np.isin(columns.image, places) & (score >= threshold))
        return make_pool(
            names, scenes.classes, [scenes.names[i] for i in columns.image[have]],
            columns.label[have], score[have], columns.box[have], area[have],
            np.load(left_by(ctx, file), mmap_mode="r"), have,
        )  # fmt: skip

    whole = np.asarray(np.load(left_by(ctx, WHOLE))[places], np.float32)
    none = np.zeros((0, whole.shape[1]), np.float32)
    return Drawn(
        pool(found, found.box[:, 2] * found.box[:, 3], found.score, "proposals.npy"),
        pool(scenes, scenes.area, np.ones(len(scenes.image)), TRUE),
        whole, none, np.zeros(0, np.int64),
    )  # fmt: skip


def new_detector(classes: int, width: int, seed: int) -> CentrePoint:
    """The same weights for every arm of a seed."""
    torch.manual_seed(derive_seed(seed, "initialise"))
    return CentrePoint(classes, width)


def trained(
    model: Any, scenes: Scenes, labels: Annotations, training: Training, ctx: Context,
    sure: float = 0.0, weight: float = 1.0,
) -> Trained:  # fmt: skip
    """A detector, trained on annotated images."""
    return fit(
        model, lambda model, batch: model.loss(*batch),
        batches(scenes, labels, training.batch_size, sure, weight),
        training, derive_seed(ctx.seed, "training"), ctx.device,
        ctx.folder / "checkpoints", ctx.key, ctx.label,
    )  # fmt: skip
