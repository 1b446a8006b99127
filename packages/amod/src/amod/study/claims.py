"""What is claimed, written down before the final runs (protocol: results/protocol.md).

The paper's claims in our words, on our data. A claim about a router names every variant of its
rival: it holds for "the standard router" only where it holds against all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from amod.rivals.baselines import KEPT, isoflop_layers
from amod.study.configs import (
    LEARNED,
    Converted,
    Dense,
    Finetuned,
    Importance,
    Scratch,
    Transferred,
    Variant,
)
from amod.study.flop_table import reported
from repro_shared.evidence.claims import Claim
from repro_shared.study.paper import Arm

SEEDS = (0, 1, 2, 3, 4)
RANK_CORRELATION = "rank correlation"


def of_kind(arms: Sequence[Arm], kind: type[Any]) -> list[Arm]:
    """The arms of a stage, by the very class of their config."""
    return [arm for arm in arms if type(arm.config) is kind]


def find(arms: Sequence[Arm], kind: type[Any], variant: Variant) -> Arm:
    """The arm of this stage and variant."""
    return next(arm for arm in of_kind(arms, kind) if arm.config.variant == variant)


def variants(arms: Sequence[Arm], kind: type[Any], controls: bool = False) -> list[Variant]:
    """All variants of a stage, in order; with those of controls if wanted."""
    return [arm.config.variant for arm in of_kind(arms, kind) if controls or not arm.control]


def capacities(arms: Sequence[Arm], kind: type[Any]) -> list[float]:
    """Those at which a stage routes, in order."""
    routed = [v.capacity for v in variants(arms, kind) if not v.layers and v != Variant()]
    return list(dict.fromkeys(routed))


def depths(arms: Sequence[Arm], capacity: float) -> tuple[int, int]:
    """Layers of the depth-cut models of cost nearest to a capacity's, and next at or above it."""
    base = next(arm.config for arm in arms if isinstance(arm.config, Dense))
    return isoflop_layers(base.network.shape, capacity)


def cells_of(table: str, column: str = "") -> tuple[str, ...]:
    """Ids of A-MoD's accuracy cells of a table of the paper."""
    return tuple(
        cell.id
        for cell in reported()
        if cell.table == table
        and "A-MoD" in f"{cell.row} {cell.column}"
        and cell.unit != "GFLOPs"
        and column in cell.column
    )


def _against(
    study: str,
    arms: Sequence[Arm],
    kind: type[Any],
    ours: Variant,
    rivals: Mapping[str, Variant],
    name: str,
    statement: str,
    family: str = "",
    headlines: Sequence[str] = (),
    **others: Any,
) -> list[Claim]:
    """A variant is better than each rival, whose name and words stand for `{}`.

    Ids and families end in the study's tag.
    """
    tag = study.split("_")[1]
    common = {
        "cells": (), "study": study, "metric": "accuracy", "kind": "superiority", "seeds": SEEDS,
        "family": f"{family}-{tag}" if family else None, "unit": "accuracy points",
    } | others  # fmt: skip
    return [
        Claim(
            id=f"{name.format(rival)}-{tag}",
            statement=statement.format(_named(variant)),
            arm=find(arms, kind, ours).id,
            rival=find(arms, kind, variant).id,
            headline=rival in headlines,
            **common,
        )
        for rival, variant in rivals.items()
    ]


def _named(variant: Variant) -> str:
    """A rival within a sentence."""
    words = variant.words.replace("linear (", "the linear router (")
    return f"the {words}" if words.startswith(("first ", "largest ")) else words


def _routers(capacity: float, names: Sequence[str] = LEARNED) -> dict[str, Variant]:
    """Routers at a capacity, by name."""
    return {name: Variant(name, capacity) for name in names}


