"""The stages: train (densely or routed), take given weights, convert, fine-tune, transfer, ask.

Each is a function of an arm's config and of where it runs. What other arms start from is left as
`model.safetensors` in the run's folder.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform
from torch import Tensor

import amod
from amod.method.flops import shape_of
from amod.method.importance import auc, leave_one_out, pearson, ranked_by, spearman
from amod.rivals.baselines import cut_depth
from amod.rivals.controls import CONTROLS
from amod.study.configs import (
    Converted,
    Crops,
    Dense,
    Finetuned,
    Given,
    Importance,
    Network,
    Oracle,
    Scratch,
    Transferred,
    Variant,
    View,
)
from amod.train import Job, Trainer, train
from amod.train import Outcome as Trained
from amod.use.classes import among
from amod.use.data import patch_relevance
from amod.use.metadata import stored
from amod.use.schedule import Schedule
from amod.use.views import eval_transform
from amod.use.weights import (
    classes_in,
    classes_of,
    create_model,
    fitted,
    is_router,
    load_state,
    load_weights,
)
from repro_shared.datasets import views
from repro_shared.datasets.views import PLAIN, Seeded, batches
from repro_shared.evidence.records import MOST_POINTS
from repro_shared.metrics.classification import top_accuracy
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress, say
from repro_shared.runtime.rng import derive_seed, seed_everything
from repro_shared.runtime.weights import read_weights, save_weights
from repro_shared.study.paper import Context, Outcome, Start
from repro_shared.study.trip import steps_through

MODEL = "model.safetensors"
BEST = "best.safetensors"  # of the evaluation that scored best, where weights are kept


@steps_through(Trainer.step)
def dense(config: Dense, ctx: Context) -> Outcome:
    """Train a dense model from scratch."""
    seed_everything(derive_seed(ctx.seed, "initialise"))
    done = _train(config, ctx, new_model(config.network), PLAIN, config.evaluations)
    save_model(done.model, ctx)
    return _outcome(done, Variant())


@steps_through(load_weights)
def given(config: Given, ctx: Context) -> Outcome:
    """Somebody's weights of a timm model, or random ones; every tensor must fit."""
    settings = dict(config.settings)
    if ctx.data.path is None:
        start = derive_seed(ctx.seed, "initialise")
        state = create_model(config.model, config.classes, start, **settings).state_dict()
    else:
        state = read_weights(ctx.data.path, ctx.data.averaged)
        model = create_model(config.model, classes_of(state), **settings)
        state = fitted(model, state, told=True)
        if not any(map(is_router, state)):
            load_state(model, state, str(ctx.data.path))
    save_weights(state, ctx.folder / MODEL)
    return Outcome({"parameters": float(sum(value.numel() for value in state.values()))})


@steps_through(top_accuracy)
def converted(config: Converted, ctx: Context) -> Outcome:
    """Accuracy right after conversion (the paper's table 3)."""
    model = from_start(config.variant, ctx)
    view = test_view(ctx.starts[0], model)
    loader = batches(ctx.data.test, view, config.batch, ctx.workers)
    scored = among(model.to(ctx.device), ctx.data.test, ctx.data.mapped)
    with Progress(len(loader), f"{ctx.label}, batches") as progress:
        accuracy, top5, pictures = top_accuracy(scored, loader, progress.update)
    return Outcome({"accuracy": accuracy, "top5": top5, "pictures": float(pictures)})


@steps_through(leave_one_out)
def oracle(config: Oracle, ctx: Context) -> Outcome:
    """Conversion that keeps the tokens of largest leave-one-out importance: it knows the labels.

    `dense` and `attention` are the accuracies of the dense model and of the router on the same
    pictures, the first ones of the test set.
    """
    model = from_start(config.variant, ctx).to(ctx.device)
    images, targets = _first_pictures(config.pictures, ctx)

    def right() -> float:
        with torch.inference_mode():
            return 100 * float((model(images).argmax(dim=1) == targets).double().mean())

    amod.set_capacity(model, 1.0)
    rises, _ = leave_one_out(model, images, targets)
    metrics = {"pictures": float(len(images)), "dense": right()}
    amod.set_capacity(model, config.variant.capacity)
    metrics["attention"] = right()
    with ranked_by(model, rises):
        metrics["accuracy"] = right()
    return Outcome(metrics)


