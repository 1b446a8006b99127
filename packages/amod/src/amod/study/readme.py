"""What is generated in the package's documents: findings, verdicts, speed, index of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import amod
from amod.study.bench import table
from amod.study.claims import RANK_CORRELATION, find
from amod.study.configs import Importance, Oracle, Variant
from amod.study.flop_table import agreements
from amod.study.tables import tag
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results
from repro_shared.timing.bench import Bench, read_benches

RESULTS = Path(amod.__file__ or "").parents[2] / "results"
QUESTIONS = (
    ("attention-beats-linear-0.5", "Fine-tuned with half of the tokens", "the linear router"),
    (
        "attention-beats-isoflop-first-0.5",
        "Fine-tuned with half of the tokens",
        "the first layers alone (of about the same cost)",
    ),
    ("converted-attention-beats-random", "Converted to half of the tokens", "random tokens"),
    (
        "transfer-attention-beats-linear",
        "In accuracy averaged over transfer with an eighth of the tokens",
        "the linear router",
    ),
    (
        "scratch-attention-beats-linear",
        "Routed from scratch with half of the tokens",
        "the linear router",
    ),
    (
        "importance-attention-beats-random",
        "In agreement with leave-one-out importance",
        "random tokens",
    ),
)
"""The headline claims: id without the study's tag, what was done, and the rival."""
ANSWERS = {
    "supported": "attention beats {}",
    "contradicted": "attention loses to {}",
    "inconclusive": "attention and {} cannot be told apart",
}
FLOPS_REACHED = ("equal", "equal when truncated")
FLOPS_WORDS = {
    "equal": "equal our closed form to the last digit",
    "equal when truncated": "agree where it is truncated instead of rounded",
    "one unit": "are one unit off",
    "differs": "differ",
    "not reproduced": "are not reproduced",
}


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
    """An answer a paragraph, which follows from verdicts or intervals; numbers from the records."""
    if not (digits.records and cifar.records):
        return ["No evidence on images has been committed yet."]
    studies = {"the digits": digits, cifar.place("CIFAR-10"): cifar}
    claimed = [claim_found(studies, *question) for question in QUESTIONS]
    return [flops_found(agreements()), *claimed, *oracles_found(studies), digit_found(digits)]


def flops_found(counts: Mapping[str, int]) -> str:
    """Of all FLOP cells, how many come out."""
    cells = sum(counts.values())
    reached = sum(counts.get(kind, 0) for kind in FLOPS_REACHED)
    share = "All" if reached == cells else "Most" if 2 * reached > cells else "Less than half"
    said = [f"{counts[kind]} {words}" for kind, words in FLOPS_WORDS.items() if counts.get(kind)]
    return (
        f"**{share} of the paper's FLOP cells come out.** Of {cells}, {', '.join(said)}. The "
        "[table](results/tables/flops.csv) has each."
    )


def claim_found(studies: Mapping[str, Results], name: str, asked: str, rival: str) -> str:
    """Attention against a rival on every data set that has this claim."""
    places: dict[str, list[str]] = {}
    said = []
    for where, results in studies.items():
        claims = [c for c in results.study.claims if c.id == f"{name}-{tag(results)}"]
        for claim in claims:
            verdict = results.verdict(claim).verdict
            answer = ANSWERS.get(verdict, "there is no verdict on attention against {}")
            places.setdefault(answer.format(rival), []).append(f"on {where}")
            arms = (results.study.arm(identifier) for identifier in (claim.arm, claim.rival))
            found = (interval(results.values(arm, claim.metric)) for arm in arms)
            rank = claim.unit == RANK_CORRELATION
            show = Column("", "", 3 if rank else 1).show
            ours, theirs = (show(end and end.mean, "none") for end in found)
            unit = "" if rank else " %"
            said.append(f"on {where} {ours} against {theirs}{unit} ({verdict})")
    answer = "; ".join(f"{words} {' and '.join(names)}" for words, names in places.items())
    detail = "; ".join(said)
    return f"**{asked}, {answer}.** {detail[:1].upper()}{detail[1:]}."


def oracles_found(studies: Mapping[str, Results]) -> list[str]:
    """What a ranking that knows the labels keeps at half of the tokens; no claim was made."""
    said, surely = [], []
    for where, results in studies.items():
        arm = find(results.study.arms, Oracle, Variant(capacity=0.5))
        knows, ours = (results.values(arm, metric) for metric in ("accuracy", "attention"))
        if knows:
            means = [sum(values) / len(values) for values in (knows, ours)]
            said.append(f"{means[0]:.1f} % on {where} where attention has {means[1]:.1f}")
            surely.append(above([a - b for a, b in zip(knows, ours, strict=True)], 0.0))
    if not said:
        return []
    answer = "keeps more" if all(surely) else "does not surely keep more"
    return [
        f"**A ranking that knows the labels {answer}.** Keeping the half of the tokens whose "
        f"absence costs most, it has {', and '.join(said)}. No claim was made."
    ]


def digit_found(digits: Results) -> str:
    """Whether attention ranks the patches of the digit first; no claim was made."""
    values = digits.values(find(digits.study.arms, Importance, Variant()), "auc")
    answer = "finds" if above(values, 0.5) else "does not surely find"
    return (
        f"**Attention {answer} the digit.** It ranks a patch of the digit above another with "
        f"probability {Column('', '', 2).show(interval(values), 'none')}, where 0.5 is chance. No "
        "claim was made."
    )


def above(values: Sequence[float], bound: float) -> bool:
    """Whether the whole interval of the mean lies above a bound."""
    found = interval(values)
    return found is not None and found.low is not None and found.low > bound


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
