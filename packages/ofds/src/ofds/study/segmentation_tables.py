"""Tables of the studies with segmenters; every row says what its labels cost."""

from __future__ import annotations

from ofds.study.detection_tables import (
    DETECTION,
    SPREAD,
    Measures,
    mean,
    of_proposals,
    selectors,
    tag,
    verdicts,
)
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import ids
from repro_shared.study.results import Results

__all__ = [
    "by_class", "by_objects", "by_pixels", "of_cells", "of_frames", "of_parts", "of_proposals",
    "of_roads", "of_seen_cells", "verdicts",
]  # fmt: skip

SEGMENTATION = Measures(
    (Column("mIoU", "%", 1), Column("mIoU of the rare classes", "%", 1)),
    ("miou", "rare_miou"),
    "masks",
)
MINORITY = Measures(
    (Column("mIoU of the minority classes", "%", 1), Column("mIoU", "%", 1)),
    ("rare_miou", "miou"),
    "masks",
)


def by_objects(results: Results) -> Table:
    """All selectors at equal cost in objects."""
    return selectors(results, SEGMENTATION, "objects", "at equal cost in objects", SPREAD)


def by_pixels(results: Results) -> Table:
    """All selectors at equal cost in pixels inside objects."""
    return selectors(results, SEGMENTATION, "pixels", "at equal cost in pixels", SPREAD)


def of_roads(results: Results) -> Table:
    """The same on road scenes, where the classes that are scored first have few pixels."""
    classes = len(results.study.data.classes)  # type: ignore[attr-defined]
    note = "Objects are connected components of at least 20 pixels of a label map."
    return selectors(results, MINORITY, "pixels", "at equal cost in pixels", note, classes=classes)


def of_cells(results: Results) -> Table:
    """Blood cells: all selectors at equal cost in objects."""
    note = "A tie with random images is expected: nearly every image holds all three classes."
    return selectors(results, DETECTION, "objects", "at equal cost in objects", note, classes=3)


def of_seen_cells(results: Results) -> Table:
    """Blood cells: what the proposers find in their pools and how much of it is right."""
    arm = results.study.arm("proposer")
    rows = tuple(
        (name or "all classes", *(
            interval(results.values(arm, f"{kind}/{name}" if name else kind))
            for kind in ("recall", "precision")
        ))
        for name in ("", "RBC", "WBC", "Platelets")
    )  # fmt: skip
    columns = (Column("class"), Column("recall", "%", 1), Column("precision", "%", 1))
    note = "At an overlap of 0.5 and the score from which proposals are chosen by."
    title = f"{results.study.name}: proposals against the truth"
    return Table(f"{tag(results)}-proposals", title, columns, rows, (note, *results.notes))


def by_class(results: Results) -> Table:
    """IoU of each minority class on road scenes."""
    names = results.study.data.minority  # type: ignore[attr-defined]
    arms = [arm for arm in results.study.arms if results.values(arm, "miou")]
    rows = tuple(
        (arm.name, *(interval(results.values(arm, f"iou/{name}")) for name in names))
        for arm in arms
    )
    columns = (Column("arm"), *(Column(f"IoU of {name}", "%", 1) for name in names))
    title = f"{results.study.name}: minority classes"
    return Table(f"{tag(results)}-classes", title, columns, rows, results.notes, ids(arms))


def of_parts(results: Results) -> Table:
    """What the proposer of each seed knows of its pool and of the scored frames."""
    rows = list[tuple[Cell, ...]]()
    names = ("pool_miou", "miou", "rare_miou", "proposals", "dropped")
    for arm in results.study.arms:
        if results.values(arm, "pool_miou"):
            rows.append((arm.name, *(mean(results, arm, name) for name in names)))
    columns = (
        Column("arm"), Column("mIoU on its pool", "%", 1), Column("mIoU on scored frames", "%", 1),
        Column("of the minority classes", "%", 1), Column("proposals", "", 0),
        Column("smaller components, dropped", "", 0),
    )  # fmt: skip
    title = f"{results.study.name}: the proposer, means over seeds"
    return Table(f"{tag(results)}-proposer", title, columns, tuple(rows), results.notes)


def of_frames(results: Results) -> Table:
    """Cityscapes: mIoU by selector and share of the pixels."""
    rows, arms = list[tuple[Cell, ...]](), results.study.arms
    for arm in arms:
        pixels = mean(results, arm, "pixels")
        rows.append((
            arm.name, interval(results.values(arm, "miou")), mean(results, arm, "images"),
            None if pixels is None else pixels / 1e6,
        ))  # fmt: skip
    columns = (
        Column("arm"), Column("mIoU", "%", 1), Column("images", "", 0),
        Column("pixels", "millions", 0),
    )  # fmt: skip
    title = f"{results.study.name}: selectors at equal cost in pixels"
    return Table(tag(results), title, columns, tuple(rows), results.notes, ids(arms))
