"""`seg-kd cost`: what every objective adds to a step at the paper's shapes, by shapes alone.

Student and teacher are PSPNet-R18 and R101. They and the objectives run on torch's meta device, so
that nothing is computed: multiply-accumulates, parameters and the largest tensor follow from the
shapes. Time and memory of a device do not: `--measure` is for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repro_shared.evidence.figures import PALETTE, caption, house_style, new_figure, save_figure
from repro_shared.evidence.tables import Cell, Column, Table, write_tables
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.timing.bench import add_bench
from repro_shared.timing.counts import CONVENTION, count_operations, count_parameters
from seg_kd.method.distilled import losses_of, modules_of
from seg_kd.method.objectives import Objective
from seg_kd.rivals.presets import NAMED
from seg_kd.study import cost_measured
from seg_kd.study.chosen import known_arms
from seg_kd.use import adapter
from seg_kd.use.models import BUILT_IN
from seg_kd.use.outputs import Models, Seen, watched

Scene = tuple[str, tuple[int, int], int, int]
SHAPES: tuple[Scene, ...] = (
    ("Cityscapes", (512, 1024), 2, 19),
    ("ADE20K", (512, 512), 4, 150),
)
"""Data set, crop, images on one GPU (8 and 16 on four), classes."""


@dataclass(frozen=True)
class Cost:
    """What one objective adds to a step.

    Attributes:
        macs: multiply-accumulates of its losses, forward and backward.
        parameters: that are trained beside the student.
        buffers: bytes of what lasts besides (queues, running means).
        largest: bytes of the largest tensor that its losses make, in float32.
    """

    macs: int
    parameters: int
    buffers: int
    largest: int


@dataclass(frozen=True)
class Card:
    """The costs at one shape.

    Attributes:
        scene: the shape.
        student, teacher: multiply-accumulates of the student's forward and backward pass, and of
            the teacher's forward pass.
        costs: of every objective, by name.
    """

    scene: Scene
    student: int
    teacher: int
    costs: dict[str, Cost]

    def overhead(self, name: str) -> float:
        """What an objective adds to student and teacher, as a share."""
        return self.costs[name].macs / (self.student + self.teacher)


def command(
    *,
    arms: tuple[str, ...] = tuple(NAMED),
    out: str | None = None,
    measure: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    crop: tuple[int, int] = (512, 1024),
    images: int = 8,
    classes: int = 19,
    amp: bool = False,
    rounds: int = 15,
) -> None:
    """What every objective adds to a step at the paper's shapes: arithmetic, parameters, memory.

    With --measure instead whole training steps are timed here, in turns, with random weights.

    Args:
        arms: objectives, see `distill`.
        out: folder for the table and the figure, or for the measured rounds and their table.
        measure: time steps.
        device: of the measurement, cpu or cuda.
        crop: height and width of the measured images.
        images: in a measured batch.
        classes: of the measured networks.
        amp: measure in mixed precision (cuda).
        rounds: timed rounds.
    """
    chosen = [NAMED[name] for name in known_arms(arms)]
    distilled = [each for each in chosen if each.needs_teacher]
    if not distilled and not measure:
        raise UserError("--arms names no objective that adds anything: name one beside plain")
    folder = ensure_output_dir(out) if out else None
    if measure:
        require(rounds >= 1, "--rounds", "at least 1", rounds)
        shape = cost_measured.Shape(crop, images, classes, amp)
        timed = cost_measured.measure(shape, chosen, device, rounds)
        made = cost_measured.table(timed)
        if folder:
            add_bench(folder, timed)
    else:
        cards = [card(scene, distilled) for scene in SHAPES]
        made = table(cards)
        if folder:
            save_figure(figure(cards), folder / "figures" / "cost-card")
    print(made.to_terminal())
    if folder:
        write_tables(folder / "tables", [made])


def card(scene: Scene, objectives: Sequence[Objective]) -> Card:
    """Count all objectives at one shape."""
    _, crop, images, classes = scene
    student, teacher = (
        adapter.build_model(BUILT_IN[name].config(classes, crop)).to("meta")
        for name in ("pspnet_r18", "pspnet_r101")
    )
    student.train()
    teacher.eval().requires_grad_(False)
    pictures = torch.empty(images, 3, *crop, device="meta")
    labels = torch.empty(images, *crop, dtype=torch.long, device="meta")
    models, own, other = Models(student, teacher), seen(student, pictures), seen(teacher, pictures)

    def learn() -> None:
        maps = student.extract_feat(pictures)
        heads = (student.decode_head(maps), student.auxiliary_head(maps))
        torch.stack([scores.sum() for scores in heads]).sum().backward()

    return Card(
        scene,
        count_operations(learn).macs,
        count_operations(lambda: teacher(pictures, mode="tensor")).macs,
        {each.name: cost(each, models, own, other, labels) for each in objectives},
    )


@dataclass
class Leaves:
    """Maps of a pass as inputs of their own, so that a gradient ends at them."""

    maps: Seen

    def __post_init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def _leaf(self, name: str, made: Tensor) -> Tensor:
        return self._kept.setdefault(name, made.detach().requires_grad_())

    def logits(self) -> Tensor:
        """Class scores."""
        return self._leaf("logits", self.maps.logits())

    def layer(self, name: str) -> Tensor:
        """A feature."""
        return self._leaf(name, self.maps.layer(name))

    def auxiliary(self) -> Tensor:
        """Class scores of the auxiliary head."""
        return self._leaf("auxiliary", self.maps.auxiliary())


def seen(model: Any, pictures: Tensor) -> Leaves:
    """What a network gives for pictures; a student's auxiliary head runs in any case."""
    with watched(model) as found:
        model(pictures, mode="tensor")
        if model.training:
            found.auxiliary_head.forward(found.stages)
    return Leaves(found)


