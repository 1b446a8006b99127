"""`amod train`: fine-tune or transfer a timm model, routed or dense, on class folders."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from timm.data import create_transform

from amod import METHOD_VERSION
from amod.data import random_view
from amod.folders import ClassFolder, check_same_classes, eval_transform
from amod.model import PRESETS, convert
from amod.schedule import Schedule
from amod.training import Job, processes, train
from amod.weights import classes_in, create_model, load_weights
from repro_shared.evidence.records import recipe_hash
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_bytes,
    atomic_write_json,
    ensure_output_dir,
    sha256_file,
)
from repro_shared.runtime.rng import derive_seed, seed_everything

Kind = Literal["finetune", "transfer"]


def paper_schedule(kind: Kind, images: int) -> Schedule:
    """The paper's trainings (arXiv 2412.20875, section 4), in steps for a set of `images`.

    finetune (table 1): AdamW, 100 epochs, batch 128, rate 1e-5, warm-up, cosine. transfer (tables 4
    and 5): SGD, 200 epochs, batch 64, rate 0.01, cosine. Ours, since the paper gives none: warm-up
    of 5 % and weight decay 0.05 for AdamW, no warm-up and no decay for SGD.
    """
    if kind == "finetune":
        return Schedule(_steps(100, images, 128), 128, "adamw", 1e-5, warmup=0.05)
    return Schedule(_steps(200, images, 64), 64, "sgd", 0.01, warmup=0.0, weight_decay=0.0)


def _steps(epochs: float, images: int, batch: int) -> int:
    return max(1, round(epochs * images / batch))


def train_own(
    kind: Kind,
    model: str,
    weights: str | None,
    data: str,
    out: str,
    *,
    capacity: float = 0.5,
    router: str = "attention",
    preset: str = "paper",
    epochs: float | None = None,
    changes: dict[str, Any] | None = None,
    mirror: bool = True,
    evaluations: int = 10,
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
    model_kwargs: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Train on `data/train`, score on `data/val` (or `test`), write weights and a log.

    Args:
        kind: which of the paper's schedules is the default.
        model: a timm model name.
        weights: its checkpoint; a classifier of other classes is replaced. None: random weights.
        data: holds train/ and val/ or test/, class folders in each.
        out: output folder; a killed run goes on from its checkpoint there.
        capacity: of the routed blocks; 1 trains the dense model.
        router, preset: of `amod.convert`.
        epochs: instead of the paper's.
        changes: fields of `Schedule` that differ.
        mirror: whether training may mirror pictures.
        evaluations: how often accuracy is measured.
        seed: of data order, views and new weights.
        workers: loading processes; device: cpu or cuda.
        model_kwargs: settings for `timm.create_model`, e.g. a smaller width.

    Returns:
        The log that is written to `out/log.json`.

    Raises:
        UserError: what is wrong with data, weights, settings or folders.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    source = ClassFolder(data, "train")
    held_out = ClassFolder(data, "val" if (Path(data) / "val").is_dir() else "test")
    check_same_classes(source, held_out)
    folder = ensure_output_dir(out)
    schedule = paper_schedule(kind, len(source))
    schedule = replace(schedule, **(changes or {}))
    if epochs is not None:
        schedule = replace(schedule, steps=_steps(epochs, len(source), schedule.batch_size))
    network = _network(model, weights, len(source.classes), seed, model_kwargs or {})
    test_transform, config = eval_transform(network)
    training_transform = create_transform(
        **{key: config[key] for key in ("input_size", "interpolation", "mean", "std")},
        is_training=True,
        hflip=0.5 if mirror else 0.0,
        color_jitter=0.0,
    )
    if capacity < 1 or router != "attention":
        try:
            network = convert(network, capacity=capacity, router=router, **PRESETS[preset])
        except ValueError as error:
            raise UserError(str(error)) from error
    settings = {
        "kind": kind, "model": model, "capacity": capacity, "router": router, "preset": preset,
        "weights_sha256": sha256_file(weights) if weights else None, "seed": seed,
        "mirror": mirror, "train": source.fingerprint(), "test": held_out.fingerprint(),
        "method_version": METHOD_VERSION,
    }  # fmt: skip
    job = Job(
        model=network,
        train=source,
        test=held_out,
        schedule=schedule,
        seed=seed,
        view=random_view(training_transform),
        test_view=random_view(test_transform),
        directory=folder / "checkpoints",
        identity=json.dumps(settings) + recipe_hash(schedule),
        evaluate_every=max(1, schedule.steps // max(1, evaluations)),
        checkpoint_every=max(1, schedule.steps // 20),
        workers=workers,
        device=device,
        label=model,
    )
    outcome = train(job)
    log = {**settings, "schedule": asdict(schedule), "seconds": outcome.seconds,
           "curve": outcome.curve}  # fmt: skip
    if processes()[0] == 0:
        state = {k: v.contiguous().cpu() for k, v in outcome.model.state_dict().items()}
        atomic_write_bytes(folder / "model.safetensors", safetensors.torch.save(state))
        atomic_write_json(folder / "log.json", log)
    return log


def _network(
    model: str, weights: str | None, classes: int, seed: int, model_kwargs: dict[str, int]
) -> Any:
    """The dense model with the user's weights, and a classifier for the user's classes."""
    known = classes_in(weights) if weights else 0
    network = create_model(model, known or classes, **model_kwargs)
    if weights is not None:
        load_weights(network, weights)
    if (known or classes) != classes:
        seed_everything(derive_seed(seed, "head"))
        network.reset_classifier(classes)
    return network
