"""The paper's FLOP columns beside the closed form: a deterministic check, no training.

Every GFLOPs cell of `tables/reported.csv` is listed, also those that are not reproduced, with the
reason. `head` says whether the classifier is counted; the paper counts it in tables 2 and 7.
"""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from importlib.resources import as_file, files
from typing import NamedTuple

from amod.method.flops import SHAPES, Shape, dense_macs, routed_macs
from amod.study.configs import Variant
from repro_shared.evidence.cells import ReportedCell, read_cells
from repro_shared.evidence.tables import Column, Table

ISOFLOP_LAYERS = {
    "table1": {"12.5 %": (7, 6, 6, 13), "50 %": (9, 9, 9, 18)},
    "table4": {"": (7, 6, 6, 13)},
    "table5": {"": (9, 9, 9, 18)},
}
"""Depths of the isoFLOP models, which the paper does not state, as its FLOP columns imply them."""
ROUTERS = {"A-MoD": "attention", "MoD": "linear"}
CAPACITIES = {"12.5 %": 0.125, "50 %": 0.5}
TABLE_CAPACITY = {"table4": 0.125, "table5": 0.5, "table6": 0.5}
REASONS = {
    "table6": "another paper's method: its number is quoted there",
    "table9": "DETR's transformer depends on image sizes that the paper does not give",
    "figure8": "read off a plot; the isoFLOP partners' depths are not stated",
}


class Row(NamedTuple):
    """One cell of the paper and what the closed form gives for it; `macs` None with a reason."""

    cell: ReportedCell
    macs: int | None
    reason: str

    @property
    def agreement(self) -> str:
        """`equal` (rounded) or when truncated, `one unit` off, `differs`, or the reason why not."""
        if self.macs is None:
            return self.reason
        printed = Decimal(self.cell.printed.split()[0])
        exact = Decimal(self.macs) / Decimal(10**9)
        if exact.quantize(printed, rounding=ROUND_HALF_UP) == printed:
            return "equal"
        if exact.quantize(printed, rounding=ROUND_DOWN) == printed:
            return "equal when truncated"
        unit = Decimal(1).scaleb(int(printed.as_tuple().exponent))
        return "one unit" if abs(exact - printed) <= unit else "differs"


def reported() -> list[ReportedCell]:
    """All cells of the paper that were read."""
    with as_file(files("amod") / "tables" / "reported.csv") as path:
        return read_cells(path)


def rows() -> list[Row]:
    """Every GFLOPs cell, in the paper's order."""
    cells = [cell for cell in reported() if cell.unit == "GFLOPs"]
    return [Row(cell, *_macs(cell)) for cell in cells]


def agreements() -> dict[str, int]:
    """How many cells agree in which way; those without a closed form are `not reproduced`."""
    return Counter(row.agreement if row.macs is not None else "not reproduced" for row in rows())


def computed(cell: ReportedCell) -> str:
    """What the closed form gives for a FLOP cell, in words; nothing for cells of another kind."""
    if cell.unit != "GFLOPs":
        return ""
    row = Row(cell, *_macs(cell))
    if row.macs is None:
        return f"not reproduced: {row.reason}"
    return f"{row.macs / 1e9:.4f} GMAC from a closed form, nothing is run: {row.agreement}"


def _macs(cell: ReportedCell) -> tuple[int | None, str]:
    model, _, arm = cell.row.partition(" ")
    shape = SHAPES.get(model)
    if cell.table == "table9" or shape is None:
        return None, REASONS["table9"]
    if cell.table == "table2":
        # ViT-Large is printed at 384 pixels there, all other models at 224.
        size = 384 if model == "ViT-Large" else 224
        return dense_macs(Shape(shape.width, shape.depth, image_size=size)), ""
    if cell.table == "table7":
        return (dense_macs(shape) if arm == "dense" else routed_macs(shape, 0.7)), ""
    if cell.table == "figure8":
        if arm == "isoFLOP":
            return None, REASONS["figure8"]
        first = 5 if arm.endswith("last 8 layers") else 1
        return routed_macs(shape, 0.125, first=first, head=False), ""
    if cell.table == "table6" and arm != "A-MoD":
        return None, REASONS["table6"]
    return variant_of(cell).macs(shape, head=False), ""


def variant_of(cell: ReportedCell) -> Variant:
    """What a cell of tables 1 and 3 to 6 is about."""
    model, _, arm = cell.row.partition(" ")
    label = cell.column.partition(" at ")[2]
    if arm == "isoFLOP":
        return Variant(layers=ISOFLOP_LAYERS[cell.table][label][list(SHAPES).index(model)])
    return Variant(ROUTERS[arm], CAPACITIES[label] if label else TABLE_CAPACITY[cell.table])


def flop_table() -> Table:
    """The table `flops`: what is printed, what the closed form gives, how far they agree."""
    found = rows()
    summary = ", ".join(f"{number} {kind}" for kind, number in agreements().items())
    return Table(
        "flops",
        "The paper's FLOP columns from a closed form",
        (
            Column("cell"),
            Column("printed", "GFLOPs"),
            Column("closed form", "GMAC", 4),
            Column("agreement"),
        ),
        tuple(
            (row.cell.id, row.cell.printed, None if row.macs is None else row.macs / 1e9,
             row.agreement)
            for row in found
        ),
        (
            f"{len(found)} cells: {summary}.",
            "The paper's GFLOPs are multiply-accumulates, with five operations per element of a "
            "layer norm; k = floor(capacity * 197). The classifier is counted in tables 2 and 7.",
            "Nothing is measured here: the closed form is arithmetic, compared in the tests with "
            "multiplications counted in timm's models.",
        ),
    )  # fmt: skip
