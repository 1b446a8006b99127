"""`amod train`: fine-tune or transfer a timm model, routed or dense, on class folders."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist
from timm.data import create_transform

from amod import METHOD_VERSION
from amod.method.model import PRESETS, check_model, convert
from amod.rivals.baselines import cut_depth
from amod.train import Job, train
from amod.use.schedule import Schedule
from amod.use.views import eval_transform
from amod.use.weights import check_preset, classes_in, create_model, load_weights
from repro_shared.datasets.class_folders import ClassFolder, check_same_classes
from repro_shared.datasets.views import Seeded, View
from repro_shared.runtime.checks import check_device
from repro_shared.runtime.distributed import from_first, processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, ensure_output_dir, sha256_file
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import derive_seed, isolated_rng, seed_everything
from repro_shared.runtime.weights import save_weights

Kind = Literal["finetune", "transfer"]

EPOCHS = {"finetune": 100, "transfer": 200}


def paper_schedule(
    kind: Kind, images: int, epochs: float | None = None, **changes: Any
) -> Schedule:
    """The paper's trainings (arXiv 2412.20875, section 4), in steps for a set of `images`.

    finetune (table 1): AdamW, 100 epochs, batch 128, rate 1e-5, warm-up, cosine. transfer (tables 4
    and 5): SGD, 200 epochs, batch 64, rate 0.01, cosine. Ours, since the paper gives none: warm-up
    of 5 % and weight decay 0.05 for AdamW, no warm-up and no decay for SGD.

    Args:
        kind: which.
        images: size of the training set.
        epochs: instead of the paper's; another batch size changes the steps, not the epochs.
        changes: fields of `Schedule` that differ.

    Raises:
        UserError: a value out of range.
    """
    if epochs is not None and not 0 < epochs < math.inf:
        raise UserError(f"epochs {epochs} is out of range")
    if kind == "finetune":
        schedule = Schedule(1, 128, "adamw", 1e-5, warmup=0.05)
    else:
        schedule = Schedule(1, 64, "sgd", 0.01, warmup=0.0, weight_decay=0.0)
    schedule = replace(schedule, **changes)
    steps = (EPOCHS[kind] if epochs is None else epochs) * images / schedule.batch_size
    return replace(schedule, steps=max(1, round(steps)))


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
    layers: int = 0,
    scored: str = "",
    epochs: float | None = None,
    changes: dict[str, Any] | None = None,
    mirror: bool = True,
    evaluations: int = 10,
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
    model_kwargs: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Train on `data/train`, score on `data/val` or `data/test`, write weights and a log.

    Args:
        kind: which of the paper's schedules is the default.
        model: a timm model name.
        weights: its checkpoint, dense or routed; a classifier of other classes is replaced. None:
            random weights.
        data: holds train/ and val/ or test/, class folders in each.
        out: output folder; a killed run goes on from its checkpoint there.
        capacity: of the routed blocks; 1 trains the dense model.
        router, preset: of `amod.convert`.
        layers: keep the first so many blocks of the dense model instead (isoFLOP), whatever
            capacity and router say; 0 for none.
        scored: the folder that is scored; if empty val, or test where there is no val.
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
    check_device(device)
    check_preset(preset)
    if workers < 0:
        raise UserError(f"--workers must be 0 or more, got {workers}")
    source = ClassFolder(data, "train")
    scored = scored or ("val" if (Path(data) / "val").is_dir() else "test")
    held_out = ClassFolder(data, scored)
    check_same_classes(source, held_out)
    folder = ensure_output_dir(out)
    if layers:
        capacity, router = 1.0, "attention"  # not routed
    schedule = paper_schedule(kind, len(source), epochs, **(changes or {}))
    try:
        network = _network(model, weights, len(source.classes), seed, model_kwargs or {},
                           capacity, router, preset, layers)  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error
    read: dict[str, Any] = from_first(
        lambda: {
            "weights_sha256": sha256_file(weights) if weights else None,
            "train": source.fingerprint(),
            "test": held_out.fingerprint(),
        },
        device,
    )
    settings = {
        "kind": kind, "model": model, "capacity": capacity, "router": router, "preset": preset,
        "layers": layers, "scored": scored, "mirror": mirror, "evaluations": evaluations,
        "seed": seed, "model_kwargs": model_kwargs or {}, **read, "method_version": METHOD_VERSION,
        "schedule": asdict(schedule),
    }  # fmt: skip
    finished = from_first(lambda: _finished(folder, settings), device)
    if finished is not None:
        say(f"{folder} holds this run already, finished")
        return finished
    view, test_view = _views(network, mirror)
    job = Job(
        model=network,
        train=source,
        test=held_out,
        schedule=schedule,
        seed=seed,
        view=view,
        test_view=test_view,
        directory=folder / "checkpoints",
        identity=json.dumps(settings),
        evaluate_every=max(1, schedule.steps // max(1, evaluations)),
        checkpoint_every=max(1, schedule.steps // 20),
        workers=workers,
        device=device,
        label=model,
    )
    outcome = train(job)
    log = {**settings, "seconds": outcome.seconds, "curve": outcome.curve}
    rank, world = processes(device)
    if rank == 0:
        save_weights(outcome.model, folder / "model.safetensors")
        atomic_write_json(folder / "log.json", log)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if world > 1:
        dist.barrier()  # torchrun ends all processes when one has ended
        dist.destroy_process_group()
    return log


def _finished(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The log of a finished run of these settings, if there is one; UserError for others."""
    path = folder / "log.json"
    if not path.is_file() or not (folder / "model.safetensors").is_file():
        return None
    try:
        log = dict[str, Any](json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged; delete it, or give another --out") from error
    wanted = json.loads(json.dumps(settings))
    if {name: log.get(name) for name in wanted} != wanted:
        raise UserError(f"{folder} holds another run, finished; give another --out")
    return log


def _views(network: Any, mirror: bool) -> tuple[View, View]:
    """timm's training view (random crop and mirror image), and its evaluation view."""
    evaluation, config = eval_transform(network)
    training = create_transform(
        **{key: config[key] for key in ("input_size", "interpolation", "mean", "std")},
        is_training=True,
        hflip=0.5 if mirror else 0.0,
        color_jitter=0.0,
    )
    return Seeded(training), Seeded(evaluation)


def _network(
    model: str,
    weights: str | None,
    classes: int,
    seed: int,
    model_kwargs: dict[str, int],
    capacity: float,
    router: str,
    preset: str,
    layers: int,
) -> Any:
    """The user's model and weights, routed or cut, with a classifier for the user's classes."""
    known = classes_in(weights) if weights else classes
    start = derive_seed(seed, "initialise")
    network = create_model(model, known, start, **model_kwargs)
    check_model(network)
    if not layers and not (capacity == 1 and router == "attention"):
        with isolated_rng(derive_seed(seed, "router")):
            network = convert(network, capacity=capacity, router=router, **PRESETS[preset])
    if weights is not None:
        load_weights(network, weights)
    if layers:
        cut_depth(network, layers)
    if known != classes:
        seed_everything(derive_seed(seed, "head"))
        network.reset_classifier(classes)
    return network
