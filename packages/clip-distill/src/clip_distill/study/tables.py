"""Tables of the studies of rendered objects."""

from __future__ import annotations

from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Column, Table
from repro_shared.study.paper import ids
from repro_shared.study.results import Results

MEASURES = (
    ("accuracy/real", Column("real", "%", 1)),
    ("accuracy/seen", Column("real, classes of stage 2", "%", 1)),
    ("accuracy/unseen", Column("real, other classes", "%", 1)),
    ("accuracy/synthetic", Column("synthetic", "%", 1)),
    ("accuracy/swapped", Column("synthetic, cues of another class", "%", 1)),
    ("cosine/real", Column("cosine to the teacher, real", "", 3)),
)


def by_objective(results: Results) -> Table:
    """Every arm on both domains."""
    rows = tuple(
        (arm.name, *(interval(results.values(arm, metric)) for metric, _ in MEASURES))
        for arm in results.study.arms
    )
    world = results.study.data.world  # type: ignore[attr-defined]
    return Table(
        results.study.name.replace("_", "-"),
        f"{results.study.name}: zero-shot accuracy by loss",
        (Column("student"), *(column for _, column in MEASURES)),
        rows,
        (
            f"Confounding {world.confounding:g}. Real images are named among all {world.classes} "
            f"classes, synthetic ones among the {world.classes - world.held_out} that have any.",
            *results.notes,
        ),
        ids(results.study.arms),
    )
