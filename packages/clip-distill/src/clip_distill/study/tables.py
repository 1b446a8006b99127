"""Tables of the studies."""

from __future__ import annotations

from clip_distill.study.arms import SEPARATOR
from clip_distill.study.scoring import SEEN, UNSEEN
from clip_distill.study.stages import Ceiling, StageOne, StageTwo
from clip_distill.study.tuned import data_of
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, ids
from repro_shared.study.results import Results

MEASURES = (
    (SEEN, Column("real", "%", 1)),
    ("accuracy/real", Column("real, all classes", "%", 1)),
    ("accuracy/held-out", Column("synthetic", "%", 1)),
    ("accuracy/swapped", Column("synthetic, cues of another class", "%", 1)),
    ("accuracy/corrupted", Column("real, corrupted", "%", 1)),
    ("accuracy/probe", Column("real, by linear probe", "%", 1)),
    ("cosine/real", Column("cosine to the teacher, real", "", 3)),
)


def scored(results: Results) -> list[Arm]:
    """The arms that are students or teachers; caches are none."""
    kinds = (Ceiling, StageOne)
    return [arm for arm in results.study.arms if isinstance(arm.config, kinds)]


def notes(results: Results) -> tuple[str, ...]:
    """What stands below every table of students."""
    covers = data_of(results.study.data).covers
    return f"Intervals cover seeds: {covers}.", *results.notes


def by_loss(results: Results) -> Table:
    """Every student on both domains."""
    arms = [arm for arm in scored(results) if not arm.control or results.runs(arm)]
    rows = tuple(
        (arm.name, _temperature(arm), _rate(arm),
         *(interval(results.values(arm, metric)) for metric, _ in MEASURES))
        for arm in arms
    )  # fmt: skip
    return Table(
        tag(results), f"{results.study.name}: zero-shot accuracy by loss",
        (Column("student"), Column("temperature"), Column("rate"),
         *(column for _, column in MEASURES)),
        rows,
        ("Images are of classes with synthetic images, and named among these; in the second column "
         "of all classes, named among all.", *notes(results)),
        ids(arms),
    )  # fmt: skip


def by_confounding(results: Results) -> Table:
    """Accuracy on real images, a loss a row, by how far cues go with the class."""
    found = sweep(results)
    levels = sorted({level for each in found.values() for level in each})
    rows = tuple(
        (name, *(interval(results.values(each[level], SEEN)) if level in each else None
                 for level in levels))
        for name, each in found.items()
    )  # fmt: skip
    return Table(
        f"{tag(results)}-confounding",
        f"{results.study.name}: accuracy on real images by confounding",
        (Column("loss"), *(Column(f"confounding {level:g}", "%", 1) for level in levels)),
        rows, ("From stage 1. Each loss as tuned at confounding 1; at 0 as tuned there.",
               *notes(results)),
    )  # fmt: skip


def sweep(results: Results) -> dict[str, dict[float, Arm]]:
    """By loss and confounding: the arms from stage 1 with all images."""
    found = dict[str, dict[float, Arm]]()
    for arm in scored(results):
        name, _, rest = arm.name.rpartition(SEPARATOR)
        if name and "scratch" not in name and " at " not in name:
            found.setdefault(name, {})[float(rest)] = arm
    return {name: each for name, each in found.items() if len(each) > 1}


def unseen(results: Results) -> Table:
    """Classes with and without synthetic images, before and after stage 2."""
    arms = [arm for arm in scored(results) if arm.name.endswith(f"{SEPARATOR}1")
            or not (SEPARATOR in arm.name or arm.name.endswith(" images"))]  # fmt: skip
    arms = [arm for arm in arms if not arm.control or results.runs(arm)]
    names = ("accuracy/seen", UNSEEN, "accuracy/unseen-among-unseen")
    rows = tuple(
        (arm.name, *(interval(results.values(arm, name)) for name in names)) for arm in arms
    )
    return Table(
        f"{tag(results)}-unseen",
        f"{results.study.name}: real images of classes with and without synthetic images",
        (Column("student"), Column("classes of stage 2", "%", 1), Column("other classes", "%", 1),
         Column("others, among others", "%", 1)),
        rows, ("Named among all classes; in the last column among those without synthetic images.",
               *notes(results)), ids(arms),
    )  # fmt: skip


def amounts(results: Results) -> Table:
    """Accuracy on real images by the number of synthetic ones, at confounding 1."""
    known = {arm.name: arm for arm in scored(results)}
    counts = sorted(
        {int(name.split(", ")[1].split()[0]) for name in known if name.endswith(" images")}
    )
    rows = list[tuple[Cell, ...]]()
    for name in sweep(results) or ("L2",):
        own = [known.get(f"{name}, {count} images") for count in counts]
        if any(own) or not counts:
            cells = [interval(results.values(arm, SEEN)) if arm else None
                     for arm in (*own, known.get(f"{name}, confounding 1"))]  # fmt: skip
            rows.append((name, *cells))
    return Table(
        f"{tag(results)}-amount", f"{results.study.name}: accuracy on real images by amount",
        (Column("loss"), *(Column(f"{count} images", "%", 1) for count in counts),
         Column("all images", "%", 1)),
        tuple(rows), ("From stage 1, confounding 1, as many steps each; fewer images are the first "
                      "ones of more.", *notes(results)),
    )  # fmt: skip


def kept(results: Results) -> Table:
    """Share of the teacher's accuracy on real photographs that a student keeps."""
    teacher = next(arm for arm in results.study.arms if isinstance(arm.config, Ceiling))
    whole = results.values(teacher, "accuracy/real")
    arms = [arm for arm in scored(results) if isinstance(arm.config, StageTwo)]
    rows = tuple(
        (arm.name, interval([100 * value / whole[0] for value in
                             results.values(arm, "accuracy/real")] if whole else []))
        for arm in arms
    )  # fmt: skip
    return Table(
        f"{tag(results)}-kept", f"{results.study.name}: share of the teacher's accuracy",
        (Column("student"), Column("kept", "% of the teacher's", 1)), rows, notes(results),
        ids(arms),
    )  # fmt: skip


def verdicts(results: Results) -> Table:
    """What follows for each claim."""
    return verdict_table(
        results.study.claims, results.verdicts, f"{tag(results)}-verdicts",
        f"{results.study.name}: verdicts", results.sentence,
    )  # fmt: skip


def tag(results: Results) -> str:
    """The study's name in ids."""
    return results.study.name.replace("_", "-")


def _temperature(arm: Arm) -> str:
    own = getattr(arm.config, "objective", None)
    return "" if own is None or own.temperature is None else f"{own.temperature:g}"


def _rate(arm: Arm) -> str:
    own = getattr(arm.config, "training", None)
    return "" if own is None else f"{own.learning_rate:g}"
