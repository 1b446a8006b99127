"""What is claimed, written down before the final runs (protocol: results/protocol.md).

The paper's claims in our words, on our data. A claim about a router names every variant of its
rival: it holds for "the standard router" only where it holds against all three.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def find(arms: Sequence[Arm], kind: type[Any], variant: Variant) -> Arm:
    """The arm of this stage and variant."""
    return next(arm for arm in arms if type(arm.config) is kind and arm.config.variant == variant)


def variants(arms: Sequence[Arm], kind: type[Any], controls: bool = False) -> list[Variant]:
    """All variants of a stage, in order; with those of controls if wanted."""
    return [
        arm.config.variant
        for arm in arms
        if type(arm.config) is kind and (controls or not arm.control)
    ]


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


def _claim(
    study: str,
    name: str,
    statement: str,
    arm: Arm,
    rival: Arm,
    family: str = "",
    cells: tuple[str, ...] = (),
    metric: str = "accuracy",
    **others: Any,
) -> Claim:
    """An arm is better than its rival; ids and families end in the study's tag."""
    tag = study.split("_")[1]
    return Claim(
        id=f"{name}-{tag}",
        statement=statement,
        cells=cells,
        study=study,
        metric=metric,
        arm=arm.id,
        rival=rival.id,
        kind="superiority",
        seeds=SEEDS,
        family=f"{family}-{tag}" if family else None,
        **{"unit": "accuracy points", **others},
    )


def accuracy_claims(study: str, arms: Sequence[Arm]) -> list[Claim]:
    """In accuracy points: conversion, fine-tuning, transfer, from scratch, controls."""
    found, tuned = _conversion(study, arms), capacities(arms, Finetuned)
    for capacity in tuned:
        found += _finetuning(study, arms, capacity)
    if variants(arms, Transferred):
        found += _transfer(study, arms, min(tuned))
    if variants(arms, Scratch, controls=True):
        found += _scratch(study, arms, max(tuned))
    product = [v for v in variants(arms, Finetuned, True) if v.router == "attention-multiplied"]
    found += [
        _claim(
            study,
            "no-product-beats-product",
            "not multiplying by the score beats multiplying",
            find(arms, Finetuned, Variant("attention", v.capacity)),
            find(arms, Finetuned, v),
        )
        for v in product
    ]
    control = _claim(
        study,
        "random-again",
        "random tokens beat other random tokens",
        find(arms, Finetuned, Variant("random-again", min(tuned))),
        find(arms, Finetuned, Variant("random", min(tuned))),
        negative_control=True,
    )
    return [*found, control]


def _named(variant: Variant) -> str:
    """A rival within a sentence."""
    words = variant.words.replace("linear (", "the linear router (")
    return f"the {words}" if words.startswith(("first ", "largest ")) else words


def _conversion(study: str, arms: Sequence[Arm]) -> list[Claim]:
    """Right after conversion, at half of the tokens (table 3)."""
    return [
        _claim(
            study,
            f"converted-attention-beats-{rival}",
            "without training, at half of the tokens, routing by attention keeps more accuracy "
            f"than {_named(Variant(rival))}",
            find(arms, Converted, Variant("attention", 0.5)),
            find(arms, Converted, Variant(rival, 0.5)),
            "conversion",
            cells_of("table3", "at 50 %") if rival == "linear" else (),  # its one router
            headline=rival == "random",
        )
        for rival in ("random", "l2norm", "linear")
    ]


def _finetuning(study: str, arms: Sequence[Arm], capacity: float) -> list[Claim]:
    """Against the linear routers and the nearest depth-cut models (table 1)."""
    ours = Variant("attention", capacity)
    layers = depths(arms, capacity)[0]
    first = Variant(layers=layers, keep="first")
    rivals = [(r, "routers", Variant(r, capacity)) for r in LEARNED] + [
        (f"isoflop-{keep}", "isoflop", Variant(layers=layers, keep=keep)) for keep in KEPT
    ]
    return [
        _claim(
            study,
            f"attention-beats-{name}-{capacity:g}",
            f"fine-tuned with {ours.share} of the tokens, routing by attention beats "
            f"{_named(rival)}",
            find(arms, Finetuned, ours),
            find(arms, Finetuned, rival),
            f"{family}-{capacity:g}",
            cells_of("table1", ours.share),
            headline=capacity == 0.5 and rival in (Variant("linear", 0.5), first),
        )
        for name, family, rival in rivals
    ]


def _transfer(study: str, arms: Sequence[Arm], capacity: float) -> list[Claim]:
    """How fast other classes are learned (figure 4)."""
    return [
        _claim(
            study,
            f"transfer-attention-beats-{rival}",
            "in transfer, accuracy averaged over training is higher with attention than with "
            f"{_named(Variant(rival))}",
            find(arms, Transferred, Variant("attention", capacity)),
            find(arms, Transferred, Variant(rival, capacity)),
            "transfer",
            metric="area",
            headline=rival == "linear",
        )
        for rival in LEARNED
    ]


def _scratch(study: str, arms: Sequence[Arm], capacity: float) -> list[Claim]:
    """Routed from the first step on (table 8)."""
    ours = Variant("attention", capacity)
    return [
        _claim(
            study,
            f"scratch-attention-beats-{rival}",
            f"trained from scratch with {ours.share} of the tokens, routing by attention beats "
            f"{_named(Variant(rival))}",
            find(arms, Scratch, ours),
            find(arms, Scratch, Variant(rival, capacity)),
            "scratch",
            cells_of("table8"),
            headline=rival == "linear",
        )
        for rival in LEARNED
    ]


def importance_claims(study: str, arms: Sequence[Arm]) -> list[Claim]:
    """In rank correlation: which rankings agree with leave-one-out importance (figure 7)."""
    most = max(capacities(arms, Finetuned))
    pairs = [(Importance, Variant(), Variant(rival), rival) for rival in ("random", "l2norm")] + [
        (Finetuned, Variant("attention", most), Variant(rival, most), f"fine-tuned-{rival}")
        for rival in LEARNED
    ]
    return [
        _claim(
            study,
            f"importance-attention-beats-{name}",
            "attention ranks tokens more like their importance than "
            + _named(rival).replace("the linear", "the fine-tuned linear"),
            find(arms, kind, ours),
            find(arms, kind, rival),
            "importance",
            metric="spearman",
            unit=RANK_CORRELATION,
            headline=name == "random",
        )
        for kind, ours, rival, name in pairs
    ]