def cost(objective: Objective, models: Models, own: Leaves, other: Leaves, labels: Tensor) -> Cost:
    """Count one objective, on maps of both networks."""
    with torch.device("meta"):
        modules = nn.ModuleDict(modules_of(objective, models)).train()

    def run() -> None:
        losses = losses_of(objective, modules, own, other, labels)
        torch.stack([*losses.values()]).sum().backward()

    with Largest() as largest:
        counted = count_operations(run)
    lasting = sum(buffer.numel() * buffer.element_size() for buffer in modules.buffers())
    return Cost(counted.macs, count_parameters(modules), lasting, largest.bytes)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        for tensor in _tensors(made):
            if tensor.untyped_storage()._cdata not in given:  # not a view of what was there
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return made


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def table(cards: Sequence[Card]) -> Table:
    """All costs, a group of columns a shape."""
    columns, rows = [Column("objective")], dict[str, list[Cell]]()
    for index, each in enumerate(cards):
        name = each.scene[0]
        columns += [Column(f"{name}, added", "% of a step", 1)]
        if not index:  # much the same at the others
            columns += [Column("added", "GMAC", 1), Column("parameters", "million", 2)]
        columns += [Column("queues", "MB", 0), Column("largest tensor", "MB", 0)]
        for objective, found in each.costs.items():
            row = rows.setdefault(objective, [objective])
            row.append(100 * each.overhead(objective))
            row += [] if index else [found.macs / 1e9, found.parameters / 1e6]
            row += [found.buffers / 1e6, found.largest / 1e6]
    steps = "; ".join(
        f"{name} {crop[0]} x {crop[1]}, {images} images a GPU, {classes} classes: student "
        f"{each.student / 1e9:.0f} and teacher {each.teacher / 1e9:.0f} GMAC a step"
        for each in cards for name, crop, images, classes in (each.scene,)
    )  # fmt: skip
    return Table(
        "cost-card",
        "What each objective adds to a step of PSPNet-R18 learning from PSPNet-R101, by shapes",
        tuple(columns),
        tuple(tuple(row) for row in rows.values()),
        (
            f"{steps}. Our optimised forms. {CONVENTION}. Softmaxes and other passes over memory "
            "are in no count, and take time.",
        ),
    )


def figure(cards: Sequence[Card]) -> Figure:
    """Added arithmetic of every objective, a bar a shape."""
    names = [*cards[0].costs]
    drawing = new_figure(6.4, 1.2 + 0.26 * len(names))
    with house_style():
        axes = drawing.add_subplot()
        for index, each in enumerate(cards):
            places = [row + 0.4 * index for row in range(len(names))]
            shares = [max(100 * each.overhead(name), 0.01) for name in names]
            axes.barh(places, shares, height=0.38, color=PALETTE[index], label=each.scene[0])
        axes.set_yticks([row + 0.2 for row in range(len(names))], names)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("multiply-accumulates added to a step (%)")
        axes.set_title("What each objective adds to teacher forward + student step")
        axes.legend()
        caption(drawing, "Counted from shapes, our optimised forms; 0.01 % stands for less.")
    return drawing
