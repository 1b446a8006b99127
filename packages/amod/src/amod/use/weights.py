"""Dense models and weights from a file of the user's: nothing is downloaded, no pickle is run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch.hub
from huggingface_hub import try_to_load_from_cache
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from amod.method.model import convert
from amod.use.metadata import routing_in
from amod.use.options import Checkpoint, RoutingSettings
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import listed, load_strictly, misfits, read_weights

T = TypeVar("T")
HALF = 0.5  # the usual capacity
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them in a repository


def create_model(name: str, num_classes: int | None = None, seed: int = 0, **changes: Any) -> Any:
    """A timm model in evaluation mode with random weights, the same ones for a seed.

    Args:
        name: a name of timm's, with or without a tag such as `.fb_in1k`, which decides how images
            are normalised.
        num_classes: outputs of the classifier; as many as the model usually has if None.
        seed: of the weights.
        changes: further settings for `timm.create_model`, e.g. `img_size`.

    Raises:
        UserError: timm has no such model, or the settings do not suit it.
    """
    check_name(name)
    try:
        with isolated_rng(seed):
            return timm.create_model(name, num_classes=num_classes, **changes).eval()
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        with_these = f" with {changes}" if changes else ""
        raise UserError(f"timm cannot make the model {name!r}{with_these}: {error}") from error


def check_name(name: str) -> None:
    """UserError unless timm has a dense model of this name."""
    if name.startswith("amod_"):
        raise UserError(f"{name} is routed already: give the dense model's name, {name[5:]}")
    # Names with a source in front (hf-hub:) are no models of timm's, and would be downloaded.
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}; timm.list_models('*vit*') lists what it has")


def routing_for(
    weights: str | None,
    settings: RoutingSettings,
    capacities: Sequence[float] = (),
    usual: Sequence[float] = (HALF,),
) -> tuple[dict[str, Any], tuple[float, ...]]:
    """How weights are routed: as given, or as stored with them; a line on stderr where both differ.

    Args:
        weights: the file; None for random weights.
        settings: what was given.
        capacities: given; () if none was.
        usual: capacities where none was given or stored.

    Returns:
        Arguments of `amod.convert`, and the capacities.

    Raises:
        UserError: an unknown preset; a capacity for each block is stored, and none was given.
    """
    known = routing_in(weights)
    arguments, share = settings.resolved(known), known.get("capacity")
    if not capacities and isinstance(share, list):
        raise UserError(f"{weights} has a capacity for each routed block: give one with --capacity")
    capacities = tuple(capacities or (usual if share is None else (share,)))
    others = {name: value for name, value in arguments.items() if known.get(name, value) != value}
    if share is not None and share not in capacities:
        others["capacity"] = " ".join(f"{each:g}" for each in capacities)
    if others and os.environ.get("RANK", "0") == "0":  # torchrun's first process
        told = ", ".join(f"{name} {value}, not {known[name]}" for name, value in others.items())
        say(f"not routed as stored with {weights}, but as the flags say: {told}")
    return arguments, capacities


def routed_model(
    name: str,
    weights: str | None,
    capacity: float | None,
    settings: RoutingSettings,
    **changes: Any,
) -> Any:
    """A routed model with weights from a file, of a dense model or of one routed in this way.

    Args:
        name: as of `create_model`.
        weights: the file; None for random weights.
        capacity: of `amod.convert`; None for that of `routing_for`.
        settings: how it is routed; what is not given is as stored with the weights.
        changes: further settings for `timm.create_model`.

    Raises:
        UserError: as `create_model` and `load_weights`, or settings that cannot work.
    """
    given = () if capacity is None else (capacity,)
    arguments, (share,) = routing_for(weights, settings, given)
    network = create_model(name, classes_in(weights) if weights else None, **changes)
    try:
        with isolated_rng(0):  # a learned router begins at random
            convert(network, capacity=share, **arguments)
    except ValueError as error:
        raise UserError(str(error)) from error
    if weights:
        load_weights(network, weights, told=True)
    return network


def file_of(checkpoint: Checkpoint, model: str) -> str | None:
    """The file of weights that a user means; UserError as `cached_weights`."""
    return str(cached_weights(model)) if checkpoint.pretrained else checkpoint.weights


def cached_weights(name: str) -> Path:
    """timm's own weights of a model, in the cache of the hub or of torch; nothing is downloaded.

    Raises:
        UserError: no such model, a model without pretrained weights, or weights not in the caches.
    """
    check_name(name)
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        raise UserError(f"timm has no pretrained weights of {name}: give a file with --weights")
    found: list[Path] = []
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        known = [try_to_load_from_cache(config.hf_hub_id, file) for file in names]
        found += [Path(path) for path in known if isinstance(path, str)]
    if isinstance(config.url, str):
        found.append(Path(torch.hub.get_dir(), "checkpoints", Path(config.url).name))
    path = next((p for p in found if p.is_file() and p.suffix != ".npz"), None)
    if path is None:
        origin = config.hf_hub_id or config.url
        how = (
            f"`hf download {origin}`" if config.hf_hub_id else "timm.create_model(pretrained=True)"
        )
        raise UserError(
            f"the weights of {name} ({origin}) are not in this machine's cache, and nothing is "
            f"downloaded: fetch them with {how}, or give a file with --weights"
        )
    return path


def classes_in(path: str | Path) -> int:
    """Number of classes of the classifier in a file of weights, 0 without one.

    Raises:
        UserError: as `read_weights`.
    """
    return classes_of(read_weights(path))


def classes_of(state: Mapping[str, Tensor]) -> int:
    """Number of classes of the classifier in a state_dict, 0 without one."""
    head = state.get("head.weight")
    return 0 if head is None else len(head)


def load_weights(
    model: nn.Module, path: str | Path, *, dense: bool = False, told: bool = False
) -> None:
    """Load a file into a model, dense or routed; every tensor must fit.

    A dense checkpoint loads into a routed model; learned routers then keep their initial values.
    Position embeddings of another picture size are resized, see `fitted`.

    Args:
        model: of timm's.
        path: the file.
        dense: leave out the file's learned routers.
        told: say on stderr what is resized.

    Raises:
        UserError: as `read_weights`, or weights of another architecture, with what differs first.
    """
    state = read_weights(path)
    if dense:
        state = {key: value for key, value in state.items() if not is_router(key)}
    load_state(model, fitted(model, state, told), str(path))


def load_state(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state_dict as `load_weights` does a file's; `origin` is named in errors."""
    state, routers = dict(state), _routers(model.state_dict())
    if not _routers(state):
        state |= routers
    wrong = misfits(model, state)
    if wrong and not routers and wrong.keys() == _routers(wrong).keys():
        raise UserError(f"{origin} has a learned router: say which it is with --router")
    if wrong and all(key.startswith("head") for key in wrong):
        raise UserError(f"{origin} is for another number of classes: {listed(wrong)}")
    load_strictly(model, state, origin)


def fitted(model: Any, state: Mapping[str, Tensor], told: bool = False) -> dict[str, Tensor]:
    """A state_dict with position embeddings resized to the model's grid, as timm resizes them.

    Args:
        model: of timm's.
        state: its weights, or those of the same model for square pictures of another size.
        told: say so on stderr.
    """
    own, given = getattr(model, "pos_embed", None), state.get("pos_embed")
    if own is None or given is None or given.dim() != 3 or given.shape[1] == own.shape[1]:
        return dict(state)
    prefix = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
    side, grid = math.isqrt(max(0, given.shape[1] - prefix)), tuple(model.patch_embed.grid_size)
    if not side or side * side != given.shape[1] - prefix:
        return dict(state)  # not of square pictures: refused on loading
    if told:
        say(f"position embeddings: {side} x {side} patches resized to {grid[0]} x {grid[1]}")
    resized = resample_abs_pos_embed(given, [*grid], num_prefix_tokens=prefix)
    return {**state, "pos_embed": resized}


def is_router(key: str) -> bool:
    """Whether a tensor of a state_dict belongs to a learned router."""
    return ".router." in key


def _routers(state: Mapping[str, T]) -> dict[str, T]:
    return {key: value for key, value in state.items() if is_router(key)}
