"""The study of active learning: every arm, its table and its claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ofds.study.active import ACQUISITIONS, Round, learn
from ofds.study.detection_claims import FEWER, claim_of
from ofds.study.detection_recipes import QUICK, pools, training
from ofds.study.detection_tables import (
    HOURS,
    SCORES,
    SPREAD,
    cost_cells,
    score_cells,
    tag,
    verdicts,
)
from ofds.study.proposed import Describe, Propose, describe, propose
from ofds.study.scenes import TAIL
from repro_shared.evidence.claims import Claim
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Scale, Study, ids
from repro_shared.study.results import Results

STARTS = ("random", "OFDS")
ROUNDS = 3
AMOUNT = 150.0  # objects a round, round 0 included


def active_learning(scale: Scale) -> Study:
    """Three rounds of active learning from a random start and from one chosen by OFDS.

    Cells: none; the paper's abstract says that OFDS as the first labelled set improves active
    learning. Cost: 14 trainings of 45 s a seed, and three minutes of features once. Deviations:
    small scenes and a small detector; which acquisitions the paper used is not known.
    """
    smoke = scale == "smoke"
    found = Arm("proposals", Propose(), propose, seed=0)
    features = Arm("features", Describe(), describe, (found,), seed=0)
    arms = [found, features, *_rounds(scale, (found, features))]
    return Study(
        name="active_learning_smoke" if smoke else "active_learning",
        scale=scale,
        data=pools(scale, "simple", TAIL),
        arms=tuple(arms),
        seeds=(0, 1) if smoke else QUICK,
        tables=(by_round, *(() if smoke else (verdicts,))),
        claims=() if smoke else claims(arms),
    )


def _rounds(scale: Scale, base: tuple[Arm, ...]) -> Iterator[Arm]:
    """Each round starts from the one before; both acquisitions share round 0."""
    make, smoke = training(scale), scale == "smoke"
    amount = 20.0 if smoke else AMOUNT
    for start in STARTS:
        first = Arm(f"{start} start", Round(make, amount, start), learn, base)
        yield first
        for acquisition in ACQUISITIONS:
            before = first
            for number in range(1, 1 + (1 if smoke else ROUNDS)):
                words = f"{start} start, {acquisition}, round {number}"
                before = Arm(words, Round(make, amount, start, acquisition), learn, (before,))
                yield before


def claims(arms: Sequence[Arm]) -> tuple[Claim, ...]:
    """The start matters: over all rounds, and still after the last."""
    by_name, found = {arm.name: arm for arm in arms}, list[Claim]()
    for acquisition in ACQUISITIONS:
        random, focused = (
            by_name[f"{start} start, {acquisition}, round {ROUNDS}"] for start in STARTS
        )
        for metric, words in (("auc", "over all rounds"), ("ap50", "after the last round")):
            says = f"with {acquisition}, a start chosen by OFDS beats a random start {words}"
            shown = metric == "auc" and acquisition == "entropy"
            found.append(
                claim_of(
                    "active_learning", focused, random, says, f"{metric}-start", FEWER,
                    metric=metric, headline=shown,
                )
            )  # fmt: skip
    return tuple(found)


def by_round(results: Results) -> Table:
    """Every round of every start and acquisition."""
    arms = [arm for arm in results.study.arms if isinstance(arm.config, Round)]
    rows = list[tuple[Cell, ...]]()
    for arm in arms:
        auc = interval(results.values(arm, "auc"))
        rows.append((arm.name, *score_cells(results, arm), auc, *cost_cells(results, arm)))
    columns = (
        Column("start, acquisition, round"), *SCORES, Column("mean AP50 over objects", "%", 1),
        Column("images", "", 0), Column("objects", "", 0), Column("pixels", "thousands", 0),
        Column("annotation", "hours", 1),
    )  # fmt: skip
    note = "The mean is the area under the curve of AP50 by objects paid for, up to this round."
    return Table(
        f"{tag(results)}-rounds", f"{results.study.name}: rounds at equal cost in objects", columns,
        tuple(rows), (note, SPREAD, HOURS, *results.notes), ids(arms),
    )  # fmt: skip