@steps_through(leave_one_out)
def importance(config: Importance, ctx: Context) -> Outcome:
    """Does the ranking agree with leave-one-out importance in the dense model (figure 7)?"""
    model = from_start(config.variant, ctx).to(ctx.device)
    return Outcome(agreement(model, config.pictures, ctx))


@steps_through(Trainer.step)
def finetuned(config: Finetuned, ctx: Context) -> Outcome:
    """Train on from the dense weights (tables 1 and 7): equal steps and data order for every arm.

    A classifier of another number of classes is replaced.
    """
    model = from_start(config.variant, ctx)
    if model.num_classes != len(ctx.data.classes):
        say(f"a new classifier of {len(ctx.data.classes)} classes, instead of {model.num_classes}")
        _new_head(model, ctx)
    done = _train(config, ctx, model, test_view(ctx.starts[0], model), config.evaluations)
    found = _outcome(done, config.variant, curve=config.evaluations > 0)
    if config.pictures:
        found.metrics |= agreement(done.model, config.pictures, ctx)
    if config.keep:
        save_model(done.model, ctx)
    return found


@steps_through(Trainer.step)
def transferred(config: Transferred, ctx: Context) -> Outcome:
    """Other classes (tables 4 and 5, figure 4): `area` is the mean accuracy along the curve."""
    model = from_start(config.variant, ctx)
    _new_head(model, ctx)
    done = _train(config, ctx, model, test_view(ctx.starts[0], model), config.evaluations)
    found = _outcome(done, config.variant, curve=True)
    points = [point["accuracy"] for point in done.curve]
    found.metrics["area"] = sum(points) / len(points)
    if config.keep:
        save_model(done.model, ctx)
    return found


@steps_through(Trainer.step)
def scratch(config: Scratch, ctx: Context) -> Outcome:
    """The dense model's training, from the same start, routed from the first step on (table 8)."""
    seed_everything(derive_seed(ctx.seed, "initialise"))
    model = build(config.variant, new_model(config.network), ctx.seed)
    return _outcome(_train(config, ctx, model, PLAIN), config.variant)


def new_model(network: Network) -> Any:
    """A dense ViT from the generators' present state."""
    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=network.image_size,
        patch_size=network.patch_size,
        embed_dim=network.width,
        depth=network.depth,
        num_heads=network.heads,
        num_classes=network.classes,
        weight_init="jax",  # timm's own deviation of 0.02 is far too small for so narrow a model
    )


