"""The routing studies: one dense ViT of each seed, and everything that is made of it.

Train it, convert it without training (the paper's table 3), fine-tune it under each router (table
1, figures 8 and 11), ask which tokens matter (figure 7), route from scratch (table 8) and, for
digits, transfer it to other classes (tables 4 and 5, figure 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from amod.method.routing import tokens_kept
from amod.rivals.baselines import KEPT, isoflop_layers
from amod.study import figures, stages, tables
from amod.study.claims import accuracy_claims, importance_claims
from amod.study.configs import (
    LEARNED,
    Converted,
    Dense,
    Finetuned,
    Importance,
    Network,
    Oracle,
    Scratch,
    Transferred,
    Variant,
)
from amod.study.data import DigitCanvases, SmallPhotographs, canvas
from amod.use.schedule import Schedule
from repro_shared.datasets.views import Shift
from repro_shared.study.paper import Arm, Scale, Study
from repro_shared.study.protocols import Arithmetic, DataSource

ROUTERS = ("attention", *LEARNED, "random", "l2norm")
CAPACITIES = (0.7, 0.5, 0.25, 0.125)

TUNED = ("attention", "attention-multiplied", *LEARNED, "random", "random-again", "l2norm")
CIFAR10 = SmallPhotographs(
    "CIFAR-10",
    known=(
        "89d3e00b06f87728f09e84541da4f4a5+315e649f3741f647cd9b0c203dbc53ec",
        "89d3e00b06f87728f09e84541da4f4a5+89d3e00b06f87728f09e84541da4f4a5",  # of the tuning
    ),
)
CIFAR_RATES = {**dict.fromkeys(TUNED, 1e-3), "isoflop": 1e-4}
DIGIT_RATES = {**CIFAR_RATES, "attention": 3e-4}
"""Both as tuned on seed 100, results/protocol.md."""


@dataclass(frozen=True)
class Plan:
    """What the arms of a routing study have in common.

    Attributes:
        network, dense: the dense model and its training.
        view: how training sees its pictures.
        finetune: of every arm, without the rate; `rates` has each router's.
        capacities: that are fine-tuned; conversions are made at all of `CAPACITIES`.
        pictures: test pictures for leave-one-out importance.
        ablated: capacity of the ablations; 0 for none, and none routed from scratch.
        other, transfer: pictures of other classes, and the training on them; None for none.
    """

    network: Network
    dense: Schedule
    view: Shift
    finetune: Schedule
    rates: dict[str, float]
    capacities: tuple[float, ...]
    pictures: int
    ablated: float = 0.0
    other: DataSource | None = None
    transfer: Schedule | None = None

    def base(self) -> Arm:
        """The dense model."""
        return Arm("dense", Dense(self.network, self.dense, self.view), stages.dense)

    def tuned(self, schedule: Schedule, variant: Variant) -> Schedule:
        """The schedule with the rate that was tuned for this variant."""
        rate = self.rates["isoflop" if variant.layers else variant.router]
        return replace(schedule, learning_rate=rate)

    def cut(self, capacity: float, larger: bool = False) -> list[Variant]:
        """Fewer layers: of the cost nearest to a capacity's, or the next at or above it."""
        layers = isoflop_layers(self.network.shape, capacity)[larger]
        return [Variant(layers=layers, keep=keep) for keep in KEPT]


def converted(base: Arm, variant: Variant, control: bool = False) -> Arm:
    """One variant, scored as it is."""
    name = f"converted, {variant.full}"
    return Arm(name, Converted(variant), stages.converted, (base,), control=control)


def conversions(plan: Plan, base: Arm) -> list[Arm]:
    """Without training: every router and vote at every capacity, and fewer layers."""
    rows = [Variant(router) for router in ROUTERS]
    rows += [Variant(score="patch-rows"), Variant(score="cls-row"), Variant(protect_prefix=True)]
    rows.append(Variant("other-image"))
    routed = [replace(row, capacity=capacity) for row in rows for capacity in CAPACITIES]
    cut = [variant for capacity in CAPACITIES for variant in plan.cut(capacity)]
    return [converted(base, variant) for variant in dict.fromkeys([*routed, *cut])]


