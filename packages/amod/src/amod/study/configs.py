"""The settings of every run: one frozen class for each stage, with all that decides its result.

What lies elsewhere (folders, device, loading processes) is not here, and nor are the pictures: the
arm's data source names them, and their fingerprint is in the run's key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from amod.method import routers
from amod.method.flops import Shape, dense_macs, routed_macs
from amod.method.routing import Rows, attention_scores
from amod.rivals import controls
from amod.rivals.baselines import Keep, cut_depth
from amod.use.schedule import Schedule
from repro_shared.datasets.views import Shift
from repro_shared.evidence.hashing import UNRECORDED

LEARNED = ("linear", "linear-sigmoid", "linear-unit")
"""The standard router and its two fairer forms."""
ROUTER_WORDS = {
    "attention": "attention",
    "attention-multiplied": "attention, multiplied by the score",
    "linear": "linear (raw product)",
    "linear-sigmoid": "linear (sigmoid gate)",
    "linear-unit": "linear (gate from one)",
    "random": "random tokens",
    "l2norm": "largest norms",
    "other-image": "scores of another image",
    "random-again": "other random tokens",
}
ROWS_WORDS = {"patch-rows": "patches vote", "cls-row": "class token votes"}


@dataclass(frozen=True)
class Network:
    """A plain ViT of timm's `VisionTransformer` with a class token."""

    width: int = 64
    depth: int = 6
    heads: int = 4
    patch_size: int = 4
    image_size: int = 32
    classes: int = 10

    @property
    def shape(self) -> Shape:
        """For FLOP counts."""
        return Shape(self.width, self.depth, self.image_size, self.patch_size, classes=self.classes)


@dataclass(frozen=True)
class Variant:
    """What is made of a dense model: a router at a capacity, or fewer layers (isoFLOP).

    Attributes:
        router: attention, linear, linear-sigmoid, linear-unit, random, l2norm or
            attention-multiplied.
        capacity: share of the tokens that a routed block processes.
        first: index of the first routed block.
        score: whose attention ranks the tokens.
        protect_prefix: the class token always takes part.
        k_align: the number of tokens is a multiple of this.
        layers: keep so many blocks of the dense model instead of routing; 0 routes.
        keep: which ones.
        every: distance of routed blocks.
    """

    router: str = "attention"
    capacity: float = 1.0
    first: int = 1
    score: Rows = "column-mean"
    protect_prefix: bool = False
    k_align: int = 1
    layers: int = 0
    keep: Keep = "first"
    every: int = 2

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The functions and modules that it stands for."""
        if self.layers:
            return (cut_depth,)
        if self.router in controls.CONTROLS:
            return (controls.CONTROLS[self.router],)
        kind = routers.ROUTERS[self.router][0]
        return (kind, attention_scores) if kind is routers.AttentionRouter else (kind,)

    @property
    def share(self) -> str:
        """The capacity in words."""
        return f"{100 * self.capacity:g} %"

    @property
    def words(self) -> str:
        """What it is, without the capacity."""
        if self.layers:
            return (
                f"first {self.layers} layers"
                if self.keep == "first"
                else f"{self.layers} layers, evenly spaced"
            )
        parts = [ROUTER_WORDS[self.router]]
        parts += [ROWS_WORDS[self.score]] if self.score in ROWS_WORDS else []
        parts += ["class token always in"] if self.protect_prefix else []
        parts += [f"a multiple of {self.k_align} tokens"] if self.k_align > 1 else []
        parts += [f"from block {self.first} on"] if self.first > 1 else []
        parts += [f"every {self.every} blocks"] if self.every != 2 else []
        return ", ".join(parts)

    @property
    def full(self) -> str:
        """What it is, and at which capacity."""
        return self.words if self.layers else f"{self.words}, {self.share}"

    def macs(self, shape: Shape, head: bool = True) -> int:
        """Multiply-accumulates of a forward pass; `shape` is the dense model's."""
        if self.layers:
            return dense_macs(replace(shape, depth=self.layers), head=head)
        linear = routers.LinearRouter in self.equations
        return routed_macs(
            shape,
            self.capacity,
            first=self.first,
            every=self.every,
            linear_router=linear,
            head=head,
        )


@dataclass(frozen=True)
class Crops:
    """timm's training view of photographs: random crops.

    Attributes:
        mirror: half of the crops are mirrored; with `--no-mirror` none.
    """

    mirror: bool = True


View = Shift | Crops
NEAR = Shift(2)


class Trained:
    """Of a config with a schedule: what the plan and the tables ask for."""

    schedule: Schedule

    @property
    def steps(self) -> int:
        """Of training, where they are known without the data."""
        return self.schedule.steps

    @property
    def epochs(self) -> float:
        """Where the length is given in passes over the training pictures."""
        return self.schedule.epochs


class Routed:
    """Of a config with a variant: what the trip to the equation asks for."""

    variant: Variant

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """Of the variant."""
        return self.variant.equations


@dataclass(frozen=True)
class Dense(Trained):
    """A dense model, trained from scratch."""

    network: Network
    schedule: Schedule
    view: View = NEAR
    evaluations: int = 5


@dataclass(frozen=True)
class Given:
    """A dense model of timm's with somebody's weights, or random ones.

    Attributes:
        model: timm's name, with or without a tag.
        classes: of random weights; those of a file are in it.
        settings: further ones of `timm.create_model`, e.g. `(("img_size", 384),)`.
    """

    model: str
    classes: int = 0
    settings: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Converted(Routed):
    """A dense model, converted and scored without training.

    Attributes:
        variant: what is made of it.
        batch: pictures scored at a time; a random router's draws follow the batches.
    """

    variant: Variant
    batch: int = 250


@dataclass(frozen=True)
class Oracle(Routed):
    """Converted, with the tokens of largest leave-one-out importance: it knows the labels.

    Attributes:
        variant: what is made of the dense model.
        pictures: the first so many of the test set.
    """

    variant: Variant
    pictures: int


@dataclass(frozen=True)
class Importance(Routed):
    """How a ranking in the dense model agrees with leave-one-out importance.

    Attributes:
        variant: what is made of the dense model.
        pictures: the first so many of the test set.
    """

    variant: Variant
    pictures: int


@dataclass(frozen=True)
class Finetuned(Routed, Trained):
    """A dense model, converted and trained on.

    Attributes:
        variant: what is made of the dense model.
        schedule: of the training.
        view: how training sees its pictures.
        pictures: leave-one-out importance on the first so many test pictures afterwards; 0: none.
        evaluations: how often accuracy is measured on the way, for a curve; 0: at the end only.
        keep: leave the trained weights in the run's folder, and those of the best of several
            evaluations.
    """

    variant: Variant
    schedule: Schedule
    view: View = NEAR
    pictures: int = 0
    evaluations: int = 0
    keep: bool = field(default=False, metadata=UNRECORDED)


@dataclass(frozen=True)
class Transferred(Finetuned):
    """A dense model, converted and trained on other classes, with a new classifier."""


@dataclass(frozen=True)
class Scratch(Routed, Trained):
    """A model that is routed from the first step of its training on."""

    variant: Variant
    network: Network
    schedule: Schedule
    view: View = NEAR
