"""Published numbers of others, with what the arithmetic of their objectives adds to the schedule.

They compare objectives at equal iterations. What a step costs is counted here from shapes, at those
of PSPNet-R101 to PSPNet-R18; nothing is measured, and passes over memory are in no count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pydantic

from repro_shared.evidence.cells import EmptyIsNone, Status, Text, read_rows
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Scale, Study
from repro_shared.study.protocols import Arithmetic
from repro_shared.study.results import Results
from seg_kd.method.objectives import LOGIT
from seg_kd.rivals.presets import NAMED
from seg_kd.study.cost import SHAPES, card
from seg_kd.study.estimate import step_macs

FILE = Path(__file__).parents[1] / "tables" / "published.csv"
COUNTED = FILE.with_name("counted.json")  # what `count` gives; `seg-kd freeze` writes it
ITERATIONS = 1000  # the unit of the table's lengths


class Published(pydantic.BaseModel):
    """One number of a repository's table.

    Attributes:
        dataset, pair: rows that share them are comparable; teacher: its mIoU.
        iterations, images: of the schedule, and in a batch where that is known.
        row, preset: the objective as printed, and ours that has its terms; none for plain training.
        miou: of the student, in percent.
        source, status: where it was read.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    dataset: Text
    pair: Text
    teacher: pydantic.FiniteFloat
    iterations: pydantic.PositiveInt
    images: Annotated[pydantic.PositiveInt | None, EmptyIsNone] = None
    row: Text
    preset: str
    miou: pydantic.FiniteFloat
    source: Text
    status: Status


def published() -> list[Published]:
    """All of them, in the file's order."""
    return read_rows(FILE, Published, tuple(Published.model_fields))


def count() -> dict[str, dict[str, int]]:
    """Multiply-accumulates of a step with each preset at each of the paper's shapes; a minute."""
    taught = [each for each in NAMED.values() if each.needs_teacher]
    cards = {scene[0]: card(scene, taught) for scene in SHAPES}
    return {
        dataset: {name: step_macs(made, name) for name in ("plain", *made.costs)}
        for dataset, made in cards.items()
    }


def counted_cost(objective: str, dataset: str = "Cityscapes", beside: str = LOGIT.name) -> float:
    """Arithmetic of a step at the paper's shapes over that of another objective's; no time.

    Args:
        objective: name of a preset.
        dataset: whose shapes, see `cost.SHAPES`.
        beside: name of the other preset.
    """
    macs = json.loads(COUNTED.read_text(encoding="utf-8"))[dataset]
    return float(macs[objective] / macs[beside])


def published_table(results: Results) -> Table:
    """Gains at equal iterations, and the schedule that logit distillation gets for as much."""
    rows: list[tuple[Cell, ...]] = []
    found = published()
    plain = {(p.dataset, p.pair): p for p in reversed(found) if not p.preset}  # the first of each
    for each in found:
        base = plain[each.dataset, each.pair]
        cost = counted_cost(each.preset or "plain", each.dataset)
        rows.append((
            f"{each.dataset}, {each.pair}", each.row, each.miou,
            None if each is base else each.miou - base.miou, each.iterations / ITERATIONS, cost,
            cost * each.iterations / ITERATIONS, each.source,
        ))  # fmt: skip
    return Table(
        "published-numbers",
        "Published numbers at equal iterations, and their arithmetic in logit iterations",
        (Column("setting"), Column("objective"), Column("mIoU, as printed", "%", 2),
         Column("above plain", "mIoU points", 2, signed=True),
         Column("iterations", "thousand", 0), Column("counted step", "x logit", 2),
         Column("the same in logit iterations", "thousand", 0), Column("read in")),
        tuple(rows),
        (
            "None of these is a number of arXiv 2604.25530, and rows of different settings are not "
            "comparable. Read in repositories of authors, none run here. Counted, not measured: "
            "multiply-accumulates of a step of PSPNet-R18 and the PSPNet-R101 that teaches it, of "
            "our optimised form of the objective with the terms that its authors' scripts add; "
            "`bpkd_like` stands for BPKD. Passes over memory are in no count.",
            "BPKD's plain row on Cityscapes links to another form of R18 than its students have, "
            "one that mmrazor's row suggests is weaker: gains there are too large.",
        ),
    )  # fmt: skip


def published_numbers(scale: Scale) -> Study:
    """What others have published, re-analysed.

    Cells: none of this paper's. Cost: seconds. Deviations: none; it is arithmetic.
    """
    return Study("published_numbers", scale, Arithmetic(), (), (0,), tables=(published_table,))
