"""Tables 1, 3, 4 and 5 of the paper at its own scale: an arm for every accuracy cell.

The stages are those of the other studies. Below `--data`: `imagenet/` (train/ and val/), `cars/`,
`flowers/`, `pets/` (train/ and test/), class folders in each, and `weights/` with a dense ImageNet
checkpoint for each model; `--plan` lists what is missing, and cells that have all are run.

Not in the paper, so ours: checkpoints, augmentation (timm's crop and mirror), warm-up of 5 %,
weight decay 0.05 for AdamW; isoFLOP keeps the first layers; the linear router is raw, as printed;
transfer starts from the dense checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from amod.method.flops import SHAPES, Shape
from amod.study import stages
from amod.study.configs import Converted, Crops, Finetuned, Given, Transferred, Variant
from amod.study.data import ImageFolders, Split, WeightsFile
from amod.study.flop_table import reported, variant_of
from amod.use.schedule import Schedule
from repro_shared.evidence.cells import ReportedCell
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.study.paper import Arm, Scale, Study, ids
from repro_shared.study.results import Results

FINETUNE = Schedule(batch_size=128, learning_rate=1e-5, warmup=0.05, epochs=100)
"""Table 1 (arXiv 2412.20875, section 4): AdamW, cosine; warm-up and weight decay are ours."""
TRANSFER = Schedule(
    batch_size=64, optimiser="sgd", learning_rate=0.01, warmup=0.0, weight_decay=0.0, epochs=200
)
"""Tables 4 and 5 (section 4): SGD, cosine; no warm-up and no decay are ours."""
TIMM = {
    "DeiT-Tiny": "deit_tiny_patch16_224",
    "DeiT-Small": "deit_small_patch16_224",
    "ViT-Base": "vit_base_patch16_224",
    "ViT-Large": "vit_large_patch16_224",
}
"""timm's names of the paper's models."""
FOLDERS = {
    "ImageNet-1k": "imagenet",
    "Stanford Cars": "cars",
    "Flowers-102": "flowers",
    "Oxford Pets": "pets",
}
POINTS = 10  # of a transfer's curve


@dataclass(frozen=True)
class CellArm:
    """A reported cell, and the arm that measures it."""

    cell: ReportedCell
    variant: Variant
    arm: Arm

    @property
    def shape(self) -> Shape:
        """Of the dense model at 224 pixels."""
        return SHAPES[self.cell.row.partition(" ")[0]]


def cell_arms(table: str) -> list[CellArm]:
    """An arm for every accuracy cell of a table."""
    cells = [c for c in reported() if c.table == table and c.unit == "percent"]
    return [_cell_arm(cell) for cell in cells]


def given(model: str) -> Arm:
    """A model's dense ImageNet checkpoint; all seeds start from it."""
    name = TIMM[model]
    return Arm(f"{model}, given", Given(name), stages.given, data=WeightsFile(name), seed=0)


def _cell_arm(cell: ReportedCell) -> CellArm:
    variant, start = variant_of(cell), given(cell.row.partition(" ")[0])
    scored: Split = "val" if cell.dataset == "ImageNet-1k" else "test"
    data = ImageFolders(cell.dataset, FOLDERS[cell.dataset], scored, known=())
    name = " ".join(filter(None, (cell.row, cell.column, cell.dataset)))
    if cell.table == "table3":
        # As it was trained: one run, which no seed changes but the untrained linear router's.
        only_scored = replace(data, train="")
        arm = Arm(name, Converted(variant), stages.converted, (start,), data=only_scored, seed=0)
    elif cell.table == "table1":
        config = Finetuned(variant, FINETUNE, Crops(), keep=True)
        arm = Arm(name, config, stages.finetuned, (start,), data=data)
    else:
        config = Transferred(variant, TRANSFER, Crops(), evaluations=POINTS, keep=True)
        arm = Arm(name, config, stages.transferred, (start,), data=data)
    return CellArm(cell, variant, arm)


def _study(table: str, scale: Scale) -> Study:
    found = cell_arms(table)
    starts = dict.fromkeys(start for each in found for start in each.arm.starts_from)
    arms = (*starts, *(each.arm for each in found))
    first = found[0].arm.data
    assert first is not None
    return Study(table, scale, first, arms, (0,), tables=(beside_reported,))


def table1(scale: Scale) -> Study:
    """Fine-tuning on ImageNet, 100 epochs: A-MoD, MoD and isoFLOP models of four sizes.

    Cells: the 24 accuracies of table 1. Cost: GPU weeks. Deviations: see this module.
    """
    return _study("table1", scale)


def table3(scale: Scale) -> Study:
    """Conversion without training, scored on ImageNet's validation set.

    Cells: the 16 accuracies of table 3. Cost: minutes of a GPU. Deviations: see this module.
    """
    return _study("table3", scale)


def table4(scale: Scale) -> Study:
    """Transfer with an eighth of the tokens, 200 epochs on Cars, Flowers and Pets.

    Cells: the 36 accuracies of table 4. Cost: GPU days. Deviations: see this module.
    """
    return _study("table4", scale)


def table5(scale: Scale) -> Study:
    """Transfer with half of the tokens, 200 epochs on Cars, Flowers and Pets.

    Cells: the 36 accuracies of table 5. Cost: GPU days. Deviations: see this module.
    """
    return _study("table5", scale)


def beside_reported(results: Results) -> Table:
    """The paper's cells, and beside them what was measured; diverged runs do not count."""
    rows: list[tuple[Cell, ...]] = []
    for each in cell_arms(results.study.name):
        values = results.values(each.arm, "accuracy")
        diverged = sum(r.arm == each.arm.id and r.status == "failed" for r in results.records)
        macs = each.variant.macs(each.shape, head=False)
        rows.append(
            (each.cell.id, each.cell.value, macs / 1e9, interval(values), len(values), diverged)
        )
    return Table(
        f"paper-{results.study.name}",
        f"arXiv 2412.20875v1, {results.study.name}: reported and measured",
        (
            Column("cell"),
            Column("reported", "top-1 %", 2),
            Column("cost", "GMAC", 3),
            Column("measured", "top-1 %", 2),
            Column("seeds"),
            Column("diverged", "seeds"),
        ),
        tuple(rows),
        (
            "Brackets: 95 % Student t interval over seeds; none from a single seed.",
            "Scored: ImageNet's val, the others' test. Not in the paper, so ours: checkpoints, "
            "augmentation (timm's crop and mirror), warm-up of 5 %, weight decay 0.05 for AdamW; "
            "isoFLOP keeps the first layers; the linear router is raw, as printed; transfer "
            "starts from the dense checkpoint.",
        ),
        ids(each.arm for each in cell_arms(results.study.name)),
    )