def build(variant: Variant, model: Any, seed: int) -> Any:
    """Make a variant of a dense model, in place; UserError for settings that cannot work.

    A learned router's start depends on the seed alone.
    """
    try:
        if variant.layers:
            return cut_depth(model, variant.layers, variant.keep)
        seed_everything(derive_seed(seed, "router"))
        return amod.convert(
            model,
            capacity=variant.capacity,
            first=variant.first,
            router=CONTROLS.get(variant.router, variant.router),
            score=variant.score,
            protect_prefix=variant.protect_prefix,
            k_align=variant.k_align,
            every=variant.every,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def from_start(variant: Variant, ctx: Context) -> Any:
    """The variant of the dense model that the run starts from, with its weights, to be scored."""
    (start,) = ctx.starts
    config, path = start.arm.config, start.folder / MODEL
    if isinstance(config, Given):
        model = create_model(config.model, classes_in(path), **dict(config.settings))
    else:
        model = new_model(config.network)
    return with_weights(variant, model, path, ctx.seed)


def with_weights(variant: Variant, model: Any, path: Path | str, seed: int) -> Any:
    """The variant with weights of a file, those of a dense model or of one routed in this way."""
    if variant.layers:
        load_weights(model, path, dense=True)
        return build(variant, model, seed).eval()
    model = build(variant, model, seed)
    load_weights(model, path)
    return model.eval()


def train_view(view: View, model: Any) -> views.View:
    """How training sees its pictures."""
    if not isinstance(view, Crops):
        return view
    config = eval_transform(model)[1]
    kept = {name: config[name] for name in ("input_size", "interpolation", "mean", "std")}
    return Seeded(
        create_transform(
            **kept, is_training=True, hflip=0.5 if view.mirror else 0.0, color_jitter=0.0
        )
    )


def test_view(start: Start, model: Any) -> views.View:
    """How pictures are scored: timm's way for its own models."""
    return Seeded(eval_transform(model)[0]) if isinstance(start.arm.config, Given) else PLAIN


def agreement(model: Any, pictures: int, ctx: Context) -> dict[str, float]:
    """Rank correlation of ranking and importance, and how well the ranking finds the digit.

    Returns:
        `spearman`, mean over images and routed blocks; `pearson`, of image means, mean over blocks;
        both by block too; `auc`, where the relevant patches are known.
    """
    images, targets = _first_pictures(pictures, ctx)
    seed_everything(derive_seed(ctx.seed, "importance"))
    rises, rankings = leave_one_out(model.eval(), images, targets)
    ranks = {i: float(spearman(rankings[i], rises[i]).mean()) for i in rises}
    means = {i: float(pearson(rankings[i].mean(0)[None], rises[i].mean(0)[None])) for i in rises}
    metrics = {"spearman": _mean(ranks), "pearson": _mean(means)}
    metrics |= {f"spearman/{i}": value for i, value in ranks.items()}
    metrics |= {f"pearson/{i}": value for i, value in means.items()}
    masks = getattr(ctx.data.test, "masks", None)
    if masks is not None:
        patch = model.patch_embed.patch_size[0]
        relevant = torch.from_numpy(patch_relevance(masks[: len(images)], patch))
        found = {i: float(auc(r[:, 1:].cpu(), relevant).mean()) for i, r in rankings.items()}
        metrics |= {"auc": _mean(found), **{f"auc/{i}": value for i, value in found.items()}}
    return metrics


def save_model(model: Any, ctx: Context, name: str = MODEL) -> None:
    """Leave the weights, with the names of the classes and the routing, in the run's folder.

    Of several processes the first one does.
    """
    if processes(ctx.device)[0] == 0:
        save_weights(model, ctx.folder / name, metadata=stored(ctx.data.classes, model))


def _train(
    config: Dense | Finetuned | Scratch,
    ctx: Context,
    model: Any,
    scored: views.View,
    evaluations: int = 0,
) -> Trained:
    """Train to the end, or go on from a checkpoint."""
    schedule: Schedule = config.schedule.resolved(len(ctx.data.train))
    keeps = isinstance(config, Finetuned) and config.keep and config.evaluations > 0
    return train(
        Job(
            model=model,
            train=ctx.data.train,
            test=ctx.data.test,
            schedule=schedule,
            seed=ctx.seed,
            view=train_view(config.view, model),
            test_view=scored,
            directory=ctx.folder / "checkpoints",
            identity=ctx.key,
            evaluate_every=max(1, schedule.steps // evaluations) if evaluations else 0,
            checkpoint_every=max(100, schedule.steps // 20),
            workers=ctx.workers,
            device=ctx.device,
            label=ctx.label,
            best=(lambda model: save_model(model, ctx, BEST)) if keeps else None,
        )
    )


def _outcome(done: Trained, variant: Variant, curve: bool = False) -> Outcome:
    """The last point of the curve, not the best one; of long curves every so many points."""
    last, stride = done.curve[-1], math.ceil(len(done.curve) / MOST_POINTS)
    points = done.curve[::-1][::stride][::-1]
    columns: dict[str, list[float | None]] = {
        "step": [point["step"] for point in points],
        "accuracy": [float(f"{point['accuracy']:.5g}") for point in points],
    }
    try:
        macs = variant.macs(shape_of(done.model))
    except ValueError:  # a model that the closed form does not cover
        macs = None
    return Outcome(
        {"accuracy": last["accuracy"], "loss": last["loss"]},
        done.seconds,
        done.samples,
        macs,
        done.peak_memory_mb,
        columns if curve else {},
    )


def _new_head(model: Any, ctx: Context) -> None:
    seed_everything(derive_seed(ctx.seed, "head"))
    model.reset_classifier(len(ctx.data.classes))


def _first_pictures(pictures: int, ctx: Context) -> tuple[Tensor, Tensor]:
    test = ctx.data.test
    count = min(pictures, len(test))
    images = torch.stack([PLAIN(test[i][0], 0) for i in range(count)])
    return images.to(ctx.device), torch.from_numpy(test.targets[:count]).to(ctx.device)


def _mean(values: dict[int, float]) -> float:
    return sum(values.values()) / len(values)
