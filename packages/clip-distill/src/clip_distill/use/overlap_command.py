"""`clip-distill overlap`: which test images are among the training images."""

from __future__ import annotations

from pathlib import Path

from clip_distill.use.overlap import pairs, signatures
from clip_distill.use.sources import pictures_of
from repro_shared.evidence.tables import Column, Table, csv_text
from repro_shared.runtime.files import atomic_write_text

SHOWN = 20


def overlap(
    data: str, test: str, *, exact: bool = False, out: str | None = None, skip_bad: bool = False
) -> None:
    """List test images that are among the training images: the same to the pixel, or nearly.

    Args:
        data: training images: a folder, shards, or one of the paper's sets.
        test: test images.
        exact: leave out those that are nearly the same.
        out: CSV file of all pairs.
        skip_bad: leave out what truncated shards have lost.
    """
    one, other = pictures_of(data, skip_bad), pictures_of(test, skip_bad)
    found = pairs(signatures(one), signatures(other), near=not exact)
    rows = tuple((p.other, p.one, p.kind, p.bits, p.correlation) for p in found)
    columns = (Column("test image"), Column("training image"), Column("kind"),
               Column("bits apart"), Column("correlation", "", 3))  # fmt: skip
    same = sum(pair.kind == "same" for pair in found)
    note = (
        f"Of {len(other)} test images {same} are the same to the pixel as one of {len(one)} "
        f"training images" + ("." if exact else f", {len(found) - same} nearly the same.")
    )
    more = [f"{len(rows) - SHOWN} more rows: see --out."] if len(rows) > SHOWN else []
    table = Table("overlap", f"{test} in {data}", columns, rows[:SHOWN], (note, *more))
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        heads = [column.name for column in columns]
        cells = ([p.other, p.one, p.kind, str(p.bits), f"{p.correlation:.3f}"] for p in found)
        atomic_write_text(out, csv_text(heads, cells))
    print(table.to_terminal() if rows else note)
