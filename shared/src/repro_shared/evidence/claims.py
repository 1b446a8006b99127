"""Claims that are written down before the runs, and the verdicts that follow from the records.

The effect of a seed is the arm's metric minus the rival's at that seed, turned round where lower is
better, so that a positive effect is always good for the arm. A verdict is called from the Student t
interval of these effects (`statistics.py`; several rivals in one family: Holm):

- superiority: `supported` if the interval lies above the threshold,
- non-inferiority: `supported` if it lies above minus the margin,
- either: `contradicted` if it lies below that bound, `inconclusive` if it holds the bound.

Fewer than 5 pairs of seeds get no verdict and no interval, only their raw points. A verdict needs
all the seeds that the claim names, in both arms: dropping one, or looking early, is not possible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from repro_shared.evidence.records import RunRecord
from repro_shared.evidence.statistics import Interval, family_intervals
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.errors import UserError

MINIMUM_SEEDS = 5

VerdictWord = Literal["supported", "contradicted", "inconclusive", "no verdict (n < 5)", "not run"]


@dataclass(frozen=True)
class Claim:
    """One comparison of two arms of a recipe.

    Attributes:
        id: Short and unique within the paper, e.g. `feature-beats-plain`; never used again.
        statement: The claim in our words.
        cells: Ids of the reported cells that it bears on.
        metric: Key in the records' metrics.
        unit: Of the effect, e.g. `mIoU points`.
        threshold: What a superiority effect must exceed.
        margin: How far below zero a non-inferiority effect may lie; positive.
        seeds: All seeds that the verdict needs.
        family: Claims of the same name are corrected together by Holm; None stands alone.
        negative_control: True where the comparison is expected not to be supported.
        higher_is_better: False for errors, seconds and the like.
    """

    id: str
    statement: str
    cells: tuple[str, ...]
    recipe: str
    metric: str
    arm: str
    rival: str
    kind: Literal["superiority", "non-inferiority"]
    threshold: float = 0.0
    margin: float = 0.5
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    family: str | None = None
    negative_control: bool = False
    higher_is_better: bool = True
    unit: str = "points"

    def __post_init__(self) -> None:
        if self.kind not in ("superiority", "non-inferiority"):
            raise ValueError(f"claim {self.id}: unknown kind {self.kind!r}")
        if self.kind == "non-inferiority" and self.margin <= 0:
            raise ValueError(f"claim {self.id}: a non-inferiority margin is positive")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"claim {self.id}: seeds must be distinct, and at least one")

    @property
    def bound(self) -> float:
        """What the whole interval must lie above for `supported`."""
        return self.threshold if self.kind == "superiority" else -self.margin


@dataclass(frozen=True)
class Verdict:
    """What the records say about a claim.

    Attributes:
        seeds: Seeds that both arms have run, in the claim's order.
        effects: Their effects, in the claim's unit.
        mean: Of the effects; None without any.
        low: Lower end of the interval; None where the claim has no verdict.
        high: Upper end, likewise.
        minimum_detectable: Half-width of the interval, t quantile * sd / sqrt(n): an effect whose
            distance from the bound is smaller could not have been called. The longer side where
            Holm makes the two differ.
        verdict: The word.
        missing: Runs that the claim names and that are not there, e.g. `feature seed 3`.
    """

    claim_id: str
    seeds: tuple[int, ...]
    effects: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None
    minimum_detectable: float | None
    verdict: VerdictWord
    missing: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.effects)


@dataclass(frozen=True)
class _Pairs:
    seeds: tuple[int, ...]
    effects: tuple[float, ...]
    missing: tuple[str, ...]


def judge(claims: Sequence[Claim], records: Iterable[RunRecord]) -> list[Verdict]:
    """The verdict of every claim, in order.

    Pass all claims of a package: a family's size is the number of its claims in this list, and
    one that has not been run counts as well.

    Args:
        claims: With unique ids.
        records: Current ones (`split_stale` removes the others), of any recipe.

    Raises:
        UserError: Two records of one run; a record without the claim's metric; runs of one claim
            that differ in recipe hash, method version or data.
    """
    if len({claim.id for claim in claims}) != len(claims):
        raise ValueError("two claims share one id")
    runs = _by_run(records)
    pairs = {claim.id: _pair(claim, runs) for claim in claims}
    families: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        key = f"alone: {claim.id}" if claim.family is None else f"family: {claim.family}"
        families[key].append(claim)
    intervals: dict[str, Interval | None] = {}
    for members in families.values():
        # A claim whose seeds are not complete takes no part, but keeps its place in the family.
        samples = [() if pairs[c.id].missing else pairs[c.id].effects for c in members]
        samples = [values if len(values) >= MINIMUM_SEEDS else () for values in samples]
        found = family_intervals(samples, [claim.bound for claim in members])
        intervals.update(zip((claim.id for claim in members), found, strict=True))
    return [_verdict(claim, pairs[claim.id], intervals[claim.id]) for claim in claims]


def _by_run(records: Iterable[RunRecord]) -> dict[tuple[str, str, int], RunRecord]:
    runs: dict[tuple[str, str, int], RunRecord] = {}
    for record in records:
        key = (record.recipe, record.arm, record.seed)
        if key in runs:
            raise UserError(f"two records of recipe {key[0]}, arm {key[1]}, seed {key[2]}")
        runs[key] = record
    return runs


def _pair(claim: Claim, runs: dict[tuple[str, str, int], RunRecord]) -> _Pairs:
    """Paired effects of the seeds that both arms have completed."""
    missing: list[str] = []
    found: dict[tuple[str, int], RunRecord] = {}
    for arm in (claim.arm, claim.rival):
        for seed in claim.seeds:
            record = runs.get((claim.recipe, arm, seed))
            if record is None:
                missing.append(f"{arm} seed {seed}")
            elif record.status == "failed":
                missing.append(f"{arm} seed {seed} (failed)")
            else:
                found[arm, seed] = record
    _check_comparable(claim, found.values())
    seeds = tuple(s for s in claim.seeds if (claim.arm, s) in found and (claim.rival, s) in found)
    sign = 1.0 if claim.higher_is_better else -1.0
    effects = tuple(
        sign * (_metric(claim, found[claim.arm, s]) - _metric(claim, found[claim.rival, s]))
        for s in seeds
    )
    return _Pairs(seeds, effects, tuple(missing))


def _check_comparable(claim: Claim, records: Iterable[RunRecord]) -> None:
    keys = {(r.recipe_hash, r.method_version, r.data_fingerprint) for r in records}
    for position, what in enumerate(("recipe hash", "method version", "data fingerprint")):
        if len({key[position] for key in keys}) > 1:
            raise UserError(
                f"claim {claim.id}: its runs of {claim.recipe} differ in {what}; "
                "run the older ones again"
            )


def _metric(claim: Claim, record: RunRecord) -> float:
    try:
        return record.metrics[claim.metric]
    except KeyError:
        raise UserError(
            f"claim {claim.id}: the record of {record.recipe}, arm {record.arm}, seed "
            f"{record.seed} has no metric {claim.metric!r}"
        ) from None


def _verdict(claim: Claim, pairs: _Pairs, interval: Interval | None) -> Verdict:
    mean = sum(pairs.effects) / len(pairs.effects) if pairs.effects else None
    low = high = detectable = None
    word: VerdictWord
    if interval is not None:
        mean, low, high = interval
        detectable = max(mean - low, high - mean)
        word = (
            "supported"
            if low > claim.bound
            else "contradicted"
            if high < claim.bound
            else "inconclusive"
        )
    elif 0 < len(pairs.effects) < MINIMUM_SEEDS:
        word = "no verdict (n < 5)"
    else:
        word = "not run"
    return Verdict(
        claim.id, pairs.seeds, pairs.effects, mean, low, high, detectable, word, pairs.missing
    )


def verdict_table(
    claims: Sequence[Claim], verdicts: Sequence[Verdict], table_id: str, title: str, data: str
) -> Table:
    """One row a claim, for claims that share a unit.

    Args:
        data: What the images are, e.g. `rendered: digits on photographs`.
    """
    units = {claim.unit for claim in claims}
    if len(units) != 1:
        raise ValueError(f"one table, one unit: {sorted(units)}")
    unit = units.pop()
    rows = []
    notes = [f"Data: {data}."]
    for claim, verdict in zip(claims, verdicts, strict=True):
        statement = claim.statement + (" (negative control)" if claim.negative_control else "")
        rows.append(
            (claim.id, statement, f"> {claim.bound:g}", verdict.mean, verdict.low, verdict.high,
             verdict.minimum_detectable, verdict.n, verdict.verdict)
        )  # fmt: skip
        seeds = " ".join(map(str, verdict.seeds)) or "none"
        points = ", ".join(f"{effect:+.2f}" for effect in verdict.effects) or "none"
        missing = f"; not run: {', '.join(verdict.missing)}" if verdict.missing else ""
        notes.append(f"{claim.id}: seeds {seeds}; effects {points}{missing}.")
    notes.append(
        "Effects are paired by seed. Low and high: 95 % Student t interval, its ends at the level "
        "of Holm's test within a family. Detectable: the interval's half-width; an effect closer "
        "to its bound than this could not have been called."
    )
    columns = (
        Column("claim"), Column("statement"), Column("bound", unit), Column("effect", unit, 2),
        Column("low", unit, 2), Column("high", unit, 2), Column("detectable", unit, 2),
        Column("n", "seeds", 0), Column("verdict"),
    )  # fmt: skip
    return Table(table_id, title, columns, tuple(rows), tuple(notes))
