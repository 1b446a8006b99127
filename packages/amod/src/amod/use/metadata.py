"""What weights in safetensors keep beside the tensors: their classes, and how they were routed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from amod.method.blocks import routed_blocks
from amod.method.routers import AttentionRouter, LinearRouter, NormRouter, RandomRouter

CLASSES, ROUTING = "classes", "routing"  # keys; the values are JSON


def stored(classes: Sequence[str], model: Any = None) -> dict[str, str]:
    """The metadata that keep the names of the classes, and a model's routing, with weights.

    At capacity 1 the model was trained as a dense one: that is no routing to go on with.
    """
    found = {CLASSES: json.dumps(list(classes))} if classes else {}
    routing = {} if model is None else routing_of(model)
    return found | ({ROUTING: json.dumps(routing)} if routing.get("capacity", 1) != 1 else {})


def names_in(path: str | Path | None) -> tuple[str, ...]:
    """The names of the classes stored with weights, in order; () where there are none."""
    names = _read(path, CLASSES)
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known and len(set(names)) == len(names) else ()


def routing_in(path: str | Path | None) -> dict[str, Any]:
    """The arguments of `amod.convert` stored with weights; {} where there are none."""
    routing = _read(path, ROUTING)
    return routing if isinstance(routing, dict) else {}


def routing_of(model: Any) -> dict[str, Any]:
    """The arguments of `amod.convert` that made a model; {} for a dense one or a user's router."""
    blocks = routed_blocks(model)
    router = _router_name(next(iter(blocks.values())).router) if blocks else ""
    if not router:
        return {}
    settings = asdict(model.routing)
    settings["score"] = settings.pop("rows")
    return settings | {"router": router}


def _router_name(router: nn.Module) -> str:
    match router:
        case AttentionRouter(gated=gated):
            return "attention-multiplied" if gated else "attention"
        case LinearRouter(gate=gate):
            return "linear" if gate == "raw" else f"linear-{gate}"
        case NormRouter():
            return "l2norm"
        case RandomRouter():
            return "random"
    return ""


def _read(path: str | Path | None, key: str) -> Any:
    """What the metadata of a file of weights hold under a key; None where they do not."""
    if path is None or Path(path).suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {}).get(key, "null"))
    except (OSError, SafetensorError, ValueError):  # what is wrong with it is said on reading
        return None
