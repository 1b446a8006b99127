"""The stages of an experiment: train (densely or routed), convert, fine-tune, transfer, ask."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor

import amod
from amod.method.flops import Shape, dense_macs, routed_macs
from amod.method.importance import auc, leave_one_out, pearson, ranked_by, spearman
from amod.rivals.baselines import cut_depth
from amod.study.recipes import Arm, Data, Network, Recipe
from amod.train import Job, Outcome, train
from amod.use.accuracy import top_accuracy
from amod.use.data import PLAIN, Arrays, Shift, batches, patch_relevance
from amod.use.schedule import Schedule
from repro_shared.evidence.records import recipe_hash
from repro_shared.runtime.files import atomic_write_bytes, ensure_output_dir
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import derive_seed, seed_everything


@dataclass(frozen=True)
class DenseKey:
    """What decides a dense model; its hash is kept with the weights."""

    data: Data
    network: Network
    dense: Schedule


@dataclass(frozen=True)
class Run:
    """One record to be made.

    Attributes:
        name: its arm in the records.
        arms: what is made of the dense model, or trained from its start: one for each capacity of a
            conversion, else one.
        schedule: the arm's own training, if it has one.
        transferred: it trains on the recipe's target.
        pictures: how many test pictures leave-one-out importance looks at, the first ones.
    """

    name: str
    arms: tuple[Arm, ...] = ()
    schedule: Schedule | None = None
    transferred: bool = False
    pictures: int = 0


@dataclass
class Experiment:
    """An open recipe: pictures in memory, folders checked."""

    recipe: Recipe
    out: Path
    device: str
    train: Arrays
    test: Arrays
    target_train: Arrays | None = None
    target_test: Arrays | None = None

    @property
    def key(self) -> str:
        """Hash of the recipe, of whatever seeds: what all records of one set share."""
        return recipe_hash(replace(self.recipe, seeds=()))

    def fingerprint(self, run: Run) -> str:
        """Of the training and test pictures of a run."""
        parts = [self.train, self.test]
        if run.transferred:
            parts += [part for part in (self.target_train, self.target_test) if part]
        return "+".join(part.fingerprint()[:32] for part in parts)

    def work(self, arm: str, seed: int) -> Path:
        """Checkpoints and dense weights of a run; not evidence, safe to delete."""
        return self.out / "work" / self.recipe.name / arm / f"seed-{seed}"


@dataclass
class Result:
    """What a stage found, for the record."""

    metrics: dict[str, float]
    macs: int | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    samples: int = 0
    peak_memory_mb: float = 0.0


def dense(experiment: Experiment, run: Run, seed: int) -> Result:
    """Train the dense model from scratch and keep its weights for the other stages."""
    recipe = experiment.recipe
    seed_everything(derive_seed(seed, "initialise"))
    job = _job(experiment, new_model(recipe.network), recipe.dense, seed, run)
    outcome = train(replace(job, evaluate_every=max(1, recipe.dense.steps // 5)))
    weights = {k: v.contiguous().cpu() for k, v in outcome.model.state_dict().items()}
    path = dense_path(experiment, seed)
    ensure_output_dir(path.parent)
    atomic_write_bytes(path, safetensors.torch.save(weights, {"key": _dense_key(experiment)}))
    return _result(experiment, outcome, dense_macs(recipe.network.shape), seed, run)


def convert(experiment: Experiment, run: Run, seed: int) -> Result:
    """Accuracy right after conversion, for each capacity (the paper's table 3)."""
    test, device = experiment.test, experiment.device
    whole = top_accuracy(dense_model(experiment, seed).to(device), batches(test))[0]
    metrics = {}
    for arm in run.arms:
        model = build(arm, dense_model(experiment, seed), seed).to(device)
        found = top_accuracy(model, batches(test))[0]
        metrics[f"accuracy/{arm.capacity:g}"] = found
        metrics[f"retained/{arm.capacity:g}"] = 100 * found / whole if whole else 0.0
    return Result(metrics)


def oracle(experiment: Experiment, run: Run, seed: int) -> Result:
    """Conversion that keeps the tokens of largest leave-one-out importance: it knows the labels.

    On the run's pictures only; `dense` and `attention/...` are the accuracies on the same ones.
    """
    model = build(run.arms[0], dense_model(experiment, seed), seed).to(experiment.device)
    images, targets = _first_pictures(experiment, run)

    def right() -> float:
        with torch.inference_mode():
            return 100 * float((model(images).argmax(dim=1) == targets).double().mean())

    amod.set_capacity(model, 1.0)
    rises, _ = leave_one_out(model.eval(), images, targets)
    metrics = {"pictures": float(len(images)), "dense": right()}
    for arm in run.arms:
        amod.set_capacity(model, arm.capacity)
        metrics[f"attention/{arm.capacity:g}"] = right()
        with ranked_by(model, rises):
            metrics[f"accuracy/{arm.capacity:g}"] = right()
    return Result(metrics)


def scratch(experiment: Experiment, run: Run, seed: int) -> Result:
    """The dense model's training, from the same start, routed from the first step on."""
    (arm,) = run.arms
    recipe = experiment.recipe
    seed_everything(derive_seed(seed, "initialise"))
    model = build(arm, new_model(recipe.network), seed)
    outcome = train(_job(experiment, model, recipe.dense, seed, run))
    return _result(experiment, outcome, macs(arm, recipe.network.shape), seed, run)


def finetune(experiment: Experiment, run: Run, seed: int) -> Result:
    """Equal steps for every arm, from the same dense weights, in the same data order."""
    (arm,) = run.arms
    assert run.schedule is not None
    model = build(arm, dense_model(experiment, seed), seed)
    outcome = train(_job(experiment, model, run.schedule, seed, run))
    found = _result(experiment, outcome, macs(arm, experiment.recipe.network.shape), seed, run)
    if run.pictures:
        found.metrics |= agreement(experiment, run, outcome.model, seed)
    return found


def transfer(experiment: Experiment, run: Run, seed: int) -> Result:
    """Other classes, few pictures: accuracy every quarter of an epoch (figure 4)."""
    (arm,) = run.arms
    source, test = experiment.target_train, experiment.target_test
    assert run.schedule is not None
    assert source is not None
    model = build(arm, dense_model(experiment, seed), seed)
    seed_everything(derive_seed(seed, "head"))
    model.reset_classifier(len(source.classes))
    job = _job(experiment, model, run.schedule, seed, run)
    quarter = max(1, len(source) // run.schedule.batch_size // 4)
    outcome = train(replace(job, train=source, test=test, evaluate_every=quarter))
    shape = replace(experiment.recipe.network.shape, classes=len(source.classes))
    found = _result(experiment, outcome, macs(arm, shape), seed, run)
    points = [point["accuracy"] for point in outcome.curve]
    found.metrics["area"] = sum(points) / len(points)
    return found


def importance(experiment: Experiment, run: Run, seed: int) -> Result:
    """Does the ranking agree with leave-one-out importance in the dense model (figure 7)?"""
    (arm,) = run.arms
    model = build(arm, dense_model(experiment, seed), seed).to(experiment.device)
    return Result(agreement(experiment, run, model, seed))


def agreement(experiment: Experiment, run: Run, model: Any, seed: int) -> dict[str, float]:
    """Rank correlation of ranking and importance, and how well the ranking finds the digit.

    Returns:
        `spearman`, mean over images and routed blocks; `pearson`, of image means, mean over blocks;
        both by block too; `auc`, where the relevant patches are known.
    """
    test = experiment.test
    images, targets = _first_pictures(experiment, run)
    seed_everything(derive_seed(seed, "importance"))
    rises, rankings = leave_one_out(model.eval(), images, targets)
    ranks = {i: float(spearman(rankings[i], rises[i]).mean()) for i in rises}
    means = {i: float(pearson(rankings[i].mean(0)[None], rises[i].mean(0)[None])) for i in rises}
    metrics = {"spearman": _mean(ranks), "pearson": _mean(means)}
    metrics |= {f"spearman/{i}": value for i, value in ranks.items()}
    metrics |= {f"pearson/{i}": value for i, value in means.items()}
    if test.masks is not None:
        patches = patch_relevance(test.masks[: len(images)], experiment.recipe.network.patch_size)
        relevant = torch.from_numpy(patches)
        found = {i: float(auc(r[:, 1:].cpu(), relevant).mean()) for i, r in rankings.items()}
        metrics |= {"auc": _mean(found), **{f"auc/{i}": value for i, value in found.items()}}
    return metrics


def _first_pictures(experiment: Experiment, run: Run) -> tuple[Tensor, Tensor]:
    test, device = experiment.test, experiment.device
    count = min(run.pictures, len(test))
    images = torch.stack([PLAIN(test[i][0], 0) for i in range(count)])
    return images.to(device), torch.from_numpy(test.targets[:count]).to(device)


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


def build(arm: Arm, model: Any, seed: int) -> Any:
    """Make an arm's model of the dense one; a learned router's start depends on the seed alone."""
    if arm.layers:
        return cut_depth(model, arm.layers, arm.keep)
    seed_everything(derive_seed(seed, "router"))
    return amod.convert(
        model,
        capacity=arm.capacity,
        first=arm.first,
        router=CONTROLS.get(arm.router, arm.router),
        score=arm.score,
        protect_prefix=arm.protect_prefix,
        k_align=arm.k_align,
    )


def macs(arm: Arm, shape: Shape) -> int:
    """Cost of an arm's forward pass."""
    if arm.layers:
        return dense_macs(replace(shape, depth=arm.layers))
    linear = arm.router.startswith("linear")
    return routed_macs(shape, arm.capacity, first=arm.first, linear_router=linear)


def dense_path(experiment: Experiment, seed: int) -> Path:
    """Where the dense model's weights lie."""
    return experiment.work("dense", seed) / "model.safetensors"


def dense_model(experiment: Experiment, seed: int) -> Any:
    """The dense model of this seed, trained again if its weights are gone or of another recipe."""
    path = dense_path(experiment, seed)
    if _key_of(path) != _dense_key(experiment):
        say(f"{experiment.recipe.name} seed {seed}: training the dense model")
        dense(experiment, Run("dense"), seed)
    model = new_model(experiment.recipe.network)
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval()


def _dense_key(experiment: Experiment) -> str:
    recipe = experiment.recipe
    key = recipe_hash(DenseKey(recipe.data, recipe.network, recipe.dense))
    return f"{key}/{amod.METHOD_VERSION}/{experiment.fingerprint(Run('dense'))}"


def _key_of(path: Path) -> str:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get("key"))
    except (OSError, safetensors.SafetensorError):
        return ""


def _job(experiment: Experiment, model: Any, schedule: Schedule, seed: int, run: Run) -> Job:
    data = experiment.recipe.data
    identity = (experiment.key, run.name, amod.METHOD_VERSION, experiment.fingerprint(run), seed)
    return Job(
        model=model,
        train=experiment.train,
        test=experiment.test,
        schedule=schedule,
        seed=seed,
        view=Shift(data.shift, data.mirror),
        directory=experiment.work(run.name, seed) / "checkpoints",
        identity="/".join(map(str, identity)),
        device=experiment.device,
        label=f"{run.name} seed {seed}",
    )


def _result(experiment: Experiment, outcome: Outcome, macs: int, seed: int, run: Run) -> Result:
    """The last point of the curve, not the best one; checkpoints are no longer needed."""
    shutil.rmtree(experiment.work(run.name, seed) / "checkpoints", ignore_errors=True)
    metrics = {"accuracy": outcome.curve[-1]["accuracy"], "loss": outcome.curve[-1]["loss"]}
    return Result(
        metrics, macs, outcome.curve, outcome.seconds, outcome.samples, outcome.peak_memory_mb
    )


def _from_another_image(x: Tensor, scores: Tensor) -> Tensor:
    """Each image is routed by its neighbour's scores."""
    return scores.roll(1, dims=0)


def _other_draws(x: Tensor, scores: Tensor) -> Tensor:
    """Random tokens, others than those of the router `random` at the same state."""
    torch.rand(x.shape[:2])
    return torch.rand(x.shape[:2]).to(x.device)


CONTROLS = {"other-image": _from_another_image, "random-again": _other_draws}
"""Routers that are no method, but negative controls."""


def _mean(values: dict[int, float]) -> float:
    return sum(values.values()) / len(values)
