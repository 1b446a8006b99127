"""What a user's mmseg config says of training: which of it is followed, and which is not.

Followed are SGD and AdamW with their settings, multipliers and clipping, a linear warm-up, the
polynomial decay, the length, the batch size and the pipeline's resizing, crop, flip and photometric
distortion. A schedule keeps its shape at any length: a warm-up is a share of the iterations.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from repro_shared.evidence.hashing import text_of
from repro_shared.runtime.errors import UserError
from seg_kd.use.configs import read_config

KINDS = {"SGD": ("momentum", "weight_decay"), "AdamW": ("betas", "weight_decay")}
# Done here as well: crops are padded to their size, and edges are made where a model wants them.
LOADING = ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs", "Pad", "GenerateEdge")
# Parts of a config that say nothing of how its model is trained.
OWN = ("the data's folders", "workers", "evaluation", "hooks", "logs")


@dataclass
class ConfigSettings:
    """What a config says.

    Attributes:
        values: what is followed, by the names of `Optimiser`'s and `View`'s fields; `iterations`.
        remarks: what is to be known of a value, by the same names.
        unused: what is not followed, as `where: why`.
    """

    values: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def read_settings(path: str) -> ConfigSettings:
    """Read a config file.

    Raises:
        UserError: no such file, or one that cannot be read.
    """
    config = read_config(path).to_dict()
    try:
        return settings_of(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: its training settings cannot be read ({what})") from error


def settings_of(config: Mapping[str, Any]) -> ConfigSettings:
    """What a config, as plain values, says."""
    found = ConfigSettings()
    if config.get("optim_wrapper"):
        _optimiser(dict(config["optim_wrapper"]), found)
    train = config.get("train_cfg") or {}
    _schedule(_several(config.get("param_scheduler")), train.get("max_iters"), found)
    if train.get("max_iters"):
        found.values["iterations"] = int(train["max_iters"])
    elif train.get("max_epochs"):
        found.unused.append("train_cfg.max_epochs: trainings are measured in iterations")
    loader = config.get("train_dataloader") or {}
    _batch(loader, config.get("auto_scale_lr") or {}, found)
    pipeline = _pipeline(loader.get("dataset")) or config.get("train_pipeline")
    if pipeline:
        _views(pipeline, found)
    found.unused += unscored(config)
    for key, instead in (
        ("load_from", "give weights with a flag"),
        ("resume", "a run that was interrupted goes on by itself"),
        ("custom_hooks", "hooks do not run"),
    ):
        if config.get(key):
            found.unused.append(f"{key}: {instead}")
    return found


def unscored(config: Mapping[str, Any]) -> list[str]:
    """What a config would do to images before they are scored, and is not done."""
    steps = _pipeline((config.get("test_dataloader") or {}).get("dataset")) or []
    names = [name for name in (_name(step.get("type")) for step in steps) if name not in LOADING]
    why = "images are scored whole, at their own size"
    return [f"test pipeline, {', '.join(names)}: {why}"] if names else []


def _optimiser(wrapper: dict[str, Any], found: ConfigSettings) -> None:
    """Optimiser, precision, clipping and multipliers."""
    settings = dict(wrapper.pop("optimizer", None) or {})
    kind = _name(settings.pop("type", None))
    multipliers, clip = wrapper.pop("paramwise_cfg", None), dict(wrapper.pop("clip_grad", 0) or {})
    constructor = _name(wrapper.pop("constructor", "DefaultOptimWrapperConstructor"))
    outer = _name(wrapper.pop("type", "OptimWrapper"))
    if kind not in KINDS:
        found.unused.append(f"optim_wrapper: {kind} is neither SGD nor AdamW")
        return
    values = found.values
    values["kind"], defaults = kind, inspect.signature(getattr(torch.optim, kind)).parameters
    values["learning_rate"] = float(settings.pop("lr", defaults["lr"].default))
    for name in KINDS[kind]:  # what a config leaves out is torch's
        value = settings.pop(name, defaults[name].default)
        values[name] = tuple(map(float, value)) if name == "betas" else float(value)
    odd = {k: v for k, v in settings.items() if k not in defaults or v != defaults[k].default}
    _left("optim_wrapper.optimizer", odd, found)
    if outer == "AmpOptimWrapper":
        values["amp"] = True
        wrapper.pop("loss_scale", None)
    elif outer != "OptimWrapper":
        found.unused.append(f"optim_wrapper.type: {outer}")
    if clip and "max_norm" in clip and clip.get("norm_type", 2) == 2:
        values["clip_norm"] = float(clip["max_norm"])
    elif clip:
        found.unused.append("optim_wrapper.clip_grad: only the Euclidean norm is clipped")
    if constructor != "DefaultOptimWrapperConstructor":
        found.unused.append(f"optim_wrapper.constructor and paramwise_cfg: {constructor}")
    elif multipliers:
        values["multipliers"] = text_of(multipliers)
    _left("optim_wrapper", {k: v for k, v in wrapper.items() if v not in (None, 1)}, found)


def _schedule(parts: list[Mapping[str, Any]], length: int | None, found: ConfigSettings) -> None:
    """A warm-up from the beginning and one polynomial decay."""
    rises = [p for p in parts if _is(p, "LinearLR", begin=0, end_factor=1.0)]
    falls = [p for p in parts if _is(p, "PolyLR")]
    for part in parts:
        if part not in (rises[:1] + falls[:1]):
            found.unused.append(
                f"param_scheduler: {_name(part.get('type'))} (followed are LinearLR from the "
                "beginning, then PolyLR, both by_epoch=False)"
            )
    if not falls:
        return
    fall, values = falls[0], found.values
    values["power"] = float(fall.get("power", 1.0))
    values["minimum_rate"] = float(fall.get("eta_min", 0.0))
    values["warmup"] = 0.0
    total = fall.get("end") or length
    end = rises[0].get("end") if rises else None
    if end and total and 0 < end < total:
        values["warmup"] = end / total
        values["warmup_start"] = float(rises[0].get("start_factor", 1 / 3))
        found.remarks["warmup"] = f"{end} of {total} iterations"


def _batch(loader: Mapping[str, Any], scale: Mapping[str, Any], found: ConfigSettings) -> None:
    size, base = loader.get("batch_size"), scale.get("base_batch_size")
    if not size:
        return
    found.values["batch_size"] = int(size)
    if base and base != size:
        found.remarks["batch_size"] = f"its rate is for {base} images: auto_scale_lr"


def _views(pipeline: Iterable[Mapping[str, Any]], found: ConfigSettings) -> None:
    """What the training pipeline does to an image."""
    values = found.values
    values |= {"resize_range": (1.0, 1.0), "flip": 0.0, "photometric": False}
    for step in pipeline:
        settings = dict(step)
        kind = _name(settings.pop("type", None))
        if kind == "RandomResize" and _fits(settings):
            values["resize_range"] = tuple(map(float, settings.pop("ratio_range")))
            values["fit"] = tuple(settings.pop("scale"))
            settings.pop("keep_ratio")
        elif kind == "RandomCrop":
            size = settings.pop("crop_size")
            values["crop"] = (size, size) if isinstance(size, int) else tuple(size)
            values["largest_class"] = float(settings.pop("cat_max_ratio", 1.0))
        elif kind == "RandomFlip" and isinstance(settings.get("prob"), int | float):
            values["flip"] = float(settings.pop("prob"))
            if settings.get("direction") == "horizontal":
                settings.pop("direction")
        elif kind == "PhotoMetricDistortion":
            values["photometric"] = True
        elif kind in LOADING:
            if settings.get("reduce_zero_label"):
                found.unused.append(
                    "pipeline, reduce_zero_label: give --reduce-zero-label, if labels need it"
                )
            continue
        else:
            found.unused.append(f"pipeline: {kind}")
            if kind.startswith("Random") and kind.endswith("Resize"):
                values.pop("resize_range")  # seg-kd's own is nearer to it than none
            continue
        _left(f"pipeline, {kind}", settings, found)


def _fits(resize: Mapping[str, Any]) -> bool:
    """Whether a RandomResize fits images into two sides times a factor, as they are."""
    sides = resize.get("scale")
    return (
        bool(resize.get("keep_ratio"))
        and bool(resize.get("ratio_range"))
        and isinstance(sides, list | tuple)
        and all(isinstance(side, int) for side in sides)
    )


def _pipeline(dataset: Any) -> list[Mapping[str, Any]] | None:
    """Of a data set, or of the one that it wraps."""
    while isinstance(dataset, Mapping):
        if "pipeline" in dataset:
            return list(dataset["pipeline"])
        dataset = dataset.get("dataset")
    return None


def _left(where: str, settings: Mapping[str, Any], found: ConfigSettings) -> None:
    if settings:
        found.unused.append(f"{where}: {', '.join(settings)}")


def _is(part: Mapping[str, Any], kind: str, **wanted: float) -> bool:
    """Whether a scheduler is one of these, by iteration, with these values or without."""
    return (
        _name(part.get("type")) == kind
        and not part.get("by_epoch", True)
        and all(part.get(name, value) == value for name, value in wanted.items())
    )


def _name(kind: Any) -> str:
    """The bare name of a registered class, however it is given."""
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []
