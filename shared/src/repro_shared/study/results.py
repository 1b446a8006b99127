"""What the records of an output folder say of a study as it is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_shared.evidence.cells import ReportedCell, read_cells
from repro_shared.evidence.claims import Claim, Verdict, judge
from repro_shared.evidence.measured import Measured, measure, read_measured
from repro_shared.evidence.records import Curve, RunRecord
from repro_shared.evidence.run_folder import RunFolder
from repro_shared.study.identity import is_itself, sentence_of
from repro_shared.study.keys import data_key, recipe_key
from repro_shared.study.paper import Arm, Paper, Study
from repro_shared.study.protocols import DataSource
from repro_shared.study.session import filled, read_facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS, MEASURED = Path("tables", "reported.csv"), Path("tables", "measured.csv")


@dataclass
class Results:
    """The current records of a study; `stale` others, of other settings, are left out."""

    paper: Paper
    study: Study  # filled in with what was prepared
    records: list[RunRecord]
    out: Path  # below which they lie
    stale: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    curves: Mapping[tuple[str, int, str], Curve] = field(default_factory=dict)
    shipped: Mapping[str, float] = field(default_factory=dict)  # committed values by arm's id
    fingerprints: Mapping[DataSource, str] = field(default_factory=dict)  # of the records' data

    @property
    def figures(self) -> tuple[Callable[[Results], tuple[str, Figure]], ...]:
        """Those of the study; none, rather than empty axes, where nothing has been run."""
        nothing_run = bool(self.study.arms) and not self.records
        return () if nothing_run else self.study.figures

    def runs(self, arm: Arm) -> list[RunRecord]:
        """The complete runs of an arm, by seed."""
        return [r for r in self.records if r.arm == arm.id and r.status == "complete"]

    def values(self, arm: Arm, metric: str) -> list[float]:
        """A metric of an arm's complete runs, by seed."""
        return [r.metrics[metric] for r in self.runs(arm) if metric in r.metrics]

    def curve(self, run: RunRecord) -> Curve:
        """The columns of a run's curve, {} for none."""
        return self.curves.get((run.arm, run.seed, run.key), {})

    @property
    def seeds(self) -> list[int]:
        """All that any arm of many seeds has run."""
        own = {arm.id for arm in self.study.arms if arm.seed is not None}
        return sorted({record.seed for record in self.records if record.arm not in own})

    @property
    def sentence(self) -> str:
        """What the pictures are and which are scored: of the data that the records are of."""
        return sentence_of(self.study.data, self.fingerprints.get(self.study.data, ""))

    def place(self, words: str) -> str:
        """What prose calls the data: these words, unless the records are of other data."""
        itself = is_itself(self.study.data, self.fingerprints.get(self.study.data, ""))
        return words if itself else "the given folder"

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands below every table: data, seeds, what was left out."""
        seeds = " ".join(map(str, self.seeds)) or "none"
        stale = f"{self.stale} older records (other settings, data or version) are left out."
        others = [
            f"{source.name}: {sentence_of(source, found)}."
            for source, found in self.fingerprints.items()
            if source != self.study.data and not is_itself(source, found)
        ]
        return (
            f"Data: {self.sentence}. Seeds: {seeds}.",
            *others,
            *((stale,) if self.stale else ()),
        )

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of all claims, in order; those that the study's rule suspends say so."""
        found = judge(self.study.claims, self.records)
        rule = self.study.suspended
        if rule is None:
            return found
        return [
            replace(verdict, verdict="suspended", reason=why)
            if verdict.low is not None and (why := rule(self, claim))
            else verdict
            for claim, verdict in zip(self.study.claims, found, strict=True)
        ]

    def verdict(self, claim: Claim) -> Verdict:
        """Of one claim."""
        return next(v for v in self.verdicts if v.claim_id == claim.id)

    def measured(self) -> list[Measured]:
        """The rows of `measured.csv`."""
        return measure(self.study.claims, self.verdicts, self.records)


def load_results(
    paper: Paper, study: Study, out: Path, opened: Mapping[DataSource, Any] | None = None
) -> Results:
    """The current records of a study below an output folder; there may be none.

    A table never mixes two versions of a data set: the one that is `opened` counts, or the one of
    the newest record.
    """
    folder, study = RunFolder(out / study.name, study.name), filled(out, study)
    arms = {arm.id: (arm, recipe_key(paper, arm)) for arm in study.arms}
    found = folder.read()
    known = [r for r in found if r.arm in arms and r.recipe == arms[r.arm][1]]
    newest = sorted(known, key=lambda record: record.finished)
    prints = {study.source(arms[r.arm][0]): r.data_fingerprint for r in newest}
    prints |= {source: data.fingerprint for source, data in (opened or {}).items()}

    def key(arm: Arm, seed: int) -> str:
        on = data_key(arm, seed, lambda each: prints.get(study.source(each), ""))
        return f"{arms[arm.id][1]}-{on}"

    # The newest of an arm and seed counts.
    current = {(r.arm, r.seed): r for r in known if r.key == key(arms[r.arm][0], r.seed)}
    own = out.resolve() == paper.results.resolve()
    # Committed values of other data are no comparison.
    alike = all(is_itself(source, found) for source, found in prints.items())
    return Results(
        paper,
        study,
        list(current.values()),
        out,
        len(found) - len(current),
        read_facts(out, study) or {},
        folder.curves(),
        shipped_values(paper, study) if alike and not own else {},
        prints,
    )


def reported(paper: Paper) -> list[ReportedCell]:
    """The cells of the paper that were read."""
    return read_cells(paper.source / CELLS)


def shipped(paper: Paper) -> list[Measured]:
    """The shipped measurements; none before the first evidence."""
    path = paper.source / MEASURED
    return read_measured(path) if path.is_file() else []


def shipped_values(paper: Paper, study: Study) -> dict[str, float]:
    """Committed values by arm's id, as `measured.csv` has them (a rival's is value - effect)."""
    found: dict[str, float] = {}
    for row in shipped(paper):
        if row.study == study.name and row.value is not None and row.effect is not None:
            found[row.arm] = row.value
            found[row.rival] = row.value - row.effect
    return found
