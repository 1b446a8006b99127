"""Tables and figures of a recipe, from its records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from amod.study.claims import CLAIMS, claims_of
from amod.study.recipes import (
    Arm,
    control_arms,
    conversion_arms,
    finetune_arms,
    scratch_arms,
    transfer_arms,
    tried_arms,
)
from amod.study.results import Results
from amod.study.stages import macs
from repro_shared.evidence.claims import interval_cells, interval_columns, judge, verdict_table
from repro_shared.evidence.figures import house_style, line_styles, new_figure, save_figure
from repro_shared.evidence.tables import Cell, Column, Table, write_tables

DATA_SENTENCE = {
    "digits": "composed: real MNIST digits among pieces of others on photographs, 32 x 32",
    "cifar10": "real photographs: CIFAR-10 in class folders, 32 x 32",
}
SEEDS_NOTE = (
    "Low and high: 95 % Student t interval over seeds (initialisation, data order, views; not over "
    "pictures). No number here is the paper's."
)
IMPORTANCE = ("attention", "cls-row", "l2norm", "random", "other-image")


def tables(results: Results) -> list[Table]:
    """Conversion, fine-tuning, importance, transfer, from scratch, verdicts; or the tuning."""
    recipe = results.recipe
    if recipe.tries:
        return [tuning_table(results)]
    found = [conversion_table(results), finetune_table(results), importance_table(results)]
    if recipe.transfer is not None:
        found.append(transfer_table(results))
    if any(results.runs(f"scratch-{arm.name}") for arm in scratch_arms(recipe)):
        found.append(scratch_table(results))
    verdicts = judge(claims_of(recipe.name), results.records)
    by_id = {verdict.claim_id: verdict for verdict in verdicts}
    for name, group in CLAIMS.get(recipe.name, {}).items():
        found.append(
            verdict_table(
                group,
                [by_id[claim.id] for claim in group],
                f"{name}-{recipe.tag}",
                f"Verdicts in {group[0].unit}, {recipe.name}",
                DATA_SENTENCE[recipe.tag],
            )
        )
    return found


def notes(results: Results) -> tuple[str, ...]:
    """Data, seeds and what was left out, below every table."""
    seeds = " ".join(map(str, results.seeds)) or "none"
    stale = f"{results.stale} older records (another recipe or version) are left out."
    return (
        f"Data: {DATA_SENTENCE[results.recipe.tag]}. Seeds: {seeds}.",
        SEEDS_NOTE,
        *((stale,) if results.stale else ()),
    )


def conversion_table(results: Results) -> Table:
    """Accuracy right after conversion, no training, by capacity."""
    recipe = results.recipe
    dense = interval_cells(results.values("dense", "accuracy"))
    rows: list[tuple[Any, ...]] = [("dense", *(x for _ in recipe.capacities for x in dense))]
    measured = [(row, f"convert-{row}", "accuracy") for row in conversion_arms(recipe)]
    extra: tuple[str, ...] = ()
    if results.runs("convert-aligned"):
        measured.append(("aligned", "convert-aligned", "accuracy"))
        extra += ("aligned: attention, the number of tokens a multiple of 8.",)
    if counts := results.values("convert-oracle", "pictures"):
        shown = f"first {counts[0]:g}"
        measured += [
            (f"attention, {shown}", "convert-oracle", "attention"),
            (f"oracle, {shown}", "convert-oracle", "accuracy"),
        ]
        whole = sum(results.values("convert-oracle", "dense")) / len(counts)
        extra += (
            f"oracle: keeps the tokens of largest leave-one-out importance in the dense model, so "
            f"it knows the labels; on the {shown} test pictures, where the dense model has "
            f"{whole:.1f} %.",
        )
    for label, arm, metric in measured:
        cells: list[Any] = [label]
        for capacity in recipe.capacities:
            cells += interval_cells(results.values(arm, f"{metric}/{capacity:g}"))
        rows.append(tuple(cells))
    columns = [Column("model")]
    for capacity in recipe.capacities:
        columns += interval_columns(Column(f"accuracy at {100 * capacity:g} %", "%", 1))
    return Table(
        f"conversion-{recipe.tag}",
        f"{recipe.name}: accuracy right after conversion, without training",
        tuple(columns),
        tuple(rows),
        (
            *notes(results),
            "linear, linear-sigmoid and linear-unit are untrained routers; unit gates start at 1 "
            "and rank all tokens alike. other-image routes by the scores of another picture. "
            "protected always processes the class token. isoflop: depth-cut models of nearest "
            "cost.",
            *extra,
        ),
    )


def finetune_table(results: Results) -> Table:
    """Accuracy after fine-tuning, beside the cost."""
    recipe, rows = results.recipe, []
    dense = macs(finetune_arms(recipe)[0], recipe.network.shape)
    for arm in [*finetune_arms(recipe), *control_arms(recipe)]:
        if arm in control_arms(recipe) and not results.runs(f"finetune-{arm.name}"):
            continue
        values = results.values(f"finetune-{arm.name}", "accuracy")
        mean, low, high = interval_cells(values)
        ours = results.values(f"finetune-attention-{arm.capacity:g}", "accuracy")
        reference = 100 - sum(ours) / len(ours) if ours else None
        ratio = None
        if mean is not None and reference is not None and arm.capacity < 1 and mean < 100:
            ratio = reference / (100 - mean)
        rows.append((arm.name, macs(arm, recipe.network.shape) / dense, mean, low, high, ratio,
                     " ".join(f"{v:.1f}" for v in values)))  # fmt: skip
    steps = recipe.finetune.steps
    return Table(
        f"finetune-{recipe.tag}",
        f"{recipe.name}: accuracy after {steps} steps of fine-tuning from the same dense model",
        (
            Column("model, capacity"),
            Column("MACs", "x dense", 3),
            *interval_columns(Column("accuracy", "%", 2)),
            Column("error of attention", "x its own", 3),
            Column("accuracy by seed"),
        ),
        tuple(rows),
        (
            *notes(results),
            "Error of attention: error of A-MoD at the same capacity over this model's; below 1, "
            "A-MoD is better. isoflop-first-5: the first five layers.",
        ),
    )


def tuning_table(results: Results) -> Table:
    """Accuracy of every router at every learning rate, and the rate of the best."""
    recipe, rows = results.recipe, []
    for arm in tried_arms(recipe):
        runs = {
            rate: results.values(f"try-{arm.name}-{rate:g}", "accuracy") for rate in recipe.tries
        }
        means = {rate: sum(values) / len(values) for rate, values in runs.items() if values}
        best = max(means, key=lambda rate: means[rate], default=None)
        rows.append((arm.name, *(means.get(rate) for rate in recipe.tries), best and f"{best:g}"))
    dense = interval_cells(results.values("dense", "accuracy"))[0]
    rows.append(("dense, before", *(dense for _ in recipe.tries), None))
    scored = "a fifth of the training pictures" if recipe.data.held_out else "canvases of `val`"
    return Table(
        f"tuning-{recipe.tag}",
        f"{recipe.name}: accuracy after {recipe.finetune.steps} steps at capacity "
        f"{min(recipe.finetuned):g}, by learning rate",
        (
            Column("router"),
            *(Column(f"at {rate:g}", "accuracy %", 1) for rate in recipe.tries),
            Column("best rate"),
        ),
        tuple(rows),
        (*notes(results), f"Scored on {scored}, which no final run is scored on."),
    )


def transfer_table(results: Results) -> Table:
    """Final accuracy, its average over training, and how soon it is near a peak (figure 4)."""
    recipe, rows = results.recipe, list[tuple[Cell, ...]]()
    ours = {r.seed: r.curve for r in results.runs(f"transfer-attention-{min(recipe.finetuned):g}")}
    for arm in transfer_arms(recipe):
        runs = results.runs(f"transfer-{arm.name}")
        paired = [run for run in runs if run.seed in ours]
        rows.append(
            (
                arm.name,
                *interval_cells([r.metrics["accuracy"] for r in runs]),
                *interval_cells([r.metrics["area"] for r in runs]),
                *_reached((r.curve, _peak(ours[r.seed]) - 2) for r in paired),
                _reached((r.curve, _peak(r.curve) - 2) for r in runs)[0],
                *_reached((ours[r.seed], r.metrics["accuracy"]) for r in paired),
            )
        )
    return Table(
        f"transfer-{recipe.tag}",
        f"{recipe.name}: transfer to other classes",
        (
            Column("model, capacity"),
            *interval_columns(Column("accuracy", "%", 2)),
            *interval_columns(Column("average over training", "%", 2)),
            Column("steps to A-MoD's peak - 2", "", 0),
            Column("never there", "seeds", 0),
            Column("steps to its own peak - 2", "", 0),
            Column("A-MoD's steps to its accuracy", "", 0),
            Column("A-MoD never there", "seeds", 0),
        ),
        tuple(rows),
        (
            *notes(results),
            "Evaluated every quarter of an epoch. Steps: mean over the seeds that come so far; "
            "never there: the other seeds. Two points below A-MoD's best: the paper's line. Last: "
            "when A-MoD has reached the final accuracy of the model in this row.",
        ),
    )


def _peak(curve: list[dict[str, Any]]) -> float:
    return max(float(point["accuracy"]) for point in curve)


def _reached(
    goals: Iterable[tuple[list[dict[str, Any]], float]],
) -> tuple[float | None, int]:
    """Mean step at which curves first reach their levels, and how many never do."""
    steps = [
        next((float(p["step"]) for p in curve if p["accuracy"] >= level), None)
        for curve, level in goals
    ]
    there = [step for step in steps if step is not None]
    return (sum(there) / len(there) if there else None), len(steps) - len(there)


def scratch_table(results: Results) -> Table:
    """Accuracy of models that were routed from the first step on (table 8)."""
    recipe, rows = results.recipe, []
    dense = macs(Arm("dense"), recipe.network.shape)
    runs = [("dense", "dense", Arm("dense"))]
    runs += [(arm.name, f"scratch-{arm.name}", arm) for arm in scratch_arms(recipe)]
    for label, name, arm in runs:
        values = results.values(name, "accuracy")
        rows.append((label, macs(arm, recipe.network.shape) / dense, *interval_cells(values),
                     " ".join(f"{v:.1f}" for v in values)))  # fmt: skip
    return Table(
        f"scratch-{recipe.tag}",
        f"{recipe.name}: accuracy when routed from the first of {recipe.dense.steps} steps on",
        (
            Column("model, capacity"),
            Column("MACs", "x dense", 3),
            *interval_columns(Column("accuracy", "%", 2)),
            Column("accuracy by seed"),
        ),
        tuple(rows),
        (*notes(results), "The dense model's schedule and rate for all."),
    )


def importance_table(results: Results) -> Table:
    """How well each ranking agrees with leave-one-out importance, and finds the digit."""
    recipe = results.recipe
    arms = [(name, f"importance-{name}") for name in IMPORTANCE]
    arms += [(f"fine-tuned {name}", f"finetune-{name}") for name in recipe.examined]
    measures = {
        "spearman": Column("rank correlation", "-1 to 1", 3),
        "pearson": Column("Pearson of means", "-1 to 1", 3),
    }
    explained = (
        f"{recipe.importance} test pictures a seed. Importance of a token: rise of the loss when a "
        "routed block leaves it out. Rank correlation: mean over pictures and blocks; Pearson of "
        "means: of values averaged over pictures, mean over blocks."
    )
    if recipe.data.scenes is not None:  # where the digit lies is known
        measures["auc"] = Column("finds the digit", "AUC", 3)
        explained += " AUC: probability that a patch of the digit outranks another; 0.5 is chance."
    rows: list[tuple[Cell, ...]] = []
    for label, arm in arms:
        cells = [c for name in measures for c in interval_cells(results.values(arm, name))]
        rows.append((label, *cells))
    return Table(
        f"importance-{recipe.tag}",
        f"{recipe.name}: rankings against leave-one-out importance",
        (Column("ranking"), *(c for mean in measures.values() for c in interval_columns(mean))),
        tuple(rows),
        (*notes(results), explained),
    )


def figures(results: Results, folder: Path) -> None:
    """Conversion by capacity, and transfer curves; none of tuning."""
    if results.recipe.tries:
        return
    with house_style():
        conversion_figure(results, folder)
        if results.recipe.transfer is not None:
            transfer_figure(results, folder)


def conversion_figure(results: Results, folder: Path) -> None:
    """Accuracy kept right after conversion, by capacity."""
    capacities = results.recipe.capacities
    shown = ["attention", "cls-row", "random", "l2norm", "linear", "isoflop-first", "isoflop-even"]
    drawing = new_figure()
    axes = drawing.add_subplot()
    for name, style in dict[str, Any](line_styles(shown)).items():
        kept = [results.values(f"convert-{name}", f"retained/{c:g}") for c in capacities]
        means: list[Any] = [interval_cells(values)[0] for values in kept]
        axes.plot(capacities, means, **style)
    axes.set_xlabel("capacity (share of tokens in routed blocks)")
    axes.set_ylabel("accuracy kept (percent of the dense model's)")
    axes.set_title(f"{results.recipe.name}: conversion without training")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))  # no corner is free
    save_figure(drawing, folder / f"conversion-{results.recipe.tag}")


def transfer_figure(results: Results, folder: Path) -> None:
    """Accuracy over the steps of transfer."""
    drawing = new_figure()
    axes = drawing.add_subplot()
    arms = [arm.name for arm in transfer_arms(results.recipe)]
    for name, style in dict[str, Any](line_styles(arms)).items():
        runs = results.runs(f"transfer-{name}")
        if runs:
            steps = [point["step"] for point in runs[0].curve]
            points = zip(*([p["accuracy"] for p in r.curve] for r in runs), strict=True)
            means = [sum(values) / len(values) for values in points]
            axes.plot(steps, means, **{**style, "markersize": 2.5})
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy, mean over seeds (percent)")
    axes.set_title(f"{results.recipe.name}: transfer to other classes")
    axes.legend(loc="best")
    save_figure(drawing, folder / f"transfer-{results.recipe.tag}")


def write_report(results: Results, out: Path) -> list[Table]:
    """Write tables and figures below `out`; returns the tables."""
    found = tables(results)
    write_tables(out / "tables", found)
    figures(results, out / "figures")
    return found
