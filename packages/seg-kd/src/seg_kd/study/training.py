"""How a user's student is trained: flags win over its config, the config over our defaults."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal

import tyro

from repro_shared.runtime.errors import UserError
from seg_kd.train import Optimiser
from seg_kd.use.data import View
from seg_kd.use.settings import OWN, ConfigSettings, read_settings

DEFAULT_VIEW = View((512, 512))
# Of one optimiser; they mean something else, or nothing, to the other.
OF_A_KIND = ("learning_rate", "momentum", "weight_decay", "betas", "multipliers")


@dataclass(frozen=True)
class Training:
    """How the student is trained; what is left out is its config's, or else a default of seg-kd's.

    What is used, and where it comes from, is printed before a config's model is trained.

    Attributes:
        kind: SGD or AdamW.
        learning_rate: at the first iteration after the warm-up.
        momentum: of SGD.
        weight_decay: of the optimiser.
        power: exponent of the polynomial decay.
        minimum_rate: floor of the learning rate at the last iteration.
        warmup: share of the iterations in which the rate rises linearly.
        clip_norm: largest norm of the gradient.
        batch_size: images per iteration, at least 2 (batch norm).
        amp: mixed precision (CUDA only); False switches a config's off.
    """

    kind: Annotated[Literal["SGD", "AdamW"] | None, tyro.conf.arg(name="optimiser")] = None
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    power: float | None = None
    minimum_rate: float | None = None
    warmup: float | None = None
    clip_norm: float | None = None
    batch_size: int | None = None
    amp: bool | None = None


@dataclass(frozen=True)
class Settled:
    """What was decided; `iterations` None where a budget gives them, or nothing does."""

    optimiser: Optimiser
    view: View
    iterations: int | None = None


def settle(flags: Training, model: str, device: str, **others: Any) -> Settled:
    """Decide every setting, and say where it comes from.

    Args:
        flags: what was given.
        model: of the student: a config file or a built-in name.
        device: cpu or cuda.
        others: more flags: crop, flip, iterations, budget_seconds; None for what was not given.

    Raises:
        UserError: a config that cannot be read, a value out of its range, flags that do not fit.
    """
    found = read_settings(model) if model.endswith(".py") else ConfigSettings()
    given = {f.name: getattr(flags, f.name) for f in fields(flags)} | others
    given = {k: v for k, v in given.items() if v is not None}
    config = _fitting(found, given, device)
    if flags.amp and device != "cuda":
        raise UserError("--amp needs --device cuda")
    chosen: dict[str, Any] = {**config, **given}
    if chosen.get("kind") == "AdamW":
        if "momentum" in given:
            raise UserError("AdamW takes no --momentum: leave it out, or give --optimiser SGD")
        if "learning_rate" not in chosen:
            raise UserError("--optimiser AdamW needs its own --learning-rate; 6e-5 is usual")
    rate, floor = chosen.get("learning_rate", Optimiser.learning_rate), Optimiser.minimum_rate
    if "minimum_rate" not in chosen and 0 < rate < floor:
        chosen["minimum_rate"] = rate / 100  # the default's share of the default rate
    try:
        optimiser = Optimiser(**_of(Optimiser, chosen))
        view = View(**{**asdict(DEFAULT_VIEW), **_of(View, chosen)})
    except UserError as error:
        raise UserError(f"{error} (flags and {model})" if config else str(error)) from error
    if model.endswith(".py"):
        values = {**asdict(optimiser), **asdict(view), **_lengths(chosen)}
        _show("\n".join(table(model, values, given, config, found)))
    return Settled(optimiser, view, chosen.get("iterations"))


def _fitting(found: ConfigSettings, given: dict[str, Any], device: str) -> dict[str, Any]:
    """The config's values but those that flags or the device make meaningless."""
    config = dict(found.values)
    kind = config.get("kind")
    if kind and given.get("kind", kind) != kind:
        for name in OF_A_KIND:
            config.pop(name, None)
        found.unused.append(f"optim_wrapper: the settings of {kind}")
    if "budget_seconds" in given:
        config.pop("iterations", None)
    if config.get("amp") and "amp" not in given and device != "cuda":
        del config["amp"]
        found.unused.append("optim_wrapper, mixed precision: needs --device cuda")
    return config


def table(
    model: str,
    values: dict[str, Any],
    given: dict[str, Any],
    config: dict[str, Any],
    found: ConfigSettings,
) -> Iterable[str]:
    """A line a setting, with its source; then what of the config is not used."""
    idle = {"momentum"} if values["kind"] == "AdamW" else {"betas"}
    idle |= {name for name in ("amp", "multipliers", "clip_norm", "fit") if not values[name]}
    idle |= set() if values["warmup"] else {"warmup_start"}
    yield f"{model}: how its model is trained"
    for name, value in values.items():
        flag = "optimiser" if name == "kind" else name.replace("_", "-")
        if name in idle and name not in given:
            continue
        source = f"--{flag}" if name in given else "default"
        if name in config and name not in given:
            source = ", ".join(filter(None, ("config", found.remarks.get(name))))
        yield f"  {flag.replace('-', ' '):15s} {_text(value):12s} {source}"
    for each in found.unused:
        yield f"  not used: {each}"
    yield f"  not used: {', '.join(OWN)}: seg-kd has its own"


@cache
def _show(text: str) -> None:
    """On stderr, once: a comparison asks for every arm."""
    print(text, file=sys.stderr, flush=True)


def _lengths(values: dict[str, Any]) -> dict[str, Any]:
    return {k: values[k] for k in ("iterations", "budget_seconds") if k in values}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return " ".join(f"{part:g}" for part in value)
    return str(value)


def _of(form: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    return {f.name: values[f.name] for f in fields(form) if f.name in values}
