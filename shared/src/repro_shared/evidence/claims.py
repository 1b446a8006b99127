"""Claims that are written down before the runs, and the verdicts that follow from the records.

The effect of a seed is the arm's metric minus the rival's, higher being better. The Student t
interval of the effects decides, against a superiority's threshold or minus a non-inferiority's
margin: `supported` if it lies above that bound, `contradicted` if below, `inconclusive` if it holds
the bound. Fewer than 5 pairs of seeds get no interval. A verdict needs all seeds of the claim, in
both arms: no dropping, no looking early.

Several claims can form a family, whose false calls `statistics.family_intervals` bounds together.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from repro_shared.evidence.records import RunRecord
from repro_shared.evidence.statistics import family_intervals
from repro_shared.evidence.tables import Cell, Column, Interval, Table
from repro_shared.runtime.errors import UserError

MINIMUM_SEEDS = 5

Runs = dict[tuple[str, str, int], RunRecord]  # by study, arm and seed
VerdictWord = Literal[
    "supported", "contradicted", "inconclusive", "suspended", "no verdict (n < 5)", "not run"
]


@dataclass(frozen=True)
class Claim:
    """One comparison of two arms of a study."""

    id: str  # short and unique within the paper, e.g. `feature-beats-plain`; never used again
    statement: str
    cells: tuple[str, ...]  # ids of the reported cells that it bears on
    study: str
    metric: str  # key in the records' metrics
    arm: str  # ids
    rival: str
    kind: Literal["superiority", "non-inferiority"]
    threshold: float = 0.0  # what a superiority effect must exceed
    margin: float = 0.5  # how far below zero a non-inferiority effect may lie; positive
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # all that the verdict needs
    family: str | None = None  # claims of one name are corrected together by Holm; None: alone
    negative_control: bool = False  # the comparison is expected not to be supported
    unit: str = "points"  # of the effect, e.g. `mIoU points`
    headline: bool = False  # stands in the repository's table of claims

    def __post_init__(self) -> None:
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
    """Effects by seed that both arms have run, runs still missing, and what follows."""

    claim_id: str
    seeds: tuple[int, ...]
    effects: tuple[float, ...]
    missing: tuple[str, ...]
    verdict: VerdictWord
    mean: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""  # why it is suspended

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.effects)

    @property
    def minimum_detectable(self) -> float | None:
        """The interval's half-width (longer side): a smaller effect could not have been called."""
        if self.mean is None or self.low is None or self.high is None:
            return None
        return max(self.mean - self.low, self.high - self.mean)


def judge(claims: Sequence[Claim], records: Iterable[RunRecord]) -> list[Verdict]:
    """The verdict of every claim, in order; records may be of any study, but not stale.

    Pass all claims of a package: one that has not been run counts in its family too. UserError for
    runs that are there twice, lack the metric, or differ in method version or data.
    """
    if len({claim.id for claim in claims}) != len(claims):
        raise ValueError("two claims share one id")
    runs: Runs = {}
    for record in records:
        key = (record.study, record.arm, record.seed)
        if key in runs:
            raise UserError(f"two records of study {key[0]}, arm {key[1]}, seed {key[2]}")
        runs[key] = record
    verdicts = {claim.id: _without_interval(claim, runs) for claim in claims}
    families: defaultdict[tuple[str | None, str], list[Claim]] = defaultdict(list)
    for claim in claims:
        families[claim.family, claim.id if claim.family is None else ""].append(claim)
    for members in families.values():
        found = [verdicts[claim.id] for claim in members]
        # A claim whose seeds are not complete takes no part, but keeps its place in the family.
        samples = [() if v.missing or v.n < MINIMUM_SEEDS else v.effects for v in found]
        found_intervals = family_intervals(samples, [claim.bound for claim in members])
        for claim, verdict, ends in zip(members, found, found_intervals, strict=True):
            if ends is not None and ends.low is not None and ends.high is not None:
                mean, low, high = ends.mean, ends.low, ends.high
                word: VerdictWord = "supported" if low > claim.bound else "inconclusive"
                word = "contradicted" if high < claim.bound else word
                verdicts[claim.id] = replace(verdict, verdict=word, mean=mean, low=low, high=high)
    return [verdicts[claim.id] for claim in claims]


