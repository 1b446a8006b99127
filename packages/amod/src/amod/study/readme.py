"""What is generated in the package's documents: findings, verdicts, speed, index of the results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import amod
from amod.study.bench import table
from amod.study.claims import capacities, depths, find
from amod.study.configs import (
    Converted,
    Finetuned,
    Importance,
    Oracle,
    Scratch,
    Transferred,
    Variant,
)
from amod.study.flop_table import rows as flop_rows
from amod.study.tables import base
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results
from repro_shared.timing.bench import Bench, read_benches

RESULTS = Path(amod.__file__ or "").parents[2] / "results"
TRANSFERRED_TABLES = ("table4", "table5")


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    claimed = {name: results for name, results in found.items() if results.study.claims}
    benches = read_benches(RESULTS)
    timed = "\n".join(table(bench).to_markdown() for bench in benches)
    nothing = "No timings have been committed yet.\n"
    return {
        "README.md": {
            "findings": "\n\n".join(findings(found["routing_digits"], found["routing_cifar10"])),
            "verdicts": short_verdicts(claimed, headlines=True),
            "speed": speed_table(benches).to_markdown() if benches else nothing,
        },
        "results/README.md": {
            "verdicts": short_verdicts(claimed),
            "index": index(found),
            "speed": timed or nothing,
        },
    }


def findings(digits: Results, cifar: Results) -> list[str]:
    """One claim a paragraph, the answer first; every number comes from the records."""
    if not (digits.records and cifar.records):
        return ["No evidence on images has been committed yet."]
    cells = [row for row in flop_rows() if row.cell.table in TRANSFERRED_TABLES]
    equal = sum(row.agreement == "equal" for row in cells)
    half, eighth = Variant(capacity=0.5), Variant(capacity=0.125)
    linear, least = Variant("linear", 0.5), Variant("linear", 0.125)
    return [
        f"**The paper's FLOP columns come out.** Of the {len(cells)} cells of tables 4 and 5, "
        f"{equal} equal our closed form to the last digit.",
        "**Against the linear router the claim shows in one place only.** Fine-tuned with half of "
        f"the tokens, attention ends {_gap(digits, Finetuned, half, linear)} the linear router on "
        f"the digits ({_word(digits, Finetuned, half, linear)}), and "
        f"{_gap(cifar, Finetuned, half, linear)} it on CIFAR-10 "
        f"({_word(cifar, Finetuned, half, linear)}).",
        "**A shallower network does better at about the same cost.** A-MoD with half of the "
        f"tokens ends {_gap(digits, Finetuned, half, _first(digits))} the first layers alone on "
        f"the digits ({_word(digits, Finetuned, half, _first(digits))}), and "
        f"{_gap(cifar, Finetuned, half, _first(cifar))} them on CIFAR-10 "
        f"({_word(cifar, Finetuned, half, _first(cifar))}).",
        "**Converted without training, attention keeps no more than random tokens.** With half of "
        f"the tokens it has {_mean(digits, Converted, half):.1f} % on the digits, where random "
        f"tokens have {_mean(digits, Converted, Variant('random', 0.5)):.1f}. On CIFAR-10 it has "
        f"{_mean(cifar, Converted, half):.1f}, and they have "
        f"{_mean(cifar, Converted, Variant('random', 0.5)):.1f}.",
        f"**A better ranking would matter.** {_oracle(digits)} {_oracle(cifar)}",
        "**In transfer the linear routers are ahead.** In accuracy averaged over training, "
        f"attention ends {_gap(digits, Transferred, eighth, least, 'area')} the linear router "
        f"({_word(digits, Transferred, eighth, least)}).",
        "**Routed from scratch, nothing separates the routers.** With half of the tokens A-MoD "
        f"reaches {_mean(digits, Scratch, half):.1f} %, the linear router "
        f"{_mean(digits, Scratch, Variant('linear', 0.5)):.1f}.",
        "**Attention finds the digit, and its ranking hardly agrees with importance.** It ranks a "
        "patch of the digit above another with probability "
        f"{_mean(digits, Importance, Variant(), 'auc'):.2f}. Its rank correlation with "
        f"leave-one-out importance is {_mean(digits, Importance, Variant(), 'spearman'):.3f}.",
    ]


def _first(results: Results) -> Variant:
    """The first layers alone, of cost nearest to half of the tokens."""
    largest = max(capacities(results.study.arms, Finetuned))
    return Variant(layers=depths(results.study.arms, largest)[0])


def _mean(results: Results, kind: type[Any], variant: Variant, metric: str = "accuracy") -> float:
    values = results.values(find(results.study.arms, kind, variant), metric)
    return sum(values) / len(values)


def _gap(
    results: Results, kind: type[Any], ours: Variant, rival: Variant, metric: str = "accuracy"
) -> str:
    """`3.6 points above`."""
    effect = _mean(results, kind, ours, metric) - _mean(results, kind, rival, metric)
    return f"{abs(effect):.1f} points {'above' if effect > 0 else 'below'}"


def _word(results: Results, kind: type[Any], ours: Variant, rival: Variant) -> str:
    """The verdict of the claim about two variants."""
    pair = tuple(find(results.study.arms, kind, variant).id for variant in (ours, rival))
    claims = (c for c in results.study.claims if (c.arm, c.rival) == pair)
    return next((results.verdict(claim).verdict for claim in claims), "no claim")


def _oracle(results: Results) -> str:
    """What a ranking that knows the labels keeps at half of the tokens."""
    arm = next(
        a for a in results.study.arms
        if type(a.config) is Oracle and a.config.variant.capacity == 0.5
    )  # fmt: skip
    if not results.runs(arm):
        return ""
    knows, ours = (
        sum(values) / len(values)
        for values in (results.values(arm, name) for name in ("accuracy", "attention"))
    )
    data = results.study.source(base(results)).name
    return (
        f"On {data}, keeping the half of the tokens whose absence costs most gives "
        f"{knows:.1f} %, where attention gives {ours:.1f}."
    )


def speed_table(benches: list[Bench]) -> Table:
    """Every bench in a row: how much of the ceiling by multiply-accumulates A-MoD reaches."""
    rows: list[tuple[Cell, ...]] = []
    for bench in benches:
        how = "compiled" if bench.settings["compiled"] else "not compiled"
        cells: list[Cell] = [bench.settings["model"], bench.settings["batch"], how]
        for capacity in bench.settings["capacities"]:
            arm = f"A-MoD {capacity:g}"
            ceiling = bench.macs["dense"] / bench.macs[arm]
            cells += [bench.ratio("dense", arm), bench.ratio("dense", arm).mean / ceiling]
        scores = 100 * (bench.ratio("dense with scores", "dense").mean - 1)
        rows.append((*cells, scores))
    columns = [Column("model"), Column("batch"), Column("")]
    for capacity in benches[0].settings["capacities"]:
        columns += [
            Column(f"speed with {100 * capacity:g} %", "x dense", 2),
            Column("of the ceiling", "", 3),
        ]
    columns.append(Column("scores cost", "%", 1))
    return Table(
        "speed",
        "Images per second over timm's dense model",
        tuple(columns),
        tuple(rows),
        (
            "Ratios of runs that take turns in one process; brackets: 10 and 90 % points of single "
            "rounds. The ceiling is the ratio of multiply-accumulates. CUDA: not run.",
        ),
    )
