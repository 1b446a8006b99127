"""What runs: a recipe is a function that returns one frozen dataclass; scales differ in numbers.

The recipes do the same with different pictures: train a dense ViT, convert it without training
(the paper's table 3), fine-tune it under each router (table 1, figures 8 and 11), ask which tokens
matter (figure 7), and, for digits, transfer it to other classes (tables 4 and 5, figure 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from amod.method.flops import Shape
from amod.method.routing import Rows, tokens_kept
from amod.rivals.baselines import Keep, isoflop_layers
from amod.use.schedule import Schedule
from repro_shared.datasets.scenes import SceneConfig
from repro_shared.runtime.errors import UserError

Scale = Literal["smoke", "cpu"]
SCALES: tuple[Scale, ...] = ("smoke", "cpu")

ROUTERS = ("attention", "linear", "linear-sigmoid", "linear-unit", "random", "l2norm")
LINEAR = ("linear", "linear-sigmoid", "linear-unit")
KEPT: tuple[Keep, ...] = ("first", "even")


@dataclass(frozen=True)
class Data:
    """Pictures of one task.

    Attributes:
        name: what they are, in records and tables.
        scenes: digit canvases; None reads class folders `train/` and `test/` below `--data`.
        train_length, test_length: number of canvases; 0 takes all pictures of a folder.
        seed: of the canvases.
        train_split, test_split: whose digits (tuning scores on `val`).
        size: side of the square pictures in pixels.
        shift: largest random shift in training, in pixels.
        mirror: whether training mirrors pictures.
        held_out: score on a fifth of the training folder's pictures, which training then leaves out
            (tuning without a look at the test pictures).
    """

    name: str
    scenes: SceneConfig | None = None
    train_length: int = 0
    test_length: int = 0
    seed: int = 0
    train_split: Literal["train", "val", "test"] = "train"
    test_split: Literal["train", "val", "test"] = "test"
    size: int = 32
    shift: int = 2
    mirror: bool = False
    held_out: bool = False


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
class Arm:
    """A model made from the dense one.

    Attributes:
        name: in tables and, behind its stage, in the records.
        router: of the routed model; ignored where `layers` is set.
        capacity: share of tokens in routed blocks.
        first, score, protect_prefix, k_align: as in `amod.convert`.
        layers: depth of an isoFLOP model instead, 0 for none; `keep`: which layers.
    """

    name: str
    router: str = "attention"
    capacity: float = 1.0
    first: int = 1
    score: Rows = "column-mean"
    protect_prefix: bool = False
    k_align: int = 1
    layers: int = 0
    keep: Keep = "first"


@dataclass(frozen=True)
class Recipe:
    """All stages on one kind of picture.

    Attributes:
        name, scale: what it is.
        data, network: the task of the dense model, and its form.
        dense: its training.
        capacities: of the conversion without training.
        finetune: the fine-tuning of every arm; `rates` has each router's learning rate, chosen on
            tuning seeds (results/protocol.md).
        finetuned: capacities that are fine-tuned.
        target, transfer: the task of the transfer and its training; None for none.
        ablated: capacity of the ablations; 0 for none.
        importance: number of test pictures for leave-one-out importance.
        seeds: of a quick run.
        tries: learning rates to choose from; where there are any, the recipe is the tuning of
            `rates` and fine-tunes every router at each, at the smallest capacity.
    """

    name: str
    scale: Scale
    data: Data
    network: Network
    dense: Schedule
    capacities: tuple[float, ...]
    finetune: Schedule
    finetuned: tuple[float, ...]
    rates: tuple[tuple[str, float], ...]
    target: Data | None = None
    transfer: Schedule | None = None
    ablated: float = 0.0
    importance: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    tries: tuple[float, ...] = ()

    @property
    def tag(self) -> str:
        """`digits` of `routing_digits` and `routing_digits_smoke_tuning`: in ids and file names."""
        return self.name.split("_")[1]

    @property
    def examined(self) -> tuple[str, ...]:
        """Fine-tuned arms whose rankings are compared with leave-one-out importance."""
        return tuple(f"{router}-{max(self.finetuned):g}" for router in ("attention", *LINEAR))

    def rate(self, arm: Arm) -> float:
        """Fine-tuning rate of an arm: its router's, or the depth-cut model's."""
        name = "isoflop" if arm.layers else arm.router.removesuffix("-again")
        return dict(self.rates)[name]


def routed_arms(capacity: float) -> list[Arm]:
    """One arm a router at this capacity."""
    return [Arm(f"{router}-{capacity:g}", router, capacity) for router in ROUTERS]


def isoflop_arms(network: Network, capacity: float, larger: bool = False) -> list[Arm]:
    """Depth-cut models of nearest cost; or, if that is another depth, of the next larger one."""
    nearest, above = isoflop_layers(network.shape, capacity)
    if larger and above == nearest:
        return []
    layers = above if larger else nearest
    return [
        Arm(f"isoflop-{keep}-{layers}-{capacity:g}", layers=layers, keep=keep, capacity=capacity)
        for keep in KEPT
    ]


def conversion_arms(recipe: Recipe) -> dict[str, list[Arm]]:
    """Rows of the conversion without training: by name, an arm for each capacity."""
    rows = {r: [Arm(r, r, capacity) for capacity in recipe.capacities] for r in ROUTERS}
    for rows_name in ("patch-rows", "cls-row"):
        rows[rows_name] = [
            Arm(rows_name, "attention", capacity, score=rows_name) for capacity in recipe.capacities
        ]
    rows["protected"] = [
        Arm("protected", "attention", capacity, protect_prefix=True)
        for capacity in recipe.capacities
    ]
    rows["other-image"] = [
        Arm("other-image", "other-image", capacity) for capacity in recipe.capacities
    ]
    for keep in KEPT:
        rows[f"isoflop-{keep}"] = [
            Arm(f"isoflop-{keep}", layers=isoflop_layers(recipe.network.shape, c)[0], keep=keep,
                capacity=c)
            for c in recipe.capacities
        ]  # fmt: skip
    return rows


def aligned_arms(recipe: Recipe) -> list[Arm]:
    """A number of tokens that is a multiple of 8, where attention's is not one anyway."""
    tokens = (recipe.network.image_size // recipe.network.patch_size) ** 2 + 1
    return [
        Arm("aligned", capacity=capacity, k_align=8)
        for capacity in recipe.capacities
        if tokens_kept(capacity, tokens) != tokens_kept(capacity, tokens, 8)
    ]


def scratch_arms(recipe: Recipe) -> list[Arm]:
    """Routed from the first step on, at the largest capacity (table 8); with the ablations."""
    capacity = max(recipe.finetuned)
    routed = routed_arms(capacity) if recipe.ablated else []
    return [arm for arm in routed if arm.router in ("attention", *LINEAR)]


def finetune_arms(recipe: Recipe) -> list[Arm]:
    """The dense model trained on, every router and the nearest isoFLOP models at each capacity."""
    arms = [Arm("dense", "attention", 1.0)]
    for capacity in recipe.finetuned:
        arms += routed_arms(capacity) + isoflop_arms(recipe.network, capacity)
    return arms


def control_arms(recipe: Recipe) -> list[Arm]:
    """Fine-tuned with `--controls`: larger isoFLOP models, other random tokens, ablations."""
    arms = [a for c in recipe.finetuned for a in isoflop_arms(recipe.network, c, larger=True)]
    least, c = min(recipe.finetuned), recipe.ablated
    arms.append(Arm(f"random-again-{least:g}", "random-again", least))
    if c:
        arms += [
            Arm(f"multiplied-{c:g}", "attention-multiplied", c),
            Arm(f"later-half-{c:g}", "attention", c, first=recipe.network.depth // 2),
            Arm(f"protected-{c:g}", "attention", c, protect_prefix=True),
            Arm(f"patch-rows-{c:g}", "attention", c, score="patch-rows"),
            Arm(f"cls-row-{c:g}", "attention", c, score="cls-row"),
        ]
    return arms


def transfer_arms(recipe: Recipe) -> list[Arm]:
    """The routers and the nearest isoFLOP models at the smallest capacity."""
    capacity = min(recipe.finetuned)
    routed = [arm for arm in routed_arms(capacity) if arm.router in ("attention", *LINEAR)]
    return [*routed, *isoflop_arms(recipe.network, capacity)]


def tried_arms(recipe: Recipe) -> list[Arm]:
    """An arm for each of `rates`, at the smallest capacity."""
    capacity = min(recipe.finetuned)
    cut = isoflop_arms(recipe.network, capacity)[0]
    return [
        replace(cut, name=name) if name == "isoflop" else Arm(name, name, capacity)
        for name, _ in recipe.rates
    ]


def canvas(digits: tuple[int, ...]) -> SceneConfig:
    """One digit of 14 to 20 of 32 pixels, three pieces of others and noise on a photograph.

    Gray ink, upright and clearly lighter: a small ViT learns from scratch only slowly.
    """
    return SceneConfig(
        size=32,
        digits=digits,
        min_digits=1,
        max_digits=1,
        min_scale=14,
        max_scale=20,
        rotation=5,
        shear=0.0,
        occlusion=0.0,
        min_contrast=0.5,
        colour=0.0,
        brighter=True,
        backdrop=0.3,
        clutter=3,
    )


DIGIT_RATES = (
    ("attention", 3e-4),
    ("attention-multiplied", 1e-3),
    ("linear", 1e-3),
    ("linear-sigmoid", 1e-3),
    ("linear-unit", 1e-3),
    ("random", 1e-3),
    ("l2norm", 1e-3),
    ("isoflop", 1e-4),
)
CIFAR_RATES = tuple((name, 1e-4 if name == "isoflop" else 1e-3) for name, _ in DIGIT_RATES)
"""Both as tuned on seed 100, results/protocol.md."""


def from_scratch(steps: int, batch_size: int = 64) -> Schedule:
    """Training of a dense model: no weight decay, for it is far from fitting its pictures."""
    return Schedule(steps, batch_size, learning_rate=1e-3, warmup=0.05, weight_decay=0.0)


def routing_digits(scale: Scale = "cpu") -> Recipe:
    """Tables 1, 3, 4 and figures 4, 7, 8, 11 as mechanisms, on cluttered digit canvases.

    Cells: none of the paper's numbers; its claims, on data where the relevant patches are known.
    Cost: cpu under 15 minutes on two cores for 3 seeds; smoke seconds.
    Deviations: composed pictures of 32 pixels, a ViT of 6 layers and width 64 trained for minutes;
    AdamW throughout, rates tuned for every router alike.
    """
    smoke = scale == "smoke"
    data = Data(
        "cluttered digits 0-4",
        canvas((0, 1, 2, 3, 4)),
        train_length=64 if smoke else 4000,
        test_length=32 if smoke else 500,
    )
    other = replace(
        data,
        name="cluttered digits 5-9",
        scenes=canvas((5, 6, 7, 8, 9)),
        train_length=64 if smoke else 1000,
        test_length=32 if smoke else 300,
        seed=1,
    )
    return Recipe(
        name="routing_digits_smoke" if smoke else "routing_digits",
        scale=scale,
        data=data,
        network=Network(16, 4, 2, 8, classes=5) if smoke else Network(classes=5),
        dense=from_scratch(4, 16) if smoke else from_scratch(1000),
        capacities=(0.7, 0.5, 0.25, 0.125),
        finetune=Schedule(2, 16) if smoke else Schedule(40, 64),
        finetuned=(0.25,) if smoke else (0.5, 0.125),
        rates=DIGIT_RATES,
        target=other,
        transfer=Schedule(4, 16) if smoke else Schedule(80, 64),
        ablated=0.25 if smoke else 0.125,
        importance=4 if smoke else 64,
        seeds=(0,) if smoke else (0, 1, 2),
    )


def routing_cifar10(scale: Scale = "cpu") -> Recipe:
    """The same on real photographs: CIFAR-10 in class folders, `--data DIR` with train/ and test/.

    Cells: none of the paper's numbers; its claims.
    Cost: cpu about 40 minutes on two cores for 5 seeds.
    Deviations: as of `routing_digits`; no transfer, no ablations.
    """
    smoke = scale == "smoke"
    return Recipe(
        name="routing_cifar10_smoke" if smoke else "routing_cifar10",
        scale=scale,
        data=Data("CIFAR-10", mirror=True),
        network=Network(16, 4, 2, 8) if smoke else Network(depth=8),
        dense=from_scratch(4, 16) if smoke else from_scratch(1500),
        capacities=(0.7, 0.5, 0.25, 0.125),
        finetune=Schedule(2, 16) if smoke else Schedule(60, 64),
        finetuned=(0.25,) if smoke else (0.5, 0.125),
        rates=CIFAR_RATES,
        importance=4 if smoke else 64,
        seeds=(0,) if smoke else (0, 1, 2),
    )


def routing_digits_tuning(scale: Scale = "cpu") -> Recipe:
    """Three tries of every router's rate, scored on canvases of the `val` digits.

    Cells: none. Cost: five minutes.
    """
    recipe = routing_digits(scale)
    return _tuning(recipe, replace(recipe.data, test_split="val"))


def routing_cifar10_tuning(scale: Scale = "cpu") -> Recipe:
    """Three tries of every router's rate, scored on a held-out fifth of the training pictures.

    Cells: none. Cost: a quarter of an hour.
    """
    recipe = routing_cifar10(scale)
    return _tuning(recipe, replace(recipe.data, held_out=True))


def _tuning(recipe: Recipe, data: Data) -> Recipe:
    name, tries = f"{recipe.name}_tuning", (1e-4, 3e-4, 1e-3)
    # Without the rates that were chosen from it: a try is the same before and after.
    rates = tuple((router, 0.0) for router, _ in recipe.rates)
    return replace(
        recipe, name=name, data=data, rates=rates, tries=tries, target=None, transfer=None,
        seeds=(100,),
    )  # fmt: skip


FUNCTIONS: dict[str, Callable[[Scale], Recipe]] = {
    "digits": routing_digits,
    "cifar10": routing_cifar10,
    "digits-tuning": routing_digits_tuning,
    "cifar10-tuning": routing_cifar10_tuning,
}


def find_recipe(table: str, scale: str) -> Recipe:
    """The recipe of a table at a scale; UserError for a table or scale that there is not."""
    if table not in FUNCTIONS:
        raise UserError(f"unknown table {table!r}: choose one of {', '.join(FUNCTIONS)}")
    for known in SCALES:
        if known == scale:
            return FUNCTIONS[table](known)
    raise UserError(f"{table} has no scale {scale!r}: choose one of {', '.join(SCALES)}")
