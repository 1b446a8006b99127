"""Tables of the studies on images."""

from __future__ import annotations

from dataclasses import replace

from cg_augment.method.cost import SMALL_BACKWARD
from cg_augment.study.nothing import KINDS
from cg_augment.study.stages import Biased, Judge, Rowed, Teach
from cg_augment.study.worlds import World
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results

LEAST_VALID = 80.0  # percent of a row's images that the judge believes; below, the table says so
MEASURES = (
    ("worst-group", Column("worst-group accuracy", "%", 1)),
    ("mean-group", Column("mean-group accuracy", "%", 1)),
    ("in-distribution", Column("accuracy on own grounds", "%", 1)),
)
SPURIOUS = (
    ("spurious-map", Column("spurious mAUC, as average precision", "%", 1)),
    ("spurious-auroc", Column("spurious mAUROC", "%", 1)),
)
GENERATED = (
    ("valid", Column("images the judge believes", "%", 1)),
    ("refused", Column("images the judge takes for nothing", "%", 1)),
    ("off", Column("images off the manifold", "%", 1)),
    ("saturated", Column("values at an end of their range", "%", 2)),
    ("minority", Column("images on another ground", "%", 1)),
    ("valid-minority", Column("both", "%", 1)),
    ("generation", Column("generation", "s", 1)),
)


def shown_rows(results: Results) -> list[Arm]:
    """The teacher and every row that is no control, or has run."""
    kinds = (Biased, Teach)
    return [
        arm for arm in results.study.arms
        if isinstance(arm.config, kinds) and not isinstance(arm.config, Judge)
        and (not arm.control or results.runs(arm))
    ]  # fmt: skip


def by_row(results: Results) -> Table:
    """Accuracies, what was generated, and what it cost."""
    arms, empty = shown_rows(results), any(
        getattr(arm.config, "empty", False) for arm in results.study.arms
    )  # fmt: skip
    measures = (*MEASURES, *(SPURIOUS if empty else ()), *GENERATED)
    rows = list[tuple[Cell, ...]]()
    for arm in arms:
        cells: list[Cell] = [arm.name, _equal(arm)]
        cells += [interval(results.values(arm, metric)) for metric, _ in measures]
        cells.insert(3, worst(results, arm))
        cells += [_passes(results, arm), interval([run.seconds for run in results.runs(arm)])]
        rows.append(tuple(cells))
    shown = [column for _, column in measures]
    columns = (
        Column("row"), Column("equal to the method's"), shown[0], Column("worst group"), *shown[1:],
        Column("network evaluations an image", "", 0), Column("training", "s", 1),
    )  # fmt: skip
    name = results.study.name
    return Table(
        name.replace("_", "-"), f"{name}: every row", columns, tuple(rows),
        (*_doubts(results, arms), *_judges(results),
         "Network evaluations are passes of the diffusion network in both directions; what is "
         f"equal in cost counts one backward as {SMALL_BACKWARD:g} forward, and both classifiers. "
         "Seconds are of generation and of training, all phases and helpers, on the machine of the "
         "records. Off the manifold are images that the diffusion model denoises worse than 99 % "
         "of real pictures. The worst group is that of most seeds, with the mean of its 95 % "
         "Wilson intervals. "
         "In-distribution pictures have their class's own ground. The teacher is the limit of all "
         "rows, the oracle has pictures of the removed groups.",
         *results.notes),
        ids(arms),
    )  # fmt: skip


def verdicts(results: Results) -> Table:
    """What follows for each claim."""
    name = results.study.name
    made = verdict_table(
        results.study.claims, results.verdicts, f"{name.replace('_', '-')}-verdicts",
        f"{name}: verdicts", results.sentence,
    )  # fmt: skip
    return replace(made, notes=(*made.notes, *controls(results)))


def controls(results: Results) -> list[str]:
    """What an inconclusive negative control means, where there is one."""
    claims = [claim for claim in results.study.claims if claim.negative_control]
    open_ = [c for c in claims if results.verdict(c).verdict == "inconclusive"]
    if not open_:
        return []
    return [
        f"{len(open_)} of {len(claims)} negative controls are inconclusive: an effect of the size "
        "that would break them is neither shown nor ruled out."
    ]


def worst(results: Results, arm: Arm) -> str:
    """The worst group's name, of most seeds, its pictures and the mean of its intervals."""
    places, world = results.values(arm, "worst"), results.study.data
    if not places or not isinstance(world, World):
        return ""
    names = [f"{one}/{other}" for one in world.scene.classes for other in world.scene.grounds]
    place = max(sorted(set(places)), key=places.count)
    ends = [results.values(arm, name) for name in ("worst-low", "worst-high")]
    low, high = (sum(each) / len(each) for each in ends)
    return (
        f"{names[int(place)]} ({places.count(place)} of {len(places)} seeds; {world.test} "
        f"pictures, {low:.1f} to {high:.1f})"
    )


def _equal(arm: Arm) -> str:
    return arm.config.row.equal if isinstance(arm.config, Biased) else ""


def _passes(results: Results, arm: Arm) -> float | None:
    """Of one image; the same for all seeds but for chains that stop early."""
    both = [results.values(arm, name) for name in ("forward", "backward")]
    found = [one + other for one, other in zip(*both, strict=True)]
    return sum(found) / len(found) if found else None


def _doubts(results: Results, arms: list[Arm]) -> list[str]:
    """Rows of whose images the judge believes too few."""
    low = [
        arm.name for arm in arms
        if isinstance(arm.config, Rowed) and (values := results.values(arm, "valid"))
        and sum(values) / len(values) < LEAST_VALID
    ]  # fmt: skip
    if not low:
        return []
    return [f"The judge believes fewer than {LEAST_VALID:g} % of the images of: {'; '.join(low)}."]


def _judges(results: Results) -> list[str]:
    """How far the judge can be believed."""
    for arm in results.study.arms:
        if isinstance(arm.config, Judge) and (right := results.values(arm, "class")):
            ground = results.values(arm, "ground")
            means = [sum(each) / len(each) for each in (right, ground)]
            return [
                f"The judge, which neither guided nor taught, names the class of {means[0]:.1f} % "
                f"and the ground of {means[1]:.1f} % of real test pictures, and refuses "
                + ", ".join(_refused(results, arm))
                + "."
            ]
    return []


def _refused(results: Results, arm: Arm) -> list[str]:
    found = list[str]()
    for name in KINDS:
        values = results.values(arm, f"refuses {name}")
        found += [f"{sum(values) / len(values):.1f} % of {name}"] if values else []
    return found or ["nothing that was counted"]
