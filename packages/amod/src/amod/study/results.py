"""The current records of a recipe in an output folder, and the shipped numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from amod import METHOD_VERSION
from amod.study.claims import CLAIMS, claims_of
from amod.study.recipes import Recipe
from repro_shared.evidence.claims import judge
from repro_shared.evidence.measured import Measured, measure, read_measured
from repro_shared.evidence.records import RunRecord, read_records, recipe_hash

TABLES = Path(__file__).parents[1] / "tables"
COMMITTED_RESULTS = Path(__file__).parents[3] / "results"


@dataclass
class Results:
    """Records of a recipe as it is now; `stale` others were left out."""

    recipe: Recipe
    records: list[RunRecord]
    stale: int

    def values(self, arm: str, metric: str) -> list[float]:
        """A metric of an arm's complete runs, by seed."""
        return [
            r.metrics[metric]
            for r in self.records
            if r.arm == arm and r.status == "complete" and metric in r.metrics
        ]

    def runs(self, arm: str) -> list[RunRecord]:
        """Complete runs of an arm, by seed."""
        return [r for r in self.records if r.arm == arm and r.status == "complete"]

    @property
    def seeds(self) -> list[int]:
        """All that any arm has run."""
        return sorted({record.seed for record in self.records})


def load_results(recipe: Recipe, out: Path) -> Results | None:
    """Records below `out`; None where there are none of this recipe."""
    key = recipe_hash(replace(recipe, seeds=()))
    found = read_records(out, recipe.name)
    kept = [r for r in found if r.recipe_hash == key and r.method_version == METHOD_VERSION]
    return Results(recipe, kept, len(found) - len(kept)) if found else None


def committed() -> list[Measured]:
    """The shipped measurements; none before the first evidence."""
    path = TABLES / "measured.csv"
    return read_measured(path) if path.is_file() else []


def measurements(all_results: list[Results]) -> list[Measured]:
    """Rows of `measured.csv` for every claim, run or not."""
    records = [r for results in all_results if results.recipe.name in CLAIMS
               for r in results.records]  # fmt: skip
    claims = [claim for recipe in CLAIMS for claim in claims_of(recipe)]
    return measure(claims, judge(claims, records), records)