def importances(plan: Plan, base: Arm) -> list[Arm]:
    """Rankings in the dense model against leave-one-out importance."""
    rankings = [Variant(), Variant(score="cls-row")]
    rankings += [Variant(router) for router in ("l2norm", "random", "other-image")]
    return [
        Arm(f"importance, {v.words}", Importance(v, plan.pictures), stages.importance, (base,))
        for v in rankings
    ]


def finetuned(plan: Plan, base: Arm, variant: Variant, control: bool = False) -> Arm:
    """One variant, trained on; the rankings of learned routers and attention are examined."""
    examined = variant in [Variant(r, max(plan.capacities)) for r in ("attention", *LEARNED)]
    config = Finetuned(
        variant, plan.tuned(plan.finetune, variant), plan.view, plan.pictures if examined else 0
    )
    words = "dense" if variant == Variant() else variant.full
    return Arm(f"fine-tuned, {words}", config, stages.finetuned, (base,), control=control)


def finetunes(plan: Plan, base: Arm) -> list[Arm]:
    """The dense model, every router and the nearest depth-cut models at each capacity."""
    found = [Variant()]
    for capacity in plan.capacities:
        found += [Variant(router, capacity) for router in ROUTERS] + plan.cut(capacity)
    return [finetuned(plan, base, variant) for variant in dict.fromkeys(found)]


