"""Dense models and weights from a file of the user's: nothing is downloaded, no pickle is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import timm
from torch import nn

from amod.method.model import PRESETS, convert
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import listed, load_strictly, misfits, read_weights

T = TypeVar("T")


def create_model(name: str, num_classes: int | None = None, seed: int = 0, **changes: Any) -> Any:
    """A timm model in evaluation mode with random weights, the same ones for a seed.

    Args:
        name: a name of timm's, with or without a tag such as `.fb_in1k`, which decides how images
            are normalised.
        num_classes: outputs of the classifier; as many as the model usually has if None.
        seed: of the weights.
        changes: further settings for `timm.create_model`, e.g. `img_size`.

    Raises:
        UserError: timm has no such model.
    """
    if name.startswith("amod_"):
        raise UserError(f"{name} is routed already: give the dense model's name, {name[5:]}")
    # Names with a source in front (hf-hub:) are no models of timm's, and would be downloaded.
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}; timm.list_models('*vit*') lists what it has")
    try:
        with isolated_rng(seed):
            return timm.create_model(name, num_classes=num_classes, **changes).eval()
    except RuntimeError as error:
        raise UserError(f"timm cannot make the model {name!r}: {error}") from error


def routed_model(
    name: str, weights: str | None, capacity: float, router: str, preset: str, **changes: Any
) -> Any:
    """A routed model with weights from a file, of a dense model or of one routed in this way.

    Args:
        name: as of `create_model`.
        weights: the file; None for random weights.
        capacity, router: of `amod.convert`.
        preset: a name of `amod.PRESETS`.
        changes: further settings for `timm.create_model`.

    Raises:
        UserError: as `create_model` and `load_weights`, or settings that cannot work.
    """
    check_preset(preset)
    network = create_model(name, classes_in(weights) if weights else None, **changes)
    try:
        with isolated_rng(0):  # a learned router begins at random
            convert(network, capacity=capacity, router=router, **PRESETS[preset])
    except ValueError as error:
        raise UserError(str(error)) from error
    if weights:
        load_weights(network, weights)
    return network


def classes_in(path: str | Path) -> int:
    """Number of classes of the classifier in a file of weights, 0 without one.

    Raises:
        UserError: as `read_weights`.
    """
    head = read_weights(path).get("head.weight")
    return 0 if head is None else len(head)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file into a model, dense or routed; every tensor must fit.

    A dense checkpoint loads into a routed model; learned routers then keep their initial values.

    Raises:
        UserError: as `read_weights`, or weights of another architecture, with what differs first.
    """
    state, routers = read_weights(path), _routers(model.state_dict())
    if not _routers(state):
        state |= routers
    wrong = misfits(model, state)
    if wrong and not routers and wrong.keys() == _routers(wrong).keys():
        raise UserError(f"{path} has a learned router: say which it is with --router")
    if wrong and all(key.startswith("head") for key in wrong):
        raise UserError(f"{path} is for another number of classes: {listed(wrong)}")
    load_strictly(model, state, str(path))


def _routers(state: Mapping[str, T]) -> dict[str, T]:
    return {key: value for key, value in state.items() if ".router." in key}


def check_preset(preset: str) -> None:
    """UserError unless `amod.PRESETS` has it."""
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
