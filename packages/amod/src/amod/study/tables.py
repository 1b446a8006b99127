"""Tables of the routing studies and of their tuning, from the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from amod.method.flops import Shape
from amod.rivals.baselines import KEPT
from amod.study.claims import RANK_CORRELATION, capacities, depths, find, of_kind, variants
from amod.study.configs import (
    Converted,
    Dense,
    Finetuned,
    Importance,
    Oracle,
    Scratch,
    Transferred,
    Variant,
)
from amod.study.data import DigitCanvases
from amod.study.flop_table import flop_table
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.records import Curve
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results

INTERVALS = (
    "Brackets: 95 % Student t interval over seeds (initialisation, data order, views; not over "
    "pictures). No number here is the paper's."
)
COST_AND_ACCURACY = (
    Column("model, capacity"),
    Column("MACs", "x dense", 3),
    Column("accuracy", "%", 2),
)
ROUNDING = 1e-3  # a curve has five digits


def tag(results: Results) -> str:
    """`digits` of `routing_digits` and its tuning, `digits-smoke` at that scale: in ids."""
    smoke = "-smoke" if results.study.scale == "smoke" else ""
    return results.study.name.split("_")[1] + smoke


def shape(results: Results) -> Shape:
    """Of the dense model."""
    return base(results).config.network.shape


def base(results: Results) -> Arm:
    """The dense model."""
    return next(arm for arm in results.study.arms if isinstance(arm.config, Dense))


def cost(results: Results, variant: Variant) -> float:
    """Multiply-accumulates over the dense model's."""
    return variant.macs(shape(results)) / Variant().macs(shape(results))


def notes(results: Results, *further: str) -> tuple[str, ...]:
    """Below every table."""
    return (*results.notes, INTERVALS, *further)


def flops(results: Results) -> Table:
    """The paper's FLOP columns: arithmetic."""
    return flop_table()


def conversion(results: Results) -> Table:
    """Accuracy right after conversion, no training, by capacity."""
    arms = results.study.arms
    shown = capacities(arms, Converted)
    routed = dict.fromkeys(
        replace(v, capacity=1.0) for v in variants(arms, Converted) if not v.layers
    )
    rows: list[tuple[Cell, ...]] = []

    def row(label: str, cells: Iterable[Cell]) -> None:
        rows.append((label, *cells))

    def accuracy(variant: Variant, kind: type[Any] = Converted, metric: str = "accuracy") -> Cell:
        known = variant in variants(arms, kind, controls=True)
        return interval(results.values(find(arms, kind, variant), metric)) if known else None

    row("dense", [interval(results.values(base(results), "accuracy")) for _ in shown])
    for variant in routed:
        row(variant.words, (accuracy(replace(variant, capacity=c)) for c in shown))
    for keep in KEPT:
        cut = [Variant(layers=depths(arms, c)[0], keep=keep) for c in shown]
        row(f"fewer layers ({keep})", map(accuracy, cut))
    further = [
        "The linear routers are untrained; gates from one rank all tokens alike. Fewer layers: the "
        f"number whose cost is nearest, {', '.join(str(depths(arms, c)[0]) for c in shown)}."
    ]
    aligned = [Variant(capacity=c, k_align=8) for c in shown]
    if any(map(accuracy, aligned)):
        row(Variant(k_align=8).words, map(accuracy, aligned))
    oracles = [Variant(capacity=c) for c in shown]
    known = [v for v in oracles if accuracy(v, Oracle)]
    if known:
        counts, wholes = (
            results.values(find(arms, Oracle, known[0]), metric) for metric in ("pictures", "dense")
        )
        first = f"first {counts[0]:g} pictures"
        row(f"attention, {first}", (accuracy(v, Oracle, "attention") for v in oracles))
        row(f"oracle, {first}", (accuracy(v, Oracle) for v in oracles))
        further.append(
            "Oracle: keeps the tokens of largest leave-one-out importance in the dense model, so "
            f"it knows the labels; on the first {counts[0]:g} test pictures, where the dense model "
            f"has {sum(wholes) / len(wholes):.1f} %."
        )
    columns = [Column(f"accuracy at {Variant(capacity=c).share}", "%", 1) for c in shown]
    return Table(
        f"conversion-{tag(results)}",
        f"{results.study.name}: accuracy right after conversion, without training",
        (Column("model"), *columns),
        tuple(rows),
        notes(results, *further),
        ids(of_kind(arms, Converted)),
    )