def finetuned_controls(plan: Plan, base: Arm, before: Sequence[Arm]) -> list[Arm]:
    """Larger depth-cut models, other random tokens, ablations; without what is there already."""
    found = [variant for c in plan.capacities for variant in plan.cut(c, larger=True)]
    found.append(Variant("random-again", min(plan.capacities)))
    if plan.ablated:
        attention = Variant("attention", plan.ablated)
        found += [
            Variant("attention-multiplied", plan.ablated),
            replace(attention, first=plan.network.depth // 2),
            replace(attention, protect_prefix=True),
            replace(attention, score="patch-rows"),
            replace(attention, score="cls-row"),
        ]
    arms = [finetuned(plan, base, variant, control=True) for variant in dict.fromkeys(found)]
    return [arm for arm in arms if arm.id not in {other.id for other in before}]


def transfers(plan: Plan, base: Arm) -> list[Arm]:
    """Other classes at the smallest capacity, with accuracy every quarter of an epoch."""
    if plan.transfer is None or not isinstance(plan.other, DigitCanvases):
        return []
    least, schedule = min(plan.capacities), plan.transfer
    quarter = max(1, plan.other.train_length // schedule.batch_size // 4)
    routed = [Variant(router, least) for router in ("attention", *LEARNED)]
    often = schedule.steps // quarter
    arms = []
    for v in [*routed, *plan.cut(least)]:
        config = Transferred(v, plan.tuned(schedule, v), plan.view, evaluations=often)
        name = f"transferred, {v.full}"
        arms.append(Arm(name, config, stages.transferred, (base,), data=plan.other))
    return arms


def further_controls(plan: Plan, base: Arm) -> list[Arm]:
    """Aligned numbers of tokens, the oracle, and routing from the first step on."""
    tokens = plan.network.shape.tokens
    found = [
        converted(base, Variant(capacity=capacity, k_align=8), control=True)
        for capacity in CAPACITIES
        if tokens_kept(capacity, tokens) != tokens_kept(capacity, tokens, 8)
    ]
    for v in (Variant(capacity=capacity) for capacity in CAPACITIES):
        knows = Oracle(v, 4 * plan.pictures)
        found.append(Arm(f"oracle, {v.share}", knows, stages.oracle, (base,), control=True))
    for router in ("attention", *LEARNED) if plan.ablated else ():
        v = Variant(router, max(plan.capacities))
        config = Scratch(v, plan.network, plan.dense, plan.view)
        found.append(Arm(f"from scratch, {v.full}", config, stages.scratch, control=True))
    return found


def routing(name: str, scale: Scale, data: DataSource, plan: Plan) -> Study:
    """All arms on one kind of picture, with their tables and figures."""
    base = plan.base()
    arms = [base, *conversions(plan, base), *importances(plan, base), *finetunes(plan, base)]
    arms += transfers(plan, base)
    arms += finetuned_controls(plan, base, arms) + further_controls(plan, base)
    smoke = scale == "smoke"
    name = f"{name}_smoke" if smoke else name
    made = [tables.conversion, tables.finetuning, tables.importance]
    made += [tables.transfer] if plan.transfer else []
    made += [tables.scratch] if plan.ablated else []
    drawn = [figures.conversion, *([figures.transfer] if plan.transfer else [])]
    claims = [] if smoke else [*accuracy_claims(name, arms), *importance_claims(name, arms)]
    made += [] if smoke else [tables.verdicts, tables.importance_verdicts]
    return Study(
        name, scale, data, tuple(arms), (0,) if smoke else (0, 1, 2),
        tuple(made), tuple(drawn), tuple(claims),
    )  # fmt: skip


def digits_plan(scale: Scale) -> tuple[DigitCanvases, Plan]:
    """Pictures and settings of `routing_digits`; its tuning has the same."""
    smoke = scale == "smoke"
    data = DigitCanvases(
        "cluttered digits 0-4",
        canvas((0, 1, 2, 3, 4)),
        train_length=64 if smoke else 4000,
        test_length=32 if smoke else 500,
    )
    other = DigitCanvases(
        "cluttered digits 5-9",
        canvas((5, 6, 7, 8, 9)),
        train_length=64 if smoke else 1000,
        test_length=32 if smoke else 300,
        seed=1,
    )
    return data, Plan(
        network=Network(16, 4, 2, 8, classes=5) if smoke else Network(classes=5),
        dense=from_scratch(4, 16) if smoke else from_scratch(1000),
        view=Shift(2),
        finetune=Schedule(2, 16) if smoke else Schedule(40, 64),
        rates=DIGIT_RATES,
        capacities=(0.25,) if smoke else (0.5, 0.125),
        pictures=4 if smoke else 64,
        ablated=0.25 if smoke else 0.125,
        other=other,
        transfer=Schedule(4, 16) if smoke else Schedule(80, 64),
    )


def cifar10_plan(scale: Scale) -> Plan:
    """Settings of `routing_cifar10`; its tuning has the same."""
    smoke = scale == "smoke"
    return Plan(
        network=Network(16, 4, 2, 8) if smoke else Network(depth=8),
        dense=from_scratch(4, 16) if smoke else from_scratch(1500),
        view=Shift(2, mirror=True),
        finetune=Schedule(2, 16) if smoke else Schedule(60, 64),
        rates=CIFAR_RATES,
        capacities=(0.25,) if smoke else (0.5, 0.125),
        pictures=4 if smoke else 64,
    )


def from_scratch(steps: int, batch_size: int = 64) -> Schedule:
    """Training of a dense model: no weight decay, for it is far from fitting its pictures."""
    return Schedule(steps, batch_size, learning_rate=1e-3, warmup=0.05, weight_decay=0.0)


def routing_digits(scale: Scale) -> Study:
    """Tables 1, 3, 4 and figures 4, 7, 8, 11 as mechanisms, on cluttered digit canvases.

    Cells: none of the paper's numbers; its claims, on data where the relevant patches are known.
    Cost: cpu under 15 minutes on two cores for 3 seeds; smoke seconds.
    Deviations: composed pictures of 32 pixels, a ViT of 6 layers and width 64 trained for minutes;
    AdamW throughout, rates tuned for every router alike.
    """
    data, plan = digits_plan(scale)
    return routing("routing_digits", scale, data, plan)


def routing_cifar10(scale: Scale) -> Study:
    """The same on real photographs: CIFAR-10 in class folders, `--data DIR` with train/ and test/.

    Cells: none of the paper's numbers; its claims.
    Cost: cpu about 40 minutes on two cores for 5 seeds.
    Deviations: as of `routing_digits`; no transfer, no ablations.
    """
    return routing("routing_cifar10", scale, CIFAR10, cifar10_plan(scale))


def flops(scale: Scale) -> Study:
    """The paper's FLOP columns from a closed form.

    Cells: all GFLOPs of tables 1, 2 and 4 to 9 and figure 8. Cost: seconds, nothing is trained.
    Deviations: cells that cannot be reproduced are listed with the reason.
    """
    return Study("flops", scale, Arithmetic(), (), (0,), tables=(tables.flops,))
