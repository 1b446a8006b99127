"""The tuning of the routing studies' learning rates: the same tries for every router."""

from __future__ import annotations

from dataclasses import replace

from amod.study import stages
from amod.study.claims import of_kind
from amod.study.configs import Finetuned, Variant
from amod.study.recipes import CIFAR10, Plan, cifar10_plan, digits_plan
from amod.study.tables import base, notes, tag
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Scale, Study, ids
from repro_shared.study.protocols import DataSource
from repro_shared.study.results import Results

TRIES = (1e-4, 3e-4, 1e-3)
SEEDS = (100,)


def tuning(name: str, scale: Scale, data: DataSource, plan: Plan) -> Study:
    """The dense model, and every variant at the smallest capacity at each rate."""
    base, least = plan.base(), min(plan.capacities)
    variants = [
        plan.cut(least)[0] if router == "isoflop" else Variant(router, least)
        for router in plan.rates
        if router != "random-again"  # a control: it has the rate of `random`
    ]
    arms = [
        Arm(
            f"tried, {variant.full}, rate {rate:g}",
            Finetuned(variant, replace(plan.finetune, learning_rate=rate), plan.view),
            stages.finetuned,
            (base,),
        )
        for variant in variants
        for rate in TRIES
    ]
    smoke = "_smoke" if scale == "smoke" else ""
    return Study(f"{name}{smoke}_tuning", scale, data, (base, *arms), SEEDS, tables=(by_rate,))


def by_rate(results: Results) -> Table:
    """Accuracy of every router at every learning rate, and the rate of the best."""
    tried, rows = of_kind(results.study.arms, Finetuned), list[tuple[Cell, ...]]()
    rates = list(dict.fromkeys(arm.config.schedule.learning_rate for arm in tried))
    for variant in dict.fromkeys(arm.config.variant for arm in tried):
        means = {
            arm.config.schedule.learning_rate: sum(values) / len(values)
            for arm in tried
            if arm.config.variant == variant and (values := results.values(arm, "accuracy"))
        }
        best = max(means, key=lambda rate: means[rate], default=None)
        rows.append((variant.words, *(means.get(rate) for rate in rates), best and f"{best:g}"))
    dense = next(iter(interval(results.values(base(results), "accuracy")) or (None,)))
    rows.append(("dense, before", *(dense for _ in rates), None))
    least = min(arm.config.variant.capacity for arm in tried if not arm.config.variant.layers)
    return Table(
        f"tuning-{tag(results)}",
        f"{results.study.name}: accuracy after {tried[0].steps} steps at capacity {least:g}, by "
        "learning rate",
        (
            Column("router"),
            *(Column(f"at {rate:g}", "accuracy %", 1) for rate in rates),
            Column("best rate"),
        ),
        tuple(rows),
        notes(results, "No final run is scored on these pictures."),
        ids(tried),
    )


def routing_digits_tuning(scale: Scale) -> Study:
    """Three tries of every router's rate, scored on canvases of the `val` digits.

    Cells: none. Cost: five minutes. Deviations: as of `routing_digits`.
    """
    data, plan = digits_plan(scale)
    return tuning("routing_digits", scale, replace(data, test_split="val"), plan)


def routing_cifar10_tuning(scale: Scale) -> Study:
    """Three tries of every router's rate, scored on a held-out fifth of the training pictures.

    Cells: none. Cost: a quarter of an hour. Deviations: as of `routing_cifar10`.
    """
    data = replace(CIFAR10, held_out=True)
    return tuning("routing_cifar10", scale, data, cifar10_plan(scale))