def finetuned_rows(results: Results) -> list[tuple[str, Arm, float]]:
    """Label, arm and the capacity of A-MoD beside it: the dense model's is 1."""
    arms = results.study.arms
    tuned = capacities(arms, Finetuned)

    def cut(capacity: float, larger: bool) -> list[tuple[str, Arm, float]]:
        layers = depths(arms, capacity)
        if larger and layers[0] == layers[1]:
            return []
        found = [find(arms, Finetuned, Variant(layers=layers[larger], keep=keep)) for keep in KEPT]
        beside = Variant(capacity=capacity).share
        return [(f"{arm.name}, beside {beside}", arm, capacity) for arm in found]

    own = of_kind(arms, Finetuned)
    routed = [arm for arm in own if not arm.config.variant.layers and not arm.control]
    rows = [(arm.name, arm, 1.0) for arm in routed if arm.config.variant == Variant()]
    for capacity in tuned:
        same = [arm for arm in routed if arm.config.variant.capacity == capacity]
        rows += [(arm.name, arm, capacity) for arm in same] + cut(capacity, larger=False)
    for capacity in tuned:
        rows += cut(capacity, larger=True)
    further = [arm for arm in own if not arm.config.variant.layers and arm.control]
    rows += [(arm.name, arm, arm.config.variant.capacity) for arm in further]
    return [row for row in rows if not row[1].control or results.runs(row[1])]


def finetuning(results: Results) -> Table:
    """Accuracy after fine-tuning, beside the cost."""
    arms, rows = results.study.arms, list[tuple[Cell, ...]]()
    for label, arm, capacity in finetuned_rows(results):
        values, ratio = results.values(arm, "accuracy"), None
        if capacity < 1 and values:
            ours = results.values(find(arms, Finetuned, Variant("attention", capacity)), "accuracy")
            own = 100 - sum(values) / len(values)
            ratio = (100 - sum(ours) / len(ours)) / own if ours and own > 0 else None
        rows.append((label, cost(results, arm.config.variant), interval(values), ratio,
                     _by_seed(values)))  # fmt: skip
    steps = find(arms, Finetuned, Variant()).config.steps
    return Table(
        f"finetune-{tag(results)}",
        f"{results.study.name}: accuracy after {steps} steps of fine-tuning from the same dense "
        "model",
        (
            *COST_AND_ACCURACY,
            Column("error of attention", "x its own", 3),
            Column("accuracy by seed"),
        ),
        tuple(rows),
        notes(
            results,
            "Error of attention: error of A-MoD at the same capacity over this model's; below 1, "
            "A-MoD is better. Fewer layers stand beside the capacity of nearest cost, or of the "
            "next at or below theirs.",
        ),
        ids(arm for _, arm, _ in finetuned_rows(results)),
    )


def transfer(results: Results) -> Table:
    """Final accuracy, its average over training, and how soon it is near a peak (figure 4)."""
    arms = of_kind(results.study.arms, Transferred)
    routed = next(arm for arm in arms if arm.config.variant.router == "attention")
    ours = {run.seed: results.curve(run) for run in results.runs(routed)}
    rows: list[tuple[Cell, ...]] = []
    for arm in arms:
        runs = results.runs(arm)
        pairs = [(results.curve(run), run) for run in runs if run.seed in ours]
        rows.append(
            (
                arm.name,
                interval(results.values(arm, "accuracy")),
                interval(results.values(arm, "area")),
                *_reached((curve, _peak(ours[run.seed]) - 2) for curve, run in pairs),
                _reached((curve, _peak(curve) - 2) for curve, _ in pairs)[0],
                *_reached((ours[run.seed], run.metrics["accuracy"]) for _, run in pairs),
            )
        )
    return Table(
        f"transfer-{tag(results)}",
        f"{results.study.name}: transfer to other classes",
        (
            Column("model, capacity"),
            Column("accuracy", "%", 2),
            Column("average over training", "%", 2),
            Column("steps to A-MoD's peak - 2", "", 0),
            Column("never there", "seeds", 0),
            Column("steps to its own peak - 2", "", 0),
            Column("A-MoD's steps to its accuracy", "", 0),
            Column("A-MoD never there", "seeds", 0),
        ),
        tuple(rows),
        notes(
            results,
            "Evaluated every quarter of an epoch. Steps: mean over the seeds that come so far; "
            "never there: the other seeds. Two points below A-MoD's best: the paper's line. Last: "
            "when A-MoD has reached the final accuracy of the model in this row.",
        ),
        ids(arms),
    )