def accuracy_claims(study: str, arms: Sequence[Arm]) -> list[Claim]:
    """In accuracy points: conversion, fine-tuning, transfer, from scratch, controls."""
    found, tuned = _conversion(study, arms), capacities(arms, Finetuned)
    for capacity in tuned:
        found += _finetuning(study, arms, capacity)
    least, most = min(tuned), max(tuned)
    if variants(arms, Transferred):  # how fast other classes are learned (figure 4)
        found += _against(
            study, arms, Transferred, Variant(capacity=least), _routers(least),
            "transfer-attention-beats-{}",
            "in transfer, accuracy averaged over training is higher with attention than with {}",
            "transfer", ("linear",), metric="area",
        )  # fmt: skip
    if variants(arms, Scratch, controls=True):  # routed from the first step on (table 8)
        ours = Variant(capacity=most)
        found += _against(
            study, arms, Scratch, ours, _routers(most), "scratch-attention-beats-{}",
            f"trained from scratch with {ours.share} of the tokens, routing by attention beats "
            "{}", "scratch", ("linear",), cells=cells_of("table8"),
        )  # fmt: skip
    for product in variants(arms, Finetuned, controls=True):
        if product.router == "attention-multiplied":
            found += _against(
                study, arms, Finetuned, Variant(capacity=product.capacity), {"": product},
                "no-product-beats-product", "not multiplying by the score beats multiplying",
            )  # fmt: skip
    return found + _against(
        study, arms, Finetuned, Variant("random-again", least), {"": Variant("random", least)},
        "random-again", "random tokens beat other random tokens", negative_control=True,
    )  # fmt: skip


def _conversion(study: str, arms: Sequence[Arm]) -> list[Claim]:
    """Right after conversion, at half of the tokens (table 3)."""
    name = "converted-attention-beats-{}"
    statement = (
        "without training, at half of the tokens, routing by attention keeps more accuracy than {}"
    )
    ours, controls = Variant(capacity=0.5), _routers(0.5, ("random", "l2norm"))
    found = _against(
        study, arms, Converted, ours, controls, name, statement, "conversion", ("random",)
    )
    return found + _against(  # the paper's one router is the linear one
        study, arms, Converted, ours, _routers(0.5, ("linear",)), name, statement, "conversion",
        cells=cells_of("table3", "at 50 %"),
    )  # fmt: skip


def _finetuning(study: str, arms: Sequence[Arm], capacity: float) -> list[Claim]:
    """Against the linear routers and the nearest depth-cut models (table 1)."""
    ours, layers = Variant(capacity=capacity), depths(arms, capacity)[0]
    families = {
        "routers": _routers(capacity),
        "isoflop": {f"isoflop-{keep}": Variant(layers=layers, keep=keep) for keep in KEPT},
    }
    return [
        claim
        for family, rivals in families.items()
        for claim in _against(
            study, arms, Finetuned, ours, rivals, f"attention-beats-{{}}-{capacity:g}",
            f"fine-tuned with {ours.share} of the tokens, routing by attention beats {{}}",
            f"{family}-{capacity:g}", ("linear", "isoflop-first") if capacity == 0.5 else (),
            cells=cells_of("table1", ours.share),
        )
    ]  # fmt: skip


def importance_claims(study: str, arms: Sequence[Arm]) -> list[Claim]:
    """In rank correlation: which rankings agree with leave-one-out importance (figure 7)."""
    most, found = max(capacities(arms, Finetuned)), list[Claim]()
    for kind, capacity, rivals, which in (
        (Importance, 1.0, ("random", "l2norm"), ""),
        (Finetuned, most, LEARNED, "fine-tuned"),
    ):
        name = "-".join(filter(None, ("importance-attention-beats", which, "{}")))
        found += _against(
            study, arms, kind, Variant(capacity=capacity), _routers(capacity, rivals), name,
            "attention ranks tokens more like their importance than {}", "importance",
            () if which else ("random",), metric="spearman", unit=RANK_CORRELATION,
        )  # fmt: skip
    trained = "the linear", "the fine-tuned linear"
    return [replace(claim, statement=claim.statement.replace(*trained)) for claim in found]