def _without_interval(claim: Claim, runs: Runs) -> Verdict:
    """Paired effects of the seeds that both arms have completed, and what is missing."""
    missing: list[str] = []
    found: dict[tuple[str, int], RunRecord] = {}
    for arm in (claim.arm, claim.rival):
        for seed in claim.seeds:
            record = runs.get((claim.study, arm, seed))
            if record is None:
                missing.append(f"{arm} seed {seed}")
            elif record.status == "failed":
                missing.append(f"{arm} seed {seed} (failed)")
            else:
                found[arm, seed] = record
    for what in ("method_version", "data_fingerprint"):
        if len({getattr(record, what) for record in found.values()}) > 1:
            problem = f"its runs of {claim.study} differ in {what.replace('_', ' ')}"
            raise UserError(f"claim {claim.id}: {problem}; run the older ones again")
    for (arm, seed), record in found.items():
        if claim.metric not in record.metrics:
            where = f"the record of {claim.study}, arm {arm}, seed {seed}"
            raise UserError(f"claim {claim.id}: {where} has no metric {claim.metric!r}")
    seeds = tuple(s for s in claim.seeds if (claim.arm, s) in found and (claim.rival, s) in found)
    own, other = (
        [found[arm, s].metrics[claim.metric] for s in seeds] for arm in (claim.arm, claim.rival)
    )
    effects = tuple(a - b for a, b in zip(own, other, strict=True))
    word: VerdictWord = "no verdict (n < 5)" if 0 < len(effects) < MINIMUM_SEEDS else "not run"
    mean = sum(effects) / len(effects) if effects else None
    return Verdict(claim.id, seeds, effects, tuple(missing), word, mean)


def verdict_table(
    claims: Sequence[Claim], verdicts: Sequence[Verdict], table_id: str, title: str, data: str
) -> Table:
    """One row a claim, for claims that share a unit; `data` says what the images are."""
    unit = claims[0].unit
    if any(claim.unit != unit for claim in claims):
        raise ValueError(f"table {table_id}: one table, one unit")
    rows: list[tuple[Cell, ...]] = []
    notes = [f"Data: {data}."]
    for claim, verdict in zip(claims, verdicts, strict=True):
        statement = claim.statement + (" (negative control)" if claim.negative_control else "")
        ends = verdict.mean is not None and Interval(verdict.mean, verdict.low, verdict.high)
        numbers = (ends or None, verdict.minimum_detectable, verdict.n)
        rows.append((claim.id, statement, f"> {claim.bound:g}", *numbers, verdict.verdict))
        seeds = " ".join(map(str, verdict.seeds)) or "none"
        points = ", ".join(f"{effect:+.2f}" for effect in verdict.effects) or "none"
        missing = f"; not run: {', '.join(verdict.missing)}" if verdict.missing else ""
        reason = f"; suspended: {verdict.reason}" if verdict.reason else ""
        notes.append(f"{claim.id}: seeds {seeds}; effects {points}{missing}{reason}.")
    notes.append(
        "Effects are paired by seed, with a 95 % Student t interval, its ends at the level of "
        "Holm's test within a family, so it may be lopsided. Detectable: its longer half; an "
        "effect closer to its bound than this could hardly have been called."
    )
    measures = [Column("effect", unit, 2), Column("detectable", unit, 2)]
    texts = (Column("claim"), Column("statement"), Column("bound", unit))
    columns = (*texts, *measures, Column("n", "seeds", 0), Column("verdict", bold=True))
    arms = tuple(claim.arm for claim in claims)
    return Table(table_id, title, columns, tuple(rows), tuple(notes), arms)