def _peak(curve: Curve) -> float:
    return max(float(point or 0) for point in curve["accuracy"])


def _reached(goals: Iterable[tuple[Curve, float]]) -> tuple[float | None, int]:
    """Mean step at which curves first reach their levels, and how many never do."""
    first, never = list[float](), 0
    for curve, level in goals:
        points = zip(curve["step"], curve["accuracy"], strict=True)
        there = [step for step, accuracy in points if float(accuracy or 0) >= level - ROUNDING]
        first += [float(step or 0) for step in there[:1]]
        never += not there
    return (sum(first) / len(first) if first else None), never


def scratch(results: Results) -> Table:
    """Accuracy of models that were routed from the first step on (table 8)."""
    rows: list[tuple[Cell, ...]] = []
    routed = [(arm, arm.config.variant) for arm in of_kind(results.study.arms, Scratch)]
    for arm, variant in [(base(results), Variant()), *routed]:
        values = results.values(arm, "accuracy")
        rows.append((arm.name, cost(results, variant), interval(values), _by_seed(values)))
    return Table(
        f"scratch-{tag(results)}",
        f"{results.study.name}: accuracy when routed from the first of {base(results).steps} steps "
        "on",
        (*COST_AND_ACCURACY, Column("accuracy by seed")),
        tuple(rows),
        notes(results, "The dense model's schedule and rate for all."),
        ids(arm for arm, _ in routed),
    )


def importance(results: Results) -> Table:
    """How well each ranking agrees with leave-one-out importance, and finds the digit."""
    arms = of_kind(results.study.arms, Importance)
    arms += [arm for arm in of_kind(results.study.arms, Finetuned) if arm.config.pictures]
    measures = {
        "spearman": Column("rank correlation", "-1 to 1", 3),
        "pearson": Column("Pearson of means", "-1 to 1", 3),
    }
    explained = (
        f"{arms[0].config.pictures} test pictures a seed. Importance of a token: rise of the loss "
        "when a routed block leaves it out. Rank correlation: mean over pictures and blocks; "
        "Pearson of means: of values averaged over pictures, mean over blocks."
    )
    if isinstance(results.study.data, DigitCanvases):  # where the digit lies is known
        measures["auc"] = Column("finds the digit", "AUC", 3)
        explained += " AUC: probability that a patch of the digit outranks another; 0.5 is chance."
    return Table(
        f"importance-{tag(results)}",
        f"{results.study.name}: rankings against leave-one-out importance",
        (Column("ranking"), *measures.values()),
        tuple(
            (arm.name, *(interval(results.values(arm, name)) for name in measures)) for arm in arms
        ),
        notes(results, explained),
        ids(arms),
    )


def verdicts(results: Results) -> Table:
    """Claims in accuracy points."""
    return _verdicts(results, "verdicts", lambda unit: unit != RANK_CORRELATION)


def importance_verdicts(results: Results) -> Table:
    """Claims in rank correlation."""
    return _verdicts(results, "verdicts-importance", lambda unit: unit == RANK_CORRELATION)


def _verdicts(results: Results, name: str, wanted: Callable[[str], bool]) -> Table:
    claims = [claim for claim in results.study.claims if wanted(claim.unit)]
    return verdict_table(
        claims,
        [results.verdict(claim) for claim in claims],
        f"{name}-{tag(results)}",
        f"Verdicts in {claims[0].unit}, {results.study.name}",
        results.sentence,
    )


def _by_seed(values: list[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
