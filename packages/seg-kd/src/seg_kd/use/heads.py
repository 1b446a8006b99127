"""What the `model` of an mmseg config says of its heads, checked before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repro_shared.runtime.errors import UserError

MASKS = ("MaskFormerHead", "Mask2FormerHead", "SideAdapterCLIPHead")


def check_heads(model: dict[str, Any], num_classes: int, path: str) -> None:
    """Refuse heads that score masks or another number of classes, or that ignore a class.

    Raises:
        UserError: says which, and what to set.
    """
    for head in _listed(model["decode_head"]):
        if type_name(head) in MASKS:
            raise UserError(
                f"{path}: {type_name(head)} classifies masks, not pixels: give a model whose head "
                "scores the classes of every pixel"
            )
    found = classes_of(model["decode_head"])
    if not found:
        raise UserError(f"{path}: model.decode_head has no num_classes: it scores no classes")
    if found != [num_classes]:
        raise UserError(
            f"{path} has {' and '.join(map(str, found))} classes, the data have {num_classes}: "
            "set model.decode_head.num_classes (and the auxiliary head's)"
        )
    for other in _listed(model.get("auxiliary_head")):
        boundaries = type_name(other) == "STDCHead"  # it tells boundaries from the rest
        if not boundaries and other.get("num_classes") != num_classes:
            raise UserError(
                f"{path}: an auxiliary head has {other.get('num_classes')} classes, the data have "
                f"{num_classes}"
            )
    for part in ("decode_head", "auxiliary_head"):
        for head in _nodes(model.get(part), "loss_decode"):
            _check_class_weights(head, num_classes, f"{path}: model.{part}")
    for setting in ("ignore_index", "ignore_label"):
        for part in ("decode_head", "auxiliary_head"):
            for node in _nodes(model.get(part), setting):
                if node[setting] is not None and 0 <= node[setting] < num_classes:
                    raise UserError(
                        f"{path}: model.{part} ignores class {node[setting]} ({setting}), which "
                        "would never be learned: leave it out (255 is ignored), and give the label "
                        "value with --ignore if its pixels are unlabelled"
                    )


def classes_of(head: Any) -> list[int]:
    """The numbers of classes that a decode head's config names, each once."""
    return sorted({each["num_classes"] for each in _nodes(head, "num_classes")})


def _check_class_weights(head: dict[str, Any], num_classes: int, where: str) -> None:
    """A weight a class; a file of weights, or those of one score for two classes, may be others."""
    count = head.get("num_classes", num_classes)
    for loss in _listed(head["loss_decode"]):
        weights = loss.get("class_weight")
        if not isinstance(weights, list | tuple) or head.get("out_channels") == 1:
            continue
        if len(weights) != count:
            raise UserError(
                f"{where}: class_weight of its loss has {len(weights)} values for {count} classes"
            )


def needs_edges(model: dict[str, Any]) -> bool:
    """Whether a head's loss reads a map of class boundaries."""
    return any(type_name(head) == "PIDHead" for head in _listed(model.get("decode_head")))


def type_name(node: dict[str, Any]) -> str:
    """The class that a config's node names, without scope or module."""
    kind = node.get("type")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _listed(heads: Any) -> list[dict[str, Any]]:
    return list(heads) if isinstance(heads, list | tuple) else [heads] if heads else []


def _nodes(tree: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every dictionary in a config's tree that has `key`."""
    if isinstance(tree, list | tuple):
        for child in tree:
            yield from _nodes(child, key)
    elif isinstance(tree, dict):
        if key in tree:
            yield tree
        for child in tree.values():
            yield from _nodes(child, key)
